/** `lanekeeper copies`: tables made from others as of a moment: of when each is, and making one anew. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { type Configuration, formatDuration, qualifiedName, type TableName } from 'lanekeeper/config';
import { type CopyState, latestDue, type RefreshResult, readCopies, refreshCopy } from '../postgres/index.ts';
import { count, type DatabaseOptions, openDatabaseCommand, unavailable, withPlace } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { duration } from './serving.ts';

type RefreshOptions = DatabaseOptions & {
  readonly asOf?: Date;
  readonly incomplete?: boolean;
  readonly wait: number;
  readonly timeout: number;
};

export function copiesCommand(context: CliContext): Command {
  const command = new Command('copies').description('tables made from others as of a moment: of when each is');
  command.addHelpText(
    'after',
    `
Examples:
  $ lanekeeper copies list
  $ lanekeeper copies refresh balances
  $ lanekeeper copies refresh balances --as-of 2026-11-22T00:00:00Z`,
  );
  command.addCommand(
    place(new Command('list'))
      .description('of when each copy is in this data center, and when the next one is due')
      .action((options: DatabaseOptions) => runList(context, options)),
  );
  command.addCommand(
    place(new Command('refresh'))
      .description('make a copy anew, in the data center that feeds it')
      .argument('<table>', 'the copy')
      .addOption(new Option('--as-of <time>', 'the moment, with its time zone (default: now)').argParser(moment))
      .option('--incomplete', 'make it although writes of other data centers may be missing, and record whose')
      .addOption(
        new Option('--wait <duration>', 'how long to wait for those').argParser(duration).default(30_000, '30s'),
      )
      .addOption(
        new Option('--timeout <duration>', 'how long one statement may take')
          .argParser(duration)
          .default(600_000, '10m'),
      )
      .addHelpText(
        'after',
        `
Waits until everything that was written before the moment, in every data center, has arrived here; when one does not answer,
nothing is changed. The agent makes copies at the moments of their schedule by itself; one made by hand stays until the next.

Exit code 0: made, and complete; with --incomplete also when it is not. 1: not made.`,
      )
      .action((table: string, options: RefreshOptions) => runRefresh(context, table, options)),
  );
  return command;
}

const place = (command: Command): Command => withPlace(command, 'this data center');

async function runList(context: CliContext, options: DatabaseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const connected = await connect(here, 'agent')('lanekeeper copies');
  if (connected.kind === 'unavailable') throw unavailable(connected, here, 'agent');
  let states: readonly CopyState[];
  try {
    states = await readCopies(connected.client);
  } finally {
    await connected.client.end();
  }
  const copies = copyTables(configuration).map(({ name, feeder, copy }) => {
    const next = new Date(latestDue(copy, Date.now()).getTime() + copy.everyMs);
    return {
      table: name,
      feeder,
      everyMs: copy.everyMs,
      next,
      state: states.find(({ table }) => table === name) ?? null,
    };
  });
  if (copies.length === 0) output.line('No table is declared as a copy.');
  for (const { table, feeder, everyMs, next, state } of copies) {
    const { colors } = output;
    const schedule = colors.dim(`made in ${feeder} every ${formatDuration(everyMs)}, next ${time(next)}`);
    output.line(
      `${colors.bold(table)}  ${state === null ? colors.yellow('not here yet') : describe(output, state)}  ${schedule}`,
    );
    if (state !== null) printMissing(output, state.missing);
  }
  output.result({ kind: 'copies', copies });
}

async function runRefresh(context: CliContext, written: string, options: RefreshOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const { name, copy } = copyToMake(configuration, written);
  const nowMs = Date.now();
  const asOf = options.asOf ?? new Date(nowMs);
  if (asOf.getTime() > nowMs)
    throw new CommandFailure(`${time(asOf)} has not come yet.`, { exitCode: exitCodes.usage });
  const connected = await connect(here, 'agent')('lanekeeper copies');
  if (connected.kind === 'unavailable') throw unavailable(connected, here, 'agent');
  let result: RefreshResult;
  try {
    result = await refreshCopy({
      configuration,
      table: name,
      asOf,
      due: latestDue(copy, nowMs),
      client: connected.client,
      connect: (dc) => connect(dc, 'agent'),
      evenIncomplete: options.incomplete === true,
      arriveWithinMs: options.wait,
      statementTimeoutMs: options.timeout,
    });
  } finally {
    await connected.client.end();
  }
  output.result(result);
  if (result.kind !== 'made') {
    output.line(`${output.colors.red('✗')} ${name} was not made: ${whyNot(result, asOf)}.`);
    if (result.kind === 'incomplete') {
      printMissing(output, result.missing);
      output.line('Wait longer with --wait, or make it without them with --incomplete.');
    }
    throw new SilentExit(exitCodes.no);
  }
  output.line(`${output.colors.bold(name)}  ${describe(output, result.state)}`);
  printMissing(output, result.state.missing);
}

function copyTables(configuration: Configuration) {
  return Object.values(configuration.tables).flatMap(({ name, feeder, copy }) =>
    copy === null || feeder === null ? [] : [{ name, feeder, copy }],
  );
}

function copyToMake(configuration: Configuration, written: string): ReturnType<typeof copyTables>[number] {
  const copies = copyTables(configuration);
  const wanted: TableName | null = qualifiedName(written);
  const found = copies.find(({ name }) => name === wanted);
  if (found === undefined) {
    const names = copies.map(({ name }) => name).join(', ');
    throw new CommandFailure(`${written} is not declared as a copy.`, {
      exitCode: exitCodes.usage,
      hint: names === '' ? 'No table is: see `copy` of a table.' : `There is ${names}.`,
    });
  }
  if (found.feeder !== configuration.here)
    throw new CommandFailure(`${found.name} is made in ${found.feeder}, not in ${configuration.here}.`, {
      exitCode: exitCodes.usage,
    });
  return found;
}

function whyNot(result: Exclude<RefreshResult, { kind: 'made' }>, asOf: Date): string {
  if (result.kind === 'failed') return `${result.error.message} [${result.error.code}]`;
  return result.kind === 'busy' ? 'somebody else is making it' : `writes before ${time(asOf)} may be missing here`;
}

function describe({ colors }: Output, state: CopyState): string {
  const { asOf, rows, changed, complete } = state;
  const whole = complete ? colors.green('complete') : colors.yellow('incomplete');
  return `as of ${time(asOf)}, ${whole}: ${count(rows, 'row')}, of which ${changed} were written`;
}

function printMissing(output: Output, missing: CopyState['missing']): void {
  for (const [dc, reason] of Object.entries(missing))
    output.line(output.colors.yellow(`    may lack what was written in ${dc}: ${reason}`));
}

function time(at: Date): string {
  return at.toISOString().replace(/\.000Z$/, 'Z');
}

function moment(text: string): Date {
  const at = new Date(text);
  if (Number.isNaN(at.getTime()) || !/(Z|[+-]\d\d:\d\d)$/.test(text))
    throw new InvalidArgumentError('Write it like 2026-11-22T00:00:00Z.');
  return at;
}
