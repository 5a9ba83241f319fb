/** `lanekeeper failover`: takes over what a failed data center held, when nobody does it automatically. */
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import type { DataCenterName } from 'lanekeeper/model';
import type { AgentStatus, FailoverAnswer, StandingOfPeer } from '../agent/index.ts';
import { type Agents, openAgents } from './agents.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type FailoverOptions = {
  readonly from: string;
  readonly to?: string;
  readonly force?: boolean;
  readonly confirm?: string;
  readonly config?: string;
  readonly dc?: string;
  readonly json?: boolean;
};

const askTimeoutMs = 3_000;
const takeTimeoutMs = 40_000;

export function failoverCommand(context: CliContext): Command {
  return new Command('failover')
    .description('take over what a failed data center held')
    .requiredOption('--from <dc>', 'the data center that has failed')
    .option('--to <dc>', 'the one that takes over (default: the other one)')
    .option('--force', 'also when it may have acknowledged writes that never arrived')
    .option('--confirm <dc>', 'the name of the failed data center, instead of typing it when asked')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--json', 'print the answer as JSON')
    .addHelpText(
      'after',
      `
With \`failover.mode: automatic\` nobody has to call this. It shows first what is known of the failed data center and what
might be lost, and asks for its name. Its lease must have run out: until then it may still be writing.

What it wrote and never sent is not lost either: it is set aside when it comes back (\`lanekeeper stranded list\`).

Ask from the data center that takes over, or one that reaches its agents. Without \`--confirm\`, and without a terminal to
type at, it only shows what might be lost and does nothing.

Exit code 0: taken over. 1: refused, or not confirmed. 4: no agent of the successor could be reached.

Examples:
  $ lanekeeper failover --from ny           shows what might be lost, and asks
  $ lanekeeper failover --from ny --force   when it says that it could be forced`,
    )
    .action((options: FailoverOptions) => runFailover(context, options));
}

async function runFailover(context: CliContext, options: FailoverOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  try {
    const names = Object.keys(agents.configuration.dataCenters);
    const { from } = options;
    const candidates = options.to === undefined ? names.filter((name) => name !== from) : [options.to];
    if (!names.includes(from) || candidates.length === 0 || candidates.some((to) => !names.includes(to) || to === from))
      throw new CommandFailure(`There is no data center ${from}, or nobody to take over.`, {
        exitCode: exitCodes.usage,
        hint: `There is ${names.join(' and ')}.`,
      });
    const { to, standing } = await bestOf(agents, from, candidates, options.force === true);
    show(output, from, to, standing);
    const objections = options.force ? standing.forcedObjections : standing.objections;
    if (objections.length > 0) {
      output.result({ from, to, kind: 'refused', reason: objections.join('; '), standing });
      output.line(`${output.colors.red('✗')} not now: ${objections.join('; ')}`);
      throw new SilentExit(exitCodes.no);
    }
    await confirm(context, output, options, to);
    const body = { from, force: options.force === true };
    const call = { method: 'POST', path: '/v1/failovers', body, timeoutMs: takeTimeoutMs } as const;
    const answer = await agents.call(to, call);
    if (answer.kind === 'unreachable')
      throw new CommandFailure(`No agent leads in ${to}.`, { exitCode: exitCodes.unreachable });
    const result: FailoverAnswer =
      answer.kind === 'answered' && answer.status === 200
        ? (answer.body as FailoverAnswer)
        : { kind: 'pending', reason: `the agent of ${to} did not answer in time` };
    output.result({ from, to, ...result });
    const { colors } = output;
    if (result.kind === 'taken') {
      output.line(`${colors.green('✓')} ${to} writes what ${from} held ${colors.dim(`(term ${result.term})`)}`);
      return;
    }
    output.line(`${result.kind === 'pending' ? colors.yellow('…') : colors.red('✗')} ${result.reason}`);
    throw new SilentExit(exitCodes.no);
  } finally {
    await agents.close();
  }
}

/** Who may take over, and of those who may, who lacks the least. */
async function bestOf(
  agents: Agents,
  from: DataCenterName,
  candidates: readonly DataCenterName[],
  force: boolean,
): Promise<{ readonly to: DataCenterName; readonly standing: StandingOfPeer }> {
  const answers = await Promise.all(
    candidates.map(async (to) => {
      const answer = await agents.call(to, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
      if (answer.kind !== 'answered' || answer.status !== 200) return { to, standing: null };
      return { to, standing: (answer.body as AgentStatus).succession.others[from] };
    }),
  );
  const known = answers.flatMap(({ to, standing }) => (standing ? [{ to, standing }] : []));
  const rank = ({ to, standing }: (typeof known)[number]): readonly number[] => [
    (force ? standing.forcedObjections : standing.objections).length === 0 ? 0 : 1,
    standing.inSync.includes(to) ? 0 : 1,
    standing.behindBytes ?? Number.MAX_SAFE_INTEGER,
  ];
  const [best] = known.sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    return left.map((value, at) => value - (right[at] as number)).find((difference) => difference !== 0) ?? 0;
  });
  if (best !== undefined) return best;
  const names = candidates.join(' or ');
  if (answers.every(({ standing }) => standing === null))
    throw new CommandFailure(`No agent leads in ${names}.`, { exitCode: exitCodes.unreachable });
  throw new CommandFailure(`${names} knows nothing of ${from}: the lease store has not answered yet.`);
}

function show(output: Output, from: string, to: string, standing: StandingOfPeer): void {
  const { lease, inSync, behindBytes, lapsesInMs } = standing;
  output.line(
    `${output.colors.bold(from)}  lease ${lease}${lapsesInMs > 0 ? `, surely over in ${Math.ceil(lapsesInMs / 1000)} s` : ''}`,
  );
  output.line(
    inSync.includes(to)
      ? `  every write that it acknowledged as remote is in ${to}`
      : `  ${to} was not in its sync set: writes that it acknowledged may be missing here`,
  );
  output.line(
    behindBytes === null
      ? '  how much of its log has not arrived here is not known'
      : `  of the log that it told the lease store about, some ${behindBytes} bytes have not arrived here; what came after is not known`,
  );
}

async function confirm(
  context: CliContext,
  output: Output,
  { from, confirm: given }: FailoverOptions,
  to: string,
): Promise<void> {
  let typed = given;
  if (typed === undefined && !output.json && context.stdout.isTTY && process.stdin.isTTY) {
    const lines = createInterface({ input: process.stdin, output: process.stdout });
    typed = await lines.question(`Type ${from} to let ${to} take over: `);
    lines.close();
  }
  if (typed?.trim() === from) return;
  throw new CommandFailure(
    typed === undefined ? 'This has to be confirmed.' : 'That is not its name: nothing was done.',
    {
      exitCode: exitCodes.no,
      hint: `Repeat it with \`--confirm ${from}\`.`,
    },
  );
}
