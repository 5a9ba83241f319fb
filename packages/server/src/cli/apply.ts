/** `lanekeeper apply`: brings this data center's database to the declared state, streams included. Safe to repeat. */
import { Command, Option } from 'commander';
import { type ApplyResult, applyChanges, ensureStreams, type Step, type StreamOutcome } from '../postgres/index.ts';
import { type ApplyDisplay, createApplyDisplay } from './apply-display.ts';
import {
  count,
  type DatabaseCommand,
  type DatabaseOptions,
  databaseFailure,
  openDatabaseCommand,
  refused,
  unavailable,
} from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, SilentExit } from './output.ts';
import { printUndeclared, stepForScript } from './plan.ts';
import { passRolloutGate } from './rollout-gate.ts';
import { duration } from './serving.ts';

type ApplyCommandOptions = DatabaseOptions & {
  readonly wait: number;
  readonly lockWait: number;
  readonly now?: boolean;
};

export function applyCommand(context: CliContext): Command {
  return new Command('apply')
    .description('bring the database to what the configuration declares: fence, streams, sequences, deeds')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'the data center (default: LANEKEEPER_DC)')
    .addOption(
      new Option('--wait <duration>', 'how long to wait for the other data centers to be applied too')
        .argParser(duration)
        .default(0, '0s'),
    )
    .addOption(
      new Option('--lock-wait <duration>', 'how long to go on asking for the lock on a table in use')
        .argParser(duration)
        .default(60_000, '60s'),
    )
    .option('--now', 'do not wait for the data center before this one to be well with this configuration and version')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Connects as the owner, and as the agent to subscribe. \`lanekeeper plan\` shows the same without doing it.
What has to wait for another data center is left out and said: apply there, then here again, or use --wait.

Examples:
  $ LANEKEEPER_DC=ny lanekeeper apply --wait 5m & LANEKEEPER_DC=la lanekeeper apply --wait 5m`,
    )
    .action((options: ApplyCommandOptions) => runApply(context, options));
}

type Outcome = {
  readonly done: readonly Step[];
  readonly postponed: readonly Step[];
  readonly streams: readonly StreamOutcome[];
  readonly undeclared: readonly string[];
  readonly closed: readonly string[];
};

/** How long between two looks at the other data centers. */
const lookAgainMs = 1_000;

async function runApply(context: CliContext, options: ApplyCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const command = await openDatabaseCommand(context, options);
  const { here } = command.configuration;
  await passRolloutGate({
    configuration: command.configuration,
    connect: (dc) => command.connect(dc, 'agent'),
    now: options.now ?? false,
    onUnknown: 'refuse',
  });
  const display = createApplyDisplay(context, output);
  const deadline = Date.now() + options.wait;
  let outcome: Outcome;
  try {
    outcome = await applyOnce(command, display, options);
    while (!isComplete(outcome) && !needsPerson(outcome) && Date.now() < deadline) {
      display.waiting(waitsFor(outcome));
      await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
      const next = await applyOnce(command, display, options);
      outcome = { ...next, done: [...outcome.done, ...next.done] };
    }
  } catch (error) {
    await display.end('failed');
    throw error;
  }
  await display.end('done');
  printUndeclared(output, outcome.undeclared);
  for (const stream of outcome.streams) {
    const ok = stream.kind === 'created' || stream.kind === 'changed' || stream.kind === 'unchanged';
    const sign = ok ? output.colors.green('✓') : output.colors.yellow('!');
    output.line(`${sign} ${stream.stream} stream from ${stream.publisher}: ${stream.message}`);
  }
  for (const step of outcome.postponed)
    output.line(`${output.colors.yellow('!')} later: ${step.title}: ${step.waitsFor}`);
  for (const table of outcome.closed) output.line(`${output.colors.yellow('!')} ${closedBecause(table)}`);
  const complete = isComplete(outcome);
  const steps = outcome.done.length === 0 ? 'nothing had to be changed' : `${count(outcome.done.length, 'step')} done`;
  output.line(`${complete ? output.colors.green('✓') : output.colors.yellow('!')} ${here}: ${steps}`);
  output.result({
    dataCenter: here,
    complete,
    done: outcome.done.map(stepForScript),
    postponed: outcome.postponed.map(stepForScript),
    streams: outcome.streams,
    undeclared: outcome.undeclared,
    closed: outcome.closed,
  });
  if (needsPerson(outcome) || (options.wait > 0 && !complete)) throw new SilentExit(exitCodes.no);
}

async function applyOnce(
  { configuration, env, connect }: DatabaseCommand,
  display: ApplyDisplay,
  options: ApplyCommandOptions,
): Promise<Outcome> {
  const { here } = configuration;
  const apply = async () =>
    orThrow(
      await applyChanges(connect(here, 'owner'), configuration, {
        onProgress: display.progress,
        patience: { totalMs: options.lockWait },
      }),
      here,
    );
  const first = await apply();
  if (Object.keys(configuration.dataCenters).length === 1) {
    return { done: first.done, postponed: first.postponed, streams: [], undeclared: first.plan.undeclared, closed: [] };
  }
  display.streams();
  const ensured = await ensureStreams({ connect: connect(here, 'agent'), configuration, env });
  if (ensured.kind === 'unavailable') throw unavailable(ensured, here, 'agent');
  const streams = ensured.kind === 'ensured' ? ensured.streams : [];
  // Now that the streams are there, what waited for them may go on.
  const second = first.postponed.length > 0 || first.plan.closed.length > 0 ? await apply() : null;
  return {
    done: [...first.done, ...(second?.done ?? [])],
    postponed: second?.postponed ?? first.postponed,
    streams,
    undeclared: first.plan.undeclared,
    closed: (second ?? first).plan.closed,
  };
}

function orThrow(result: ApplyResult, here: string): Extract<ApplyResult, { kind: 'applied' }> {
  switch (result.kind) {
    case 'applied':
      return result;
    case 'unavailable':
      throw unavailable(result, here, 'owner');
    case 'unreadable':
      throw databaseFailure(`The database of ${here} cannot be read`, result.error);
    case 'refused':
      throw refused(result.problems);
    case 'busy': {
      const { holder } = result;
      const who = holder ? `${holder.applicationName} (process ${holder.pid} of ${holder.role})` : 'Another process';
      throw new CommandFailure(`${who} is changing this database.`, { hint: 'Try again when it has ended.' });
    }
    case 'blocked': {
      const [first] = result.blockers;
      const who = first
        ? `process ${first.pid} (${first.applicationName || first.role}) has held ${first.mode} for ${Math.round(first.transactionMs / 1_000)} s`
        : 'somebody holds a lock';
      const table = result.step.lock?.table ?? 'a table';
      throw new CommandFailure(`${result.step.title}: ${table} is in use: ${who}.`, {
        hint: 'What was done so far stays; apply again, with a longer --lock-wait perhaps.',
      });
    }
    case 'failed':
      throw databaseFailure(`${result.step.title} (${result.step.id})`, result.error);
  }
}

function isComplete(outcome: Outcome): boolean {
  return (
    outcome.postponed.length === 0 &&
    outcome.closed.length === 0 &&
    outcome.streams.every(({ kind }) => kind !== 'waiting' && !isForPerson(kind))
  );
}

function needsPerson(outcome: Outcome): boolean {
  return outcome.streams.some(({ kind }) => isForPerson(kind));
}

function isForPerson(kind: StreamOutcome['kind']): boolean {
  return kind === 'lost' || kind === 'failed';
}

function closedBecause(table: string): string {
  return `${table} refuses writes until the other data centers read it: apply there, then here again`;
}

function waitsFor(outcome: Outcome): string {
  return (
    outcome.streams.find(({ kind }) => kind === 'waiting')?.message ??
    outcome.postponed[0]?.waitsFor ??
    outcome.closed.map(closedBecause)[0] ??
    ''
  );
}
