/** `lanekeeper rehome`: moves one account to another data center. */
import { Command, Option } from 'commander';
import type { MoveAnswer } from '../agent/index.ts';
import { type Agents, openAgents } from './agents.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { duration } from './serving.ts';

type RehomeOptions = {
  readonly to: string;
  readonly config?: string;
  readonly dc?: string;
  readonly ifIdle?: boolean;
  readonly wait: number;
  readonly reason?: string;
  readonly json?: boolean;
};

const defaultWait = '15s';
/** The longest that an agent waits for one move. */
const longestCallMs = 60_000;
const answerMarginMs = 2_000;
const lookEveryMs = 500;

export function rehomeCommand(context: CliContext): Command {
  return new Command('rehome')
    .description('move one account to another data center, with its rows already there')
    .argument('<account>', 'the account')
    .requiredOption('--to <dc>', 'the data center that is to be its home')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--if-idle', 'only when nobody uses the account now, and not too often')
    .addOption(
      new Option('--wait <duration>', 'how long to wait for the end of it')
        .argParser(duration)
        .default(duration(defaultWait), defaultWait),
    )
    .option('--reason <text>', 'for the record')
    .option('--json', 'print the answer as JSON')
    .addHelpText(
      'after',
      `
Requests in flight for the account finish first; then it is written in the new home only. Nothing is moved when a stream
between the two is not in order. A move that was given and not accepted yet is reported as pending: it comes to an end by
itself, one way or the other.

Exit code 0: it is written there now. 1: it is not, and why. 4: no agent could be reached.

Examples:
  $ lanekeeper rehome ny_acc_01J9Z --to la`,
    )
    .action((account: string, options: RehomeOptions) => runRehome(context, account, options));
}

async function runRehome(context: CliContext, account: string, options: RehomeOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  const { dataCenters } = agents.configuration;
  try {
    if (dataCenters[options.to] === undefined) {
      throw new CommandFailure(`There is no data center ${options.to}.`, {
        exitCode: exitCodes.usage,
        hint: `There is ${Object.keys(dataCenters).join(' and ')}.`,
      });
    }
    const endMs = performance.now() + options.wait;
    output.line(output.colors.dim(`moving ${account} to ${options.to} …`));
    let answer = await move(agents, account, options);
    if (answer.kind === 'pending') answer = await untilSettled(agents, account, options.to, answer, endMs);
    output.result({ account, to: options.to, ...answer });
    say(output, account, options.to, answer);
    if (answer.kind === 'unreachable') throw new SilentExit(exitCodes.unreachable);
    if (answer.kind !== 'moved' && answer.kind !== 'already-there') throw new SilentExit(exitCodes.no);
  } finally {
    await agents.close();
  }
}

/** Any data center's agent will do: it passes the question on to where it belongs. */
async function move(agents: Agents, account: string, options: RehomeOptions): Promise<MoveAnswer> {
  const { to, ifIdle = false, wait, reason = 'operator' } = options;
  const { here, dataCenters } = agents.configuration;
  const waitMs = Math.max(1, Math.min(Math.round(wait), longestCallMs));
  const body = { account, to, ifIdle, waitMs, reason };
  const timeoutMs = waitMs + answerMarginMs;
  for (const dc of new Set([here, to, ...Object.keys(dataCenters)])) {
    const answer = await agents.call(dc, { method: 'POST', path: '/v1/moves', body, timeoutMs });
    if (answer.kind === 'lost') return { kind: 'pending', home: null, epoch: null, reason: `${dc} did not answer` };
    if (answer.kind !== 'answered' || answer.status === 503) continue;
    if (answer.status === 200) return answer.body as MoveAnswer;
    throw new CommandFailure(`The agent of ${dc} refused: ${String(answer.body.reason ?? answer.status)}`);
  }
  return { kind: 'unreachable', home: null, epoch: null, reason: 'no agent of any data center answers' };
}

/** Given and not accepted yet, or nobody knows: the deeds will tell. */
async function untilSettled(
  agents: Agents,
  account: string,
  to: string,
  pending: MoveAnswer,
  endMs: number,
): Promise<MoveAnswer> {
  while (performance.now() < endMs) {
    const answer = await agents.call(to, { method: 'GET', path: accountPath(account), timeoutMs: answerMarginMs });
    if (answer.kind === 'answered' && answer.body.home === to && answer.body.accepted === true)
      return { kind: 'moved', home: to, epoch: answer.body.epoch as MoveAnswer['epoch'] };
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
  return pending;
}

function accountPath(account: string): string {
  return `/v1/accounts/${encodeURIComponent(account)}`;
}

function say(output: Output, account: string, to: string, answer: MoveAnswer): void {
  const { colors } = output;
  const epoch = answer.epoch === null ? '' : colors.dim(` (epoch ${answer.epoch.term}.${answer.epoch.counter})`);
  const pause = answer.pauseMs === undefined ? '' : `, its writes paused for at most ${answer.pauseMs} ms`;
  switch (answer.kind) {
    case 'moved':
      return output.line(`${colors.green('✓')} ${account} is written in ${to} now${pause}${epoch}`);
    case 'already-there':
      return output.line(`${colors.green('✓')} ${account} is written in ${to} already${epoch}`);
    case 'pending':
      output.line(`${colors.yellow('…')} ${account} is on its way to ${to}: ${answer.reason ?? ''}`);
      return output.line('  It comes to an end by itself. Look again with `lanekeeper status`.');
    default: {
      const where = answer.home === null ? '' : `; it is written in ${answer.home}`;
      output.line(`${colors.red('✗')} ${account} was not moved (${answer.kind})${where}${epoch}`);
      if (answer.reason) output.line(`  ${answer.reason}`);
      if (answer.retryAfterMs !== undefined)
        output.line(`  Try again in ${Math.ceil(answer.retryAfterMs / 1000)} s, or without --if-idle.`);
    }
  }
}
