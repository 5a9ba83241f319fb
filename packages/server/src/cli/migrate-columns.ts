/** `lanekeeper migrate leave-out` and `migrate send`: columns that the streams do not carry for a while. */
import { Command, Option } from 'commander';
import { qualifiedName, type TableName } from 'lanekeeper/config';
import pg from 'pg';
import {
  type ColumnsEvent,
  type ColumnsProblem,
  type LeaveOutResult,
  leaveOutColumns,
  sendColumns,
} from '../postgres/index.ts';
import { type DatabaseOptions, databaseFailure, openDatabaseCommand, withPlace } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { duration } from './serving.ts';

type LeaveOutOptions = DatabaseOptions & { readonly new?: boolean; readonly wait: number };

const again = 'Whatever ends it, run it again: it goes on from where it was.';

export function leaveOutCommand(context: CliContext): Command {
  return withPlace(new Command('leave-out'), 'ask as this data center')
    .description(
      'keep columns of a table out of the streams of all data centers, so that they can be dropped, or added',
    )
    .argument('<table>', 'a table whose rows travel as they are')
    .argument('<columns...>', 'the columns')
    .option('--new', 'they are not there yet: what is added by these names is not sent until `migrate send`')
    .addOption(
      new Option('--wait <duration>', 'how long to wait until everything has arrived')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .addHelpText(
      'after',
      `
A row that was sent with a column cannot be applied where that column is not, now or ever. So before a column is dropped it leaves
the streams in every data center; then what was written with it before is waited for, until everybody has it: transactions
that are still open, the streams, and with three what each keeps for another one in case the third fails. Code may go on
reading the column, but not write it any more; a row that arrives without it gets its default.

With --new, before a column is added: it may then be added in one data center after the other, and no row waits for it.

Connects to all as their owner; nothing is changed unless all of them answer. ${again}
\`lanekeeper migrate check\` shows what is left out, and what is next.

Exit code 0: done, and what is next. 1: refused, or not everything has arrived yet. 4: a database could not be reached.

Examples:
  $ lanekeeper migrate leave-out orders gift_note          then, in each: ALTER TABLE orders DROP COLUMN gift_note; and lanekeeper apply
  $ lanekeeper migrate leave-out orders gift_note --new    then, in each: ALTER TABLE orders ADD COLUMN gift_note text;`,
    )
    .action((table: string, columns: string[], options: LeaveOutOptions) =>
      runLeaveOut(context, table, columns, options),
    );
}

export function sendCommand(context: CliContext): Command {
  return withPlace(new Command('send'), 'ask as this data center')
    .description('let the streams carry columns that were left out, once every data center has them')
    .argument('<table>', 'the table')
    .argument('[columns...]', 'the columns (default: all that are left out)')
    .addHelpText(
      'after',
      `
Refused while a data center does not have one of them. Values that were written into them meanwhile were not sent and are not
sent now: \`lanekeeper verify --table TABLE\` finds them. After a DROP COLUMN none of this is needed: \`lanekeeper apply\` in each.

Connects to all as their owner; nothing is changed unless all of them answer. ${again}
Exit code 0: they are sent. 1: refused, and why. 4: a database could not be reached.

Example:
  $ lanekeeper migrate send orders gift_note`,
    )
    .action((table: string, columns: string[], options: DatabaseOptions) => runSend(context, table, columns, options));
}

async function runLeaveOut(
  context: CliContext,
  written: string,
  columns: readonly string[],
  options: LeaveOutOptions,
): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const table = declaredTable(configuration.tables, written);
  const isNew = options.new === true;
  const result = await leaveOutColumns({
    configuration,
    connect: (dc) => connect(dc, 'owner'),
    table,
    columns,
    isNew,
    withinMs: options.wait,
    onEvent: (event) => printEvent(output, event),
  });
  if (result.kind !== 'waiting' && result.kind !== 'left-out') throw failure(result);
  output.result({ table, columns, ...result });
  if (result.kind === 'waiting') {
    for (const [dc, what] of Object.entries(result.waiting))
      output.line(`${output.colors.yellow('…')} ${dc} still waits for ${what}`);
    output.line('Drop nothing yet. They are left out, and stay so: run this again, with a longer --wait perhaps.');
    throw new SilentExit(exitCodes.no);
  }
  printNext(output, result, { table, columns, isNew });
}

function printNext(
  output: Output,
  { dataCenters, having }: Extract<LeaveOutResult, { kind: 'left-out' }>,
  {
    table,
    columns,
    isNew,
  }: { readonly table: TableName; readonly columns: readonly string[]; readonly isNew: boolean },
): void {
  const sign = output.colors.green('✓');
  const what = `${columns.join(', ')} of ${table}`;
  const target = table.split('.').map(pg.escapeIdentifier).join('.');
  const parts = (verb: string, after: string) =>
    `ALTER TABLE ${target} ${columns.map((column) => `${verb} COLUMN ${pg.escapeIdentifier(column)}${after}`).join(', ')};`;
  if (isNew) {
    output.line(`${sign} ${dataCenters.join(', ')}: ${what} will not be sent when it is added.`);
    output.line(`  Next, in each, in any order: ${parts('ADD', ' …')}`);
    output.line(`  Then: lanekeeper migrate send ${table} ${columns.join(' ')}`);
    return;
  }
  output.line(
    `${sign} ${dataCenters.join(', ')}: ${what} is not sent any more, and everything that was sent with it has arrived.`,
  );
  output.line(`  Next, in ${having.join(', ')}, in any order: ${parts('DROP', '')}`);
  output.line('  Then, in each: lanekeeper apply');
}

async function runSend(
  context: CliContext,
  written: string,
  columns: readonly string[],
  options: DatabaseOptions,
): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const table = declaredTable(configuration.tables, written);
  const result = await sendColumns({
    configuration,
    connect: (dc) => connect(dc, 'owner'),
    table,
    columns,
    onEvent: (event) => printEvent(output, event),
  });
  if (result.kind !== 'sent') throw failure(result);
  output.result({ table, ...result });
  const what = result.columns.length === 0 ? 'every column' : result.columns.join(', ');
  output.line(`${output.colors.green('✓')} ${result.dataCenters.join(', ')}: ${what} of ${table} is sent.`);
  if (result.columns.length === 0) return;
  output.line(
    '  Next, in each: lanekeeper apply, for the triggers that know the columns. Then the code that writes it.',
  );
}

function declaredTable(tables: Readonly<Record<TableName, unknown>>, written: string): TableName {
  const name = qualifiedName(written);
  if (name !== null && name in tables) return name;
  throw new CommandFailure(`${written} is not declared in \`tables\`.`, {
    exitCode: exitCodes.usage,
    hint: 'Tables that do not travel can be changed in each data center as it suits.',
  });
}

function printEvent(output: Output, event: ColumnsEvent): void {
  const words: Readonly<Record<ColumnsEvent['kind'], string>> = {
    changed: 'its streams are changed',
    unchanged: 'its streams were so before',
    'carries-none': 'sends nothing of it',
    waiting: `waits for ${event.for}`,
    arrived: 'everything sent from here with it has arrived',
  };
  output.result(event);
  output.line(output.colors.dim(`- ${event.dataCenter}: ${words[event.kind]}`));
}

function failure(problem: ColumnsProblem): CommandFailure {
  const { unreachable } = exitCodes;
  switch (problem.kind) {
    case 'unavailable':
      return new CommandFailure(`${problem.dataCenter} is away: ${problem.message}.`, {
        exitCode: unreachable,
        hint: 'Nothing was changed. Run this again when it is back; one that never comes back leaves with `lanekeeper leave`.',
      });
    case 'refused':
      return new CommandFailure(`${problem.why}.`, { hint: problem.hint });
    case 'blocked':
      return new CommandFailure(`In ${problem.dataCenter} somebody holds a lock on the table for too long.`, {
        hint: `VACUUM, or an index that is being created, for example. ${again}`,
      });
    case 'failed':
      return databaseFailure(`In ${problem.dataCenter}`, problem.error);
    case 'lost':
      return new CommandFailure(`The connection to ${problem.dataCenter} was lost: ${problem.message}.`, {
        exitCode: unreachable,
        hint: again,
      });
  }
}
