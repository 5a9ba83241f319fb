/** What is compared, and the SQL that reads it: the same text for both sides, by column names, whatever their order. */
import type { TableName } from 'lanekeeper/config';
import type { ColumnInfo, TableInfo } from '../catalog.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import type { StreamName } from '../streams/names.ts';

export type Comparable = {
  readonly table: TableName;
  /** What brings its writes from one side to the other. `everywhere`: a log, or the application itself (`buffered.ts`). */
  readonly stream: StreamName | 'everywhere';
  /** As it stands in FROM: with ONLY, since what inherits from a table is declared by itself. */
  readonly from: string;
  readonly key: readonly ColumnInfo[];
  /** Sorted by name, generated columns left out: they are computed on each side. */
  readonly columns: readonly string[];
  /** Compare keys byte by byte because the two sides sort text differently; no index helps then. */
  readonly byteOrder: boolean;
  readonly estimatedRows: number;
};

export type Incomparable = { readonly table: TableName; readonly reason: string };

/** A key as PostgreSQL prints it, one text per key column. */
export type Key = readonly string[];

/** Everything in (after, upTo]; null is the end of the table. */
export type Range = { readonly after: Key | null; readonly upTo: Key | null };

export function comparableOf(
  here: TableInfo | undefined,
  there: TableInfo | undefined,
  name: TableName,
  stream: Comparable['stream'],
  textOrderIsSame: boolean,
): Comparable | Incomparable {
  if (!here || !there) return { table: name, reason: `there is no such table ${here ? 'there' : 'here'}` };
  if (here.primaryKey.length === 0) return { table: name, reason: 'it has no primary key' };
  if (here.primaryKey.join() !== there.primaryKey.join()) return { table: name, reason: 'its primary keys differ' };
  const [ours, theirs] = [namesOf(here), namesOf(there)];
  const apart = [...ours.filter((c) => !theirs.includes(c)), ...theirs.filter((c) => !ours.includes(c))];
  if (apart.length > 0) return { table: name, reason: `only one side has the column ${apart.join(', ')}` };
  const key = here.primaryKey.flatMap((column) => here.columns.filter((info) => info.name === column));
  return {
    table: name,
    stream,
    from: `${here.kind === 'partitioned' ? '' : 'ONLY '}${quoteTable(here)}`,
    key,
    columns: ours,
    byteOrder: !textOrderIsSame && key.some((column) => isText(column.type)),
    estimatedRows: Math.max(here.estimatedRows, there.estimatedRows),
  };
}

function namesOf(table: TableInfo): string[] {
  return table.columns
    .filter((column) => !column.generated)
    .map((column) => column.name)
    .sort();
}

/** Types that sort by a collation; a domain or an extension's type might, so it counts as one. */
function isText(type: string): boolean {
  return !/^(smallint|integer|bigint|numeric|uuid|date|boolean|bytea|real|double precision|time|timestamp|interval|inet|cidr)\b/.test(
    type,
  );
}

function keyExpressions(c: Comparable): string[] {
  return c.key.map(
    (column) => quoteName(column.name) + (c.byteOrder && isText(column.type) ? '::text COLLATE "C"' : ''),
  );
}

function keyTexts(c: Comparable, alias = ''): string {
  return `ARRAY[${c.key.map((column) => `${alias}${quoteName(column.name)}::text`).join(', ')}]`;
}

function keyValue(c: Comparable, parameter: string): string {
  const values = c.key.map((column, index) =>
    c.byteOrder && isText(column.type)
      ? `((${parameter}::text[])[${index + 1}]) COLLATE "C"`
      : `((${parameter}::text[])[${index + 1}])::${column.type}`,
  );
  return `(${values.join(', ')})`;
}

/** $1: after, $2: up to; each a text array or null. Two statements would plan better than `OR`, so the text differs. */
function rangeCondition(c: Comparable, range: Range): string {
  const key = `(${keyExpressions(c).join(', ')})`;
  const conditions = [
    range.after === null ? '$1::text[] IS NULL' : `${key} > ${keyValue(c, '$1')}`,
    range.upTo === null ? '$2::text[] IS NULL' : `${key} <= ${keyValue(c, '$2')}`,
  ];
  return conditions.join(' AND ');
}

function rowText(c: Comparable, alias = ''): string {
  return `ROW(${c.columns.map((column) => alias + quoteName(column)).join(', ')})::text`;
}

function rowHash(c: Comparable, alias = ''): string {
  return `hashtextextended(${rowText(c, alias)} COLLATE "C", 0)`;
}

/** How many rows, and the sum of their hashes: whatever the order in which they are read. */
export function chunkHashSql(c: Comparable, range: Range): string {
  return `SELECT count(*)::int AS rows, coalesce(sum(${rowHash(c)}), 0)::text AS hash FROM ${c.from} WHERE ${rangeCondition(c, range)}`;
}

/** The key of the `size`-th row of the range; no row when there are not so many. */
export function boundarySql(c: Comparable, range: Range, size: number): string {
  const order = keyExpressions(c).join(', ');
  return `SELECT ${keyTexts(c)} AS key FROM ${c.from} WHERE ${rangeCondition(c, range)} ORDER BY ${order} OFFSET ${size - 1} LIMIT 1`;
}

export function rowHashesSql(c: Comparable, range: Range): string {
  return `SELECT ${keyTexts(c)} AS key, ${rowHash(c)}::text AS hash FROM ${c.from} WHERE ${rangeCondition(c, range)}`;
}

/** The named rows: $1 is a JSON array of keys. With `lock`, they stay as they are until the transaction ends. */
export function namedHashesSql(c: Comparable, lock = false): string {
  return `SELECT ${keyTexts(c, 't.')} AS key, ${rowHash(c, 't.')}::text AS hash FROM ${namedRows(c)}${lock ? ' FOR SHARE OF t' : ''}`;
}

export function namedValuesSql(c: Comparable): string {
  const values = c.columns.map((column) => `t.${quoteName(column)}::text`).join(', ');
  return `SELECT ${keyTexts(c, 't.')} AS key, ARRAY[${values}]::text[] AS values FROM ${namedRows(c)}`;
}

function namedRows(c: Comparable): string {
  const match = c.key.map((column, index) => `t.${quoteName(column.name)} = (k.key ->> ${index})::${column.type}`);
  return `jsonb_array_elements($1::jsonb) AS k(key) JOIN ${c.from} t ON ${match.join(' AND ')}`;
}

/** Whether text sorts alike: one row, equal on both sides when it does. */
export const textOrderSql = `SELECT concat_ws(' ', d.encoding, d.datlocprovider, d.datcollate, d.datctype,
    pg_database_collation_actual_version(d.oid)) AS "order"
  FROM pg_catalog.pg_database d WHERE d.datname = current_database()`;
