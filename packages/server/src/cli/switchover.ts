/** `lanekeeper switchover`: moves everything that one data center holds to another one, planned. */
import { Command } from 'commander';
import { type DataCenterName, resolveHome } from 'lanekeeper/model';
import type { AgentStatus, SwitchAnswer } from '../agent/index.ts';
import { type Agents, openAgents } from './agents.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, SilentExit } from './output.ts';

type SwitchoverOptions = {
  readonly to: string;
  readonly from?: string;
  readonly handBack?: boolean;
  readonly config?: string;
  readonly dc?: string;
  readonly json?: boolean;
};

const askTimeoutMs = 3_000;
const switchTimeoutMs = 30_000;

export function switchoverCommand(context: CliContext): Command {
  return new Command('switchover')
    .description('move everything that one data center holds to another one, or hand it back')
    .requiredOption('--to <dc>', 'the data center that is to write from now on')
    .option('--from <dc>', 'the one that holds it now (default: the other one of two; with --hand-back whoever has it)')
    .option('--hand-back', 'only what a failover or switchover brought from there, and nobody moved since')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--json', 'print the answer as JSON')
    .addHelpText(
      'after',
      `
One row, however many accounts there are. New requests wait for a moment, those in flight finish, and nothing is
acknowledged twice or lost. Refused while a stream between the two is not in order.

--hand-back undoes the latest failover or switchover that is not undone yet, and says so when there are earlier ones: a data
center that is switched off for longer than half a minute after a switchover is taken over as well, which makes two.

Exit code 0: it is done. 1: it was refused, and why. 4: no agent of that data center could be reached.

Examples:
  $ lanekeeper switchover --to la             before maintenance in ny
  $ lanekeeper switchover --to ny --hand-back afterwards, or after a failover and rejoin`,
    )
    .action((options: SwitchoverOptions) => runSwitchover(context, options));
}

async function runSwitchover(context: CliContext, options: SwitchoverOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  try {
    const names = Object.keys(agents.configuration.dataCenters);
    const { to } = options;
    const others = names.filter((name) => name !== to);
    for (const name of [to, options.from])
      if (name !== undefined && !names.includes(name))
        throw new CommandFailure(`There is no data center ${name}.`, {
          exitCode: exitCodes.usage,
          hint: `There is ${names.join(' and ')}.`,
        });
    if (options.from === to || others.length === 0)
      throw new CommandFailure('A switchover needs two data centers.', { exitCode: exitCodes.usage });
    if (options.from === undefined && !options.handBack && others.length > 1)
      throw new CommandFailure('Whose accounts?', {
        exitCode: exitCodes.usage,
        hint: `--from ${others.join(' or ')}.`,
      });
    const back = options.handBack ? await handedBackBy(agents, to, options.from) : null;
    const from = back?.from ?? options.from ?? (others[0] as DataCenterName);
    // The latest first: what came before it is still the other one's when that is undone.
    const undone = back?.terms.toReversed() ?? [null];
    output.line(
      output.colors.dim(`${options.handBack ? 'handing back' : 'moving everything'} from ${from} to ${to} …`),
    );
    const { colors } = output;
    for (const undoes of undone) {
      const result = await switchOver(agents, from, to, undoes);
      output.result({ from, to, undoes, ...result });
      if (result.kind !== 'switched') {
        output.line(
          result.kind === 'pending'
            ? `${colors.yellow('…')} nobody knows yet: ${result.reason}`
            : `${colors.red('✗')} ${from} keeps ${undoes === null ? 'it' : `what came in term ${undoes}`}: ${result.reason}`,
        );
        throw new SilentExit(exitCodes.no);
      }
      const what = undoes === null ? 'it' : `what came to ${from} in term ${undoes}`;
      output.line(
        `${colors.green('✓')} ${to} writes ${what} now ${colors.dim(`(term ${result.term}, requests in ${from} waited ${result.pauseMs} ms)`)}`,
      );
    }
  } finally {
    await agents.close();
  }
}

async function switchOver(
  agents: Agents,
  from: DataCenterName,
  to: DataCenterName,
  undoes: number | null,
): Promise<SwitchAnswer> {
  const call = { method: 'POST', path: '/v1/switchovers', body: { to, undoes }, timeoutMs: switchTimeoutMs } as const;
  const answer = await agents.call(from, call);
  if (answer.kind === 'unreachable' || (answer.kind === 'answered' && answer.status === 503))
    throw new CommandFailure(`No agent leads in ${from}.`, {
      exitCode: exitCodes.unreachable,
      hint: `If ${from} has failed, \`lanekeeper failover --from ${from}\` is what you want.`,
    });
  if (answer.kind === 'answered' && answer.status !== 200)
    throw new CommandFailure(`The agent of ${from} refused: ${String(answer.body.reason ?? answer.status)}`);
  return answer.kind === 'answered'
    ? (answer.body as SwitchAnswer)
    : { kind: 'pending', reason: `the agent of ${from} did not answer in time` };
}

/**
 * Who has what was taken or switched from `to` and not handed back, and in which terms it came there, the latest last. What went
 * on to another one since must come back from there first.
 */
async function handedBackBy(
  agents: Agents,
  to: DataCenterName,
  from: DataCenterName | undefined,
): Promise<{ readonly from: DataCenterName; readonly terms: readonly number[] }> {
  const history = await historyOf(agents, from === undefined ? Object.keys(agents.configuration.dataCenters) : [from]);
  const undone = new Set(history.map(({ undoes }) => undoes));
  const left = history
    .filter((one) => one.kind !== 'return' && one.from === to && !undone.has(one.term))
    .map((one) => ({ ...one, now: resolveHome(history, { home: one.to, term: one.term }) }))
    .filter(({ now }) => now !== to);
  const terms = (holder: DataCenterName) =>
    left.filter((one) => one.to === holder && one.now === holder).map(({ term }) => term);
  const holders = [...new Set(left.map(({ to: holder }) => holder))].filter((holder) => terms(holder).length > 0);
  const asked = from === undefined ? holders : holders.filter((holder) => holder === from);
  if (asked.length > 1)
    throw new CommandFailure(`${asked.join(' and ')} have something of ${to}.`, {
      exitCode: exitCodes.usage,
      hint: `--from ${asked.join(' or ')}; then the other one.`,
    });
  const [holder] = asked;
  if (holder !== undefined) return { from: holder, terms: terms(holder) };
  const wandered = left.find((one) => one.now !== one.to && (from === undefined || one.to === from));
  throw new CommandFailure(
    wandered === undefined
      ? `There is nothing to hand back: nothing came to ${from ?? 'anybody'} from ${to}.`
      : `What ${wandered.to} had of ${to} is in ${wandered.now} now.`,
    {
      exitCode: exitCodes.no,
      ...(wandered === undefined
        ? {}
        : { hint: `\`lanekeeper switchover --to ${wandered.to} --hand-back\` first, then this once more.` }),
    },
  );
}

async function historyOf(
  agents: Agents,
  names: readonly DataCenterName[],
): Promise<AgentStatus['succession']['history']> {
  const answers = await Promise.all(
    names.map((name) => agents.call(name, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs })),
  );
  const known = answers.flatMap((answer) =>
    answer.kind === 'answered' && answer.status === 200 ? [(answer.body as AgentStatus).succession.history] : [],
  );
  const [longest] = known.sort((a, b) => b.length - a.length);
  if (longest === undefined)
    throw new CommandFailure(`No agent leads in ${names.join(' or ')}.`, { exitCode: exitCodes.unreachable });
  return longest;
}
