/**
 * Rows that were there before Lanekeeper: their accounts get deeds, and their claimed values claims, in chunks. Which
 * chunk is next is recorded with the chunk, so that an interrupted fill goes on where it was.
 */
import { createHash } from 'node:crypto';
import type { Claim, Configuration } from 'lanekeeper/config';
import { type DataCenterName, singleAccount } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import { accountExpression, resolveAccountPath } from '../fence/account-path.ts';
import { quoteName, quoteTable, quoteText } from '../fence/names.ts';

export type Fill = {
  /** Changes when what is filled changes, so that a new declaration is filled anew. */
  readonly id: string;
  readonly title: string;
  readonly why: string;
  readonly table: TableInfo;
  /** Columns and types the chunks are cut by. Empty: everything in one statement. */
  readonly key: readonly { readonly name: string; readonly type: string }[];
  /** Writes what `page` (a common table expression with the chunk's rows) calls for. */
  readonly write: string;
};

const rowsPerChunk = 2_000;

/** Where the accounts are that have no deed yet: `deed` where the one deed of everything says, from the days of one home for all. */
export type FillFrom = { readonly home: DataCenterName; readonly deed: boolean };

/** Existing accounts and claims belong to one data center; only there they are filled, and the others hear of them. */
export function fillsOf(configuration: Configuration, catalog: Catalog, from: FillFrom): Fill[] {
  if (configuration.homes === 'single' || configuration.here !== from.home) return [];
  const fills: Fill[] = [];
  for (const declared of Object.values(configuration.tables)) {
    const table = catalog.tables.get(declared.name);
    if (declared.root && table) fills.push(deedFill(configuration, catalog, table, from));
  }
  for (const claim of Object.values(configuration.claims)) {
    const table = catalog.tables.get(claim.table);
    if (claim.mode === 'buckets' && table) fills.push(claimFill(configuration, catalog, table, claim));
  }
  return fills;
}

function deedFill(configuration: Configuration, catalog: Catalog, table: TableInfo, from: FillFrom): Fill {
  const account = accountOf(configuration, catalog, table);
  const [deed, source] = from.deed
    ? ['d.home, d.term, d.counter', `page, lanekeeper.deed d WHERE d.account = ${quoteText(singleAccount)} AND`]
    : [`${quoteText(from.home)}, 1, 0`, 'page WHERE'];
  const write = `INSERT INTO lanekeeper.deed (account, home, term, counter)
  SELECT DISTINCT ${account}, ${deed} FROM ${source} ${account} IS NOT NULL
  ON CONFLICT (account) DO NOTHING`;
  return {
    ...identify('deeds', table, write),
    title: `give every account that is in ${table.name} already a deed`,
    why: from.deed
      ? `accounts that had one home with all others, in ${from.home}, have it for themselves`
      : `accounts that existed before Lanekeeper are homed in ${from.home}`,
  };
}

function claimFill(configuration: Configuration, catalog: Catalog, table: TableInfo, claim: Claim): Fill {
  const column = `page.${quoteName(claim.column)}::text`;
  const value = claim.normalise === 'lower' ? `lower(${column})` : column;
  const write = `INSERT INTO lanekeeper.claim (name, value, account, confirmed)
  SELECT DISTINCT ON (1, 2) ${quoteText(claim.name)}, ${value}, ${accountOf(configuration, catalog, table)}, true
  FROM page WHERE ${value} IS NOT NULL AND ${accountOf(configuration, catalog, table)} IS NOT NULL
  ON CONFLICT (name, value) DO NOTHING`;
  return {
    ...identify(`claims ${claim.name}`, table, write),
    title: `claim every ${claim.name} that is in ${table.name} already`,
    why: 'a value that is in use must be taken before anybody in another data center may ask for it',
  };
}

function accountOf(configuration: Configuration, catalog: Catalog, table: TableInfo): string {
  const declared = configuration.tables[table.name];
  if (!declared) throw new TypeError(`${table.name} is not declared`);
  return accountExpression(resolveAccountPath(table, declared, catalog), 'page', false);
}

function identify(what: string, table: TableInfo, write: string): Pick<Fill, 'id' | 'table' | 'key' | 'write'> {
  const hash = createHash('sha256').update(write).digest('hex').slice(0, 12);
  const key = table.primaryKey.flatMap((name) => table.columns.filter((column) => column.name === name));
  return { id: `fill ${what} from ${table.name} ${hash}`, table, key, write };
}

/**
 * One chunk: parameter $1 is the last key of the chunk before, as an array of texts, or null for the first. Answers how
 * many rows it looked at, and its own last key.
 */
export function chunkSql(fill: Fill): string {
  const { table, key } = fill;
  const columns = key.map((column) => quoteName(column.name)).join(', ');
  const last = key.map((column, index) => `(($1::text[])[${index + 1}])::${column.type}`).join(', ');
  const page =
    key.length === 0
      ? `SELECT * FROM ${quoteTable(table)}`
      : `SELECT * FROM ${quoteTable(table)} WHERE $1::text[] IS NULL OR (${columns}) > (${last})
  ORDER BY ${columns} LIMIT ${rowsPerChunk}`;
  const lastKey =
    key.length === 0
      ? 'NULL::text[]'
      : `(SELECT ARRAY[${key.map((column) => `${quoteName(column.name)}::text`).join(', ')}] FROM page
    ORDER BY ${key.map((column) => `${quoteName(column.name)} DESC`).join(', ')} LIMIT 1)`;
  return `WITH page AS MATERIALIZED (${page}), written AS (
  ${fill.write}
)
SELECT (SELECT count(*) FROM page)::int AS rows, ${lastKey} AS "lastKey"`;
}

export function isLastChunk(fill: Fill, rows: number): boolean {
  return fill.key.length === 0 || rows < rowsPerChunk;
}
