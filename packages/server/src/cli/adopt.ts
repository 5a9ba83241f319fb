/** `lanekeeper adopt`: looks at a database that is there, and writes a first configuration with its reasons. Changes nothing in it. */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { dataCenterNamePattern } from 'lanekeeper/config';
import { firstConfigurationOf, type Guess, guessTables } from '../advise/index.ts';
import type { Survey } from '../postgres/index.ts';
import { count } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes } from './output.ts';
import { accountTable, surveyUrl } from './survey.ts';

type AdoptOptions = {
  readonly database: string;
  readonly accountTable?: string;
  readonly cluster?: string;
  readonly dc: string;
  readonly output?: string;
  readonly json?: boolean;
};

export function adoptCommand(context: CliContext): Command {
  return new Command('adopt')
    .description('inspect an existing database and write a first configuration, with its reasons as comments')
    .requiredOption('--database <url>', 'the database: postgres://user@host:port/database')
    .option('--account-table <table>', 'the table whose rows are the accounts (default: guessed)')
    .option('--cluster <name>', 'name of the whole (default: that of the database)')
    .option('--dc <name>', 'short name of the data center in which this database is', 'main')
    .option('--output <file>', 'where to write; never over a file that is there (default: standard output)')
    .option('--json', 'print what was guessed as JSON, not YAML')
    .addHelpText(
      'after',
      `
Reads the catalogs and the counters of statistics in a read-only transaction. What it writes refuses nothing
(\`enforce: observe\`), and is a guess: read every line.

Examples:
  $ lanekeeper adopt --database postgres://shop_owner@db.example/shop --output lanekeeper.yaml
  $ lanekeeper config check && lanekeeper plan --dc main`,
    )
    .action((options: AdoptOptions) => adopt(context, options));
}

async function adopt(context: CliContext, options: AdoptOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  if (!dataCenterNamePattern.test(options.dc))
    throw new CommandFailure(
      `\`${options.dc}\` is no short name: a lower-case letter, then lower-case letters and digits.`,
      {
        exitCode: exitCodes.usage,
      },
    );
  const survey = await surveyUrl(options.database);
  const guess = guessTables(survey.catalog, {
    dataCenter: options.dc,
    root: accountTable(survey, options.accountTable),
    statistics: survey.statistics,
    hazards: survey.hazards,
  });
  if (guess.tables.length === 0)
    throw new CommandFailure(`There are no tables in ${survey.database}.`, {
      hint: "Run the application's migrations first.",
    });
  const text = firstConfigurationOf(guess, {
    cluster: options.cluster ?? clusterName(survey.database),
    dataCenter: options.dc,
    database: withoutUser(options.database, survey.database),
    owner: ownerOf(survey),
    basis: basisOf(survey),
  });
  if (options.output !== undefined) write(resolve(context.directory, options.output), options.output, text);
  if (options.json) output.result(forScript(guess, options.output === undefined ? text : null));
  else if (options.output === undefined) context.stdout.write(text);
  else output.line(summary(guess, options.output));
}

function write(path: string, shown: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'EEXIST' ? 'is there already; nothing was written' : `cannot be written: ${code}`;
    throw new CommandFailure(`${shown} ${why}.`, { hint: 'Choose another file with --output.' });
  }
}

/** Users and passwords never stand in a configuration. */
function withoutUser(text: string, database: string): string {
  const url = new URL(text);
  url.username = '';
  url.password = '';
  if (url.port === '') url.port = '5432';
  if (url.pathname === '' || url.pathname === '/') url.pathname = `/${encodeURIComponent(database)}`;
  return url.href;
}

/** Who owns most tables. */
function ownerOf({ catalog }: Survey): string {
  const counts = new Map<string, number>();
  for (const { owner } of catalog.tables.values()) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'lanekeeper_owner';
}

function clusterName(database: string): string {
  const name = database
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '_')
    .replace(/^[^a-z]+/, '')
    .slice(0, 31);
  return name || 'shop';
}

function basisOf({ catalog, statistics }: Survey): string {
  const counted = [...statistics.tables.values()].some((use) => use.inserted + use.updated + use.deleted > 0);
  const since =
    statistics.since === null ? 'since they were created' : `since ${statistics.since.toISOString().slice(0, 10)}`;
  return `It rests on the keys and names of ${catalog.tables.size} tables${counted ? `, and on how they were written ${since}` : '; nothing was written to them yet that could be counted'}.`;
}

function summary({ root, tables, claims, ignored }: Guess, file: string): string {
  const homed = tables.filter(({ written }) => written.account !== undefined).length;
  const decide = tables.filter(({ remark }) => remark !== null).length;
  const who =
    root === null
      ? 'no table of accounts found: one home for everything'
      : `accounts: ${root.table.name} (${root.why})`;
  return [
    `${file}: ${who}`,
    `  ${count(tables.length, 'table')}, ${homed} of them belong to an account; ${count(claims.length, 'claim')}; ${ignored.length} left alone; ${decide} to decide`,
    '  Next: read it, then `lanekeeper config check`, `lanekeeper advise`, `lanekeeper plan`.',
  ].join('\n');
}

function forScript({ root, tables, claims, ignored, fixed }: Guess, configuration: string | null): unknown {
  return {
    accounts: root && { table: root.table.name, key: root.key, why: root.why, others: root.others },
    tables: tables.map(({ table, written, why, remark }) => ({ table: table.name, ...written, why, remark })),
    claims,
    ignored,
    fixed,
    ...(configuration === null ? {} : { configuration }),
  };
}
