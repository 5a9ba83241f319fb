/** `lanekeeper rejoin`: lets a data center that was taken over come back, and shows how far it is. */
import { Command, Option } from 'commander';
import type { AgentStatus } from '../agent/index.ts';
import { openAgents } from './agents.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, SilentExit } from './output.ts';
import { duration } from './serving.ts';

type RejoinOptions = {
  readonly wait: number;
  readonly config?: string;
  readonly dc?: string;
  readonly json?: boolean;
};

const askTimeoutMs = 3_000;
const lookEveryMs = 500;
const defaultWait = '2m';

export function rejoinCommand(context: CliContext): Command {
  return new Command('rejoin')
    .description('let a data center that was taken over come back, and watch it')
    .argument('<dc>', 'the data center that comes back')
    .addOption(
      new Option('--wait <duration>', 'how long to watch')
        .argParser(duration)
        .default(duration(defaultWait), defaultWait),
    )
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--json', 'print each step as JSON')
    .addHelpText(
      'after',
      `
With \`failover.rejoin: automatic\` its agent does this by itself; this command only watches then. What it wrote and never
sent goes to the successor's ledger first (\`lanekeeper stranded list\`), then it is brought in line, and only then it gets a
lease again. Accounts stay where they are: \`lanekeeper switchover --hand-back\` brings them back when you want.

Where it says that this database is another one, that it was restored, or that a slot lost changes, it cannot come back
this way: seed it again with \`lanekeeper join\`.

Exit code 0: it is back. 1: not yet, and why. 4: its agent could not be reached: start it first.

Example:
  $ lanekeeper rejoin ny --wait 10m`,
    )
    .action((dc: string, options: RejoinOptions) => runRejoin(context, dc, options));
}

async function runRejoin(context: CliContext, dc: string, options: RejoinOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  try {
    if (agents.configuration.dataCenters[dc] === undefined)
      throw new CommandFailure(`There is no data center ${dc}.`, {
        exitCode: exitCodes.usage,
        hint: `There is ${Object.keys(agents.configuration.dataCenters).join(' and ')}.`,
      });
    const endMs = performance.now() + options.wait;
    for (;;) {
      // An agent that is just starting does not lead yet.
      const asked = await agents.call(dc, { method: 'POST', path: '/v1/rejoin', timeoutMs: askTimeoutMs });
      if (asked.kind === 'answered' && asked.status === 200) break;
      if (performance.now() > endMs)
        throw new CommandFailure(`No agent leads in ${dc}.`, { exitCode: exitCodes.unreachable });
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
    let said = '';
    for (;;) {
      const answer = await agents.call(dc, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
      const status = answer.kind === 'answered' && answer.status === 200 ? (answer.body as AgentStatus) : null;
      if (status !== null && status.rejoin === null && status.lease.kind === 'held') {
        output.result({ dc, kind: 'back', term: status.lease.term });
        output.line(`${output.colors.green('✓')} ${dc} is back and may write`);
        return;
      }
      const { next = null, problem = null } = status?.rejoin ?? {};
      const now = next === null ? 'waiting for its lease' : `next: ${next}${problem === null ? '' : ` (${problem})`}`;
      if (now !== said) {
        output.result({ dc, kind: 'coming-back', next, problem });
        output.line(output.colors.dim(`${dc} ${now}`));
        said = now;
      }
      if (performance.now() > endMs) {
        output.line(
          `${output.colors.yellow('…')} ${dc} is not back yet; it goes on by itself. Look again with \`lanekeeper status\`.`,
        );
        throw new SilentExit(exitCodes.no);
      }
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  } finally {
    await agents.close();
  }
}
