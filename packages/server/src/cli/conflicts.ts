/** `lanekeeper conflicts`: writes to shared rows that lost to another one which had not seen them. */
import { Command, Option } from 'commander';
import type { Client } from 'pg';
import { type Conflict, type ConflictFilter, type ConflictVersion, listConflicts } from '../postgres/index.ts';
import { count, type DatabaseOptions, openDatabaseCommand, unavailable, withPlace } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output } from './output.ts';
import { duration } from './serving.ts';

type ListOptions = DatabaseOptions & { readonly table?: string; readonly since?: number; readonly limit: number };

const limitMax = 100_000;
const valueWidthMax = 60;

export function conflictsCommand(context: CliContext): Command {
  const command = new Command('conflicts').description(
    'writes to shared rows that met in this data center, and which one stayed',
  );
  command.addHelpText(
    'after',
    `
Two data centers wrote the same row, and neither had seen the other's write. The policy of the table chose one, everywhere the same;
the other is kept here for a while (\`merge.keepConflicts\`). Every data center in which the two met has an entry of its own.

Examples:
  $ lanekeeper conflicts list --table products --since 1h
  $ lanekeeper conflicts show 42`,
  );
  command.addCommand(
    place(new Command('list'))
      .description('the latest first')
      .option('--table <table>', 'only those of this table')
      .addOption(new Option('--since <duration>', 'not older than this, for example 1h').argParser(duration))
      .addOption(new Option('--limit <n>', 'at most so many').argParser(limitOf).default(100))
      .action((options: ListOptions) => runList(context, options)),
  );
  command.addCommand(
    place(new Command('show'))
      .description('both versions of one, column by column')
      .argument('<id>', 'its number, as `list` prints it')
      .action((id: string, options: DatabaseOptions) => runShow(context, id, options)),
  );
  return command;
}

const place = (command: Command): Command => withPlace(command, 'ask in this data center');

async function runList(context: CliContext, options: ListOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { table, since, limit } = options;
  const conflicts = await read(context, options, {
    limit,
    ...(table === undefined ? {} : { table: table.includes('.') ? table : `public.${table}` }),
    ...(since === undefined ? {} : { withinMs: since }),
  });
  for (const conflict of conflicts) printLine(output, conflict);
  if (conflicts.length === 0) output.line(`${output.colors.green('✓')} no conflicts`);
  else if (conflicts.length === limit)
    output.line(output.colors.dim(`the latest ${count(limit, 'conflict')}; more with --limit`));
  output.result({ conflicts });
}

async function runShow(context: CliContext, written: string, options: DatabaseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const id = wholeNumber(written);
  if (id === null)
    throw new CommandFailure(`${written} is not the number of a conflict.`, {
      exitCode: exitCodes.usage,
      hint: '`lanekeeper conflicts list` shows them.',
    });
  const [conflict] = await read(context, options, { id });
  if (conflict === undefined)
    throw new CommandFailure(`There is no conflict ${id} in this data center.`, {
      hint: 'Each data center numbers its own, and keeps them for `merge.keepConflicts`.',
    });
  printLine(output, conflict);
  printVersion(output, 'stays', conflict.winner);
  printVersion(output, 'lost', conflict.loser);
  output.line();
  for (const line of sideBySide(conflict)) output.line(`    ${line}`);
  output.result(conflict);
}

async function read(
  context: CliContext,
  options: DatabaseOptions,
  filter: ConflictFilter,
): Promise<readonly Conflict[]> {
  const command = await openDatabaseCommand(context, options);
  const { here } = command.configuration;
  const connected = await command.connect(here, 'agent')('lanekeeper conflicts');
  if (connected.kind === 'unavailable') throw unavailable(connected, here, 'agent');
  const client: Client = connected.client;
  try {
    return await listConflicts(client, filter);
  } finally {
    await client.end();
  }
}

function printLine(output: Output, { id, at, table, key, policy, winner, loser }: Conflict): void {
  const { bold, dim } = output.colors;
  const row = Object.entries(key).map(([column, value]) => `${column} = ${value}`);
  output.line(
    `${bold(String(id))}  ${moment(at)}  ${table} (${row.join(', ')})  ${who(winner)} over ${who(loser)}  ${dim(policy)}`,
  );
}

function printVersion(output: Output, what: string, version: ConflictVersion): void {
  const deleted = version.row === null ? ', deleted' : '';
  output.line(`    ${what.padEnd(5)}  written in ${who(version)}, ${moment(version.at, 23)}${deleted}`);
}

function who({ dataCenter, application }: ConflictVersion): string {
  return application === null ? dataCenter : `${dataCenter} (${application})`;
}

function moment(at: Date, length = 19): string {
  return at.toISOString().replace('T', ' ').slice(0, length);
}

/** Columns that are not the same in both. */
function sideBySide({ winner, loser }: Conflict): readonly string[] {
  const names = [...new Set([...Object.keys(winner.row ?? {}), ...Object.keys(loser.row ?? {})])];
  const rows = names.flatMap((name) => {
    const cells = [winner, loser].map(({ row }) => (row === null ? '—' : shown(row[name])));
    return cells[0] === cells[1] ? [] : [[name, ...cells]];
  });
  if (rows.length === 0) return ['no column differs'];
  const table = [['', 'stays', 'lost'], ...rows];
  const widths = [0, 1, 2].map((i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
  return table.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function shown(value: string | null | undefined): string {
  if (value === undefined) return '?';
  const line = (value ?? 'NULL').replaceAll(/\s+/g, ' ');
  return line.length <= valueWidthMax ? line : `${line.slice(0, valueWidthMax - 1)}…`;
}

function wholeNumber(written: string): number | null {
  return /^\d{1,15}$/.test(written) ? Number(written) : null;
}

function limitOf(written: string): number {
  const limit = wholeNumber(written);
  if (limit !== null && limit >= 1 && limit <= limitMax) return limit;
  throw new CommandFailure(`--limit takes a number from 1 to ${limitMax}.`, { exitCode: exitCodes.usage });
}
