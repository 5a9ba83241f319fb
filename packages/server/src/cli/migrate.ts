/** `lanekeeper migrate check`: what a schema migration does while some data centers have it, and where they differ now. The other two: `migrate-columns.ts`. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { parse } from 'libpg-query';
import pg from 'pg';
import {
  judgeStatement,
  type MigrationVerdict,
  type MigrationWay,
  type SchemaDifference,
  type SchemaSide,
  schemaDifferences,
} from '../advise/index.ts';
import { joinedPeers, readMembers, surveyDatabase } from '../postgres/index.ts';
import { count, databaseFailure, openDatabaseCommand, unavailable, withPlace } from './database-command.ts';
import { leaveOutCommand, sendCommand } from './migrate-columns.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type CheckOptions = { readonly config?: string; readonly dc?: string; readonly json?: boolean };

/** A statement of a file, by the line it begins in. */
type Checked = MigrationVerdict & { readonly file: string; readonly line: number; readonly statement: string };

export function migrateCommand(context: CliContext): Command {
  return new Command('migrate')
    .description('change the schema of the application while it runs in several data centers')
    .addCommand(
      withPlace(new Command('check'), 'the data center whose configuration counts')
        .description(
          'say what a migration does while some have it and some do not; without a file, where they differ now',
        )
        .argument('[files...]', 'SQL of the migration; - is standard input')
        .addHelpText(
          'after',
          `
With files: reads them with PostgreSQL's own grammar and runs nothing. Every part of every statement is one of these:
  alone     in one data center after the other, whenever it suits
  together  in all of them, one right after the other: rows written in between wait, and none is lost
  split     not as it is; it is said in which steps
  refused   not in a migration at all
  unknown   what it does cannot be seen, for example DO

Without: compares the tables that travel in all data centers that have joined, as their owner: what differs, which columns are left
out of the streams, and what is next for each.

The order is: expand everywhere, deploy the code in one data center after the other, contract everywhere. Moves of accounts stop
while the columns of a table with accounts differ, and go on by themselves.

Exit code 0: nothing to split, nothing differs. 1: something is. 4: a database could not be reached.

Examples:
  $ lanekeeper migrate check migrations/0042_gift_note.sql
  $ lanekeeper migrate check`,
        )
        .action((files: string[], options: CheckOptions) => check(context, files, options)),
    )
    .addCommand(leaveOutCommand(context))
    .addCommand(sendCommand(context));
}

async function check(context: CliContext, files: readonly string[], options: CheckOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const command = await openDatabaseCommand(context, options);
  if (files.length === 0) return compare(output, command);
  const checked: Checked[] = [];
  for (const file of files) checked.push(...(await checkFile(context, command.configuration, file)));
  output.result({ statements: checked });
  for (const one of checked) print(output, one);
  const wrong = checked.filter(({ way }) => way === 'split' || way === 'refused');
  const unknown = checked.filter(({ way }) => way === 'unknown').length;
  if (checked.length === 0) output.line('There is no statement in it that changes anything.');
  if (unknown > 0) output.line(`${count(unknown, 'part')} cannot be judged from outside: read on your own.`);
  if (wrong.length === 0) return;
  output.line(`${count(wrong.length, 'part')} cannot be run as it is in several data centers.`);
  throw new SilentExit(exitCodes.no);
}

async function checkFile(context: CliContext, configuration: Configuration, file: string): Promise<Checked[]> {
  const sql = await readSql(context, file);
  let statements: readonly { readonly stmt?: unknown; readonly stmt_location?: number; readonly stmt_len?: number }[];
  try {
    statements = (await parse(sql)).stmts ?? [];
  } catch (error) {
    throw new CommandFailure(`${file} is not SQL that PostgreSQL understands: ${(error as Error).message}.`, {
      exitCode: exitCodes.usage,
      hint: 'Templates, and commands of psql that begin with a backslash, are not SQL.',
    });
  }
  // Places are counted in bytes.
  const bytes = Buffer.from(sql);
  return statements.flatMap(({ stmt, stmt_location: from = 0, stmt_len: length }) => {
    const text = bytes.subarray(from, length === undefined ? undefined : from + length).toString();
    const own = text.replace(/^(\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*/, '');
    const line = (bytes.subarray(0, from).toString() + text.slice(0, text.length - own.length)).split('\n').length;
    const statement = own.replace(/\s+/g, ' ').slice(0, 120);
    return judgeStatement(configuration, stmt).map((one) => ({ ...one, file, line, statement }));
  });
}

async function readSql(context: CliContext, file: string): Promise<string> {
  if (file === '-') {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  }
  try {
    return await readFile(resolve(context.directory, file), 'utf8');
  } catch (error) {
    throw new CommandFailure(`${file} cannot be read: ${(error as Error).message}.`, { exitCode: exitCodes.usage });
  }
}

const marks: Readonly<Record<MigrationWay, string>> = {
  alone: '✓',
  together: '⇉',
  split: '✗',
  refused: '✗',
  unknown: '?',
};

function print(output: Output, { file, line, way, phase, table, statement, why, instead }: Checked): void {
  const { colors } = output;
  const color = way === 'alone' ? colors.green : way === 'together' || way === 'unknown' ? colors.yellow : colors.red;
  const what = phase === null ? way : `${way}, ${phase}`;
  output.line(`${color(marks[way])} ${file}:${line}  ${what}${table === null ? '' : `  ${table}`}`);
  output.line(`    ${colors.dim(statement)}`);
  output.line(`    ${why}.`);
  if (instead !== null) output.line(`    → ${instead}`);
}

async function compare(
  output: Output,
  { configuration, connect }: Awaited<ReturnType<typeof openDatabaseCommand>>,
): Promise<void> {
  const sides: Record<DataCenterName, SchemaSide> = {};
  const here = await connect(configuration.here, 'owner')('lanekeeper migrate check');
  if (here.kind === 'unavailable') throw unavailable(here, configuration.here, 'owner');
  const members = await readMembers(here.client).finally(() => here.client.end());
  const joined = [configuration.here, ...joinedPeers(configuration, members)];
  for (const dc of Object.keys(configuration.dataCenters)) {
    if (!joined.includes(dc)) {
      output.remark(`${dc} has not joined yet and is left out.`);
      continue;
    }
    const survey = await surveyDatabase(connect(dc, 'owner'));
    if (survey.kind === 'unavailable') throw unavailable(survey, dc, 'owner');
    if (survey.kind === 'unreadable') throw databaseFailure(`The database of ${dc} cannot be read`, survey.error);
    sides[dc] = survey;
  }
  const differences = schemaDifferences(configuration, sides, pg.escapeIdentifier);
  output.result({ dataCenters: Object.keys(sides), differences });
  const names = Object.keys(sides).join(', ');
  if (differences.length === 0)
    return output.line(
      `${output.colors.green('✓')} ${names}: the tables that travel are alike, and all of their columns do.`,
    );
  for (const difference of differences) printDifference(output, difference);
  throw new SilentExit(exitCodes.no);
}

function printDifference(
  output: Output,
  { table, kind, name, in: values, stops, closesGate, next }: SchemaDifference,
): void {
  const { colors } = output;
  const words = {
    table: 'the table',
    column: 'column',
    'not-sent': 'column',
    'not-null': 'NOT NULL of',
    unique: 'unique indexes',
    key: 'the key',
  };
  output.line(
    `${(closesGate || stops.length > 0 ? colors.red : colors.yellow)('✗')} ${table}: ${words[kind]}${name === null ? '' : ` ${name}`}`,
  );
  for (const [dc, value] of Object.entries(values)) output.line(`    ${dc}: ${value ?? '—'}`);
  for (const { from, at } of stops) output.line(`    Rows of it written in ${from} wait before they reach ${at}.`);
  if (closesGate) output.line('    No account is moved between them until they are alike.');
  for (const one of next) output.line(`    → ${one}`);
}
