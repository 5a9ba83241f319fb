/** `lanekeeper switchover`: moves everything that one data center holds to another one, planned. */
import { Command } from 'commander';
import type { DataCenterName } from 'lanekeeper/model';
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
    .option('--from <dc>', 'the one that holds it now (default: the other one)')
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
    const from = options.from ?? names.find((name) => name !== to);
    for (const name of [to, from])
      if (name === undefined || !names.includes(name))
        throw new CommandFailure(`There is no data center ${name ?? 'to switch from'}.`, {
          exitCode: exitCodes.usage,
          hint: `There is ${names.join(' and ')}.`,
        });
    if (from === undefined || from === to)
      throw new CommandFailure('A switchover needs two data centers.', { exitCode: exitCodes.usage });
    // The latest first: what came before it is still the other one's when that is undone.
    const undone = options.handBack ? (await notHandedBack(agents, to, from)).toReversed() : [null];
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

/** Terms of the failovers and switchovers from `to` to `from` that were not handed back, the latest last; never empty. */
async function notHandedBack(agents: Agents, to: DataCenterName, from: DataCenterName): Promise<readonly number[]> {
  const answer = await agents.call(from, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
  if (answer.kind !== 'answered' || answer.status !== 200)
    throw new CommandFailure(`No agent leads in ${from}.`, { exitCode: exitCodes.unreachable });
  const { history } = (answer.body as AgentStatus).succession;
  const undone = new Set(history.map(({ undoes }) => undoes));
  const left = history.filter(
    (one) => one.kind !== 'return' && one.from === to && one.to === from && !undone.has(one.term),
  );
  if (left.length === 0)
    throw new CommandFailure(`There is nothing to hand back: nothing came to ${from} from ${to}.`, {
      exitCode: exitCodes.no,
    });
  return left.map(({ term }) => term);
}
