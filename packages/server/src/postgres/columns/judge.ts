/** Whether columns may leave the streams, or come back into them. Pure, on what was read in every data center that takes part. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import { resolveAccountPath } from '../fence/account-path.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import { isMerged } from '../merge/index.ts';
import { type Carried, leftOutColumns } from '../streams/carried.ts';

/** What the catalog does not say of a column. */
export type ColumnFacts = {
  readonly name: string;
  /** Rows are found by it in other data centers. */
  readonly key: boolean;
  /** A row that arrives without it is refused. */
  readonly required: boolean;
  /** What a row gets that arrives without it; null: nothing. */
  readonly default: string | null;
  /** It is not the same everywhere. */
  readonly volatile: boolean;
};

/** A table in one data center. */
export type ColumnPlace = {
  readonly dataCenter: DataCenterName;
  readonly catalog: Catalog;
  /** Undefined: no stream carries it from here. */
  readonly carried: Carried | undefined;
  readonly facts: readonly ColumnFacts[];
  /** Of whom nothing is applied here: they were taken over, or come back. */
  readonly away: readonly DataCenterName[];
};

export type ColumnRequest = { readonly table: TableName; readonly columns: readonly string[] };

/** `why`: one sentence without a full stop. */
export type ColumnRefusal = { readonly why: string; readonly hint: string | null };

/** `isNew`: they are to be added afterwards. Null: nothing speaks against it. */
export function refuseLeavingOut(
  configuration: Configuration,
  request: ColumnRequest & { readonly isNew: boolean },
  places: readonly ColumnPlace[],
): ColumnRefusal | null {
  const { table, columns } = request;
  const first = refuseTable(configuration, table, places);
  if (first !== null) return first;
  for (const column of columns) {
    const found = refuseColumn(configuration, { ...request, column }, places);
    if (found !== null) return found;
  }
  return null;
}

/** As `refuseLeavingOut`. */
export function refuseSending(
  configuration: Configuration,
  { table, columns }: ColumnRequest,
  places: readonly ColumnPlace[],
): ColumnRefusal | null {
  const first = refuseTable(configuration, table, places);
  if (first !== null) return first;
  for (const column of columns) {
    const without = places.filter((place) => !hasColumn(place, table, column));
    if (without.length === places.length) return notThere(table, column, null);
    if (without.length === 0) continue;
    return {
      why: `${list(without)} ${without.length === 1 ? 'has' : 'have'} no column ${column} of ${table}: the first row with it would stop the stream there`,
      hint: `On its way in: ${addColumn(table, column, places)} there, then this again. On its way out: drop it where it still is, then \`lanekeeper apply\` in each.`,
    };
  }
  return null;
}

function refuseTable(
  configuration: Configuration,
  table: TableName,
  places: readonly ColumnPlace[],
): ColumnRefusal | null {
  for (const { dataCenter, away } of places)
    if (away.length > 0)
      return {
        why: `${dataCenter} reads nothing of ${away.join(' and ')} now, which was taken over or comes back`,
        hint: 'Nothing was changed: run this again when `lanekeeper status` finds no such thing any more.',
      };
  const missing = places.filter(({ catalog }) => !catalog.tables.has(table));
  if (missing.length > 0) return { why: `There is no table ${table} in ${list(missing)}`, hint: null };
  if (isMerged(configuration.tables[table]))
    return {
      why: `${table} has a policy: its changes travel in a log of their own, which names all columns, and no stream stops at one that is missing`,
      hint: 'Such a change waits by itself, until the column is there or the row is written again without it: see the guide on schema changes.',
    };
  if (places.some(({ carried }) => carried !== undefined)) return null;
  return { why: `No stream carries the rows of ${table} as they are`, hint: 'So nothing has to be left out of one.' };
}

function refuseColumn(
  configuration: Configuration,
  { table, column, isNew }: { readonly table: TableName; readonly column: string; readonly isNew: boolean },
  places: readonly ColumnPlace[],
): ColumnRefusal | null {
  const having = places.filter((place) => hasColumn(place, table, column));
  // Where it left the streams before, this is done again.
  const sending = having.filter(({ catalog, carried }) => {
    const info = catalog.tables.get(table) as TableInfo;
    return carried !== undefined && !leftOutColumns(info, carried).includes(column);
  });
  if (having.length === 0)
    return isNew
      ? null
      : notThere(
          table,
          column,
          'If it is to be added, --new keeps it out of the streams until every data center has it.',
        );
  if (isNew && sending.length > 0)
    return {
      why: `${list(sending)} already ${sending.length === 1 ? 'has and sends' : 'have and send'} the column ${column} of ${table}`,
      hint: having.length < places.length ? `Where it is missing: ${addColumn(table, column, places)}` : null,
    };
  if (having.length < places.length && sending.length > 0)
    return {
      why: `${list(sending)} still ${sending.length === 1 ? 'sends' : 'send'} the column ${column} of ${table}, and not every data center has it: rows with it wait for it`,
      hint: `First, where it is missing: ${addColumn(table, column, places)} When it is to go away, run this again then.`,
    };
  for (const { dataCenter, catalog, facts } of having) {
    const info = catalog.tables.get(table) as TableInfo;
    const fact = facts.find(({ name }) => name === column);
    if (info.columns.some(({ name, generated }) => name === column && generated))
      return { why: `${column} of ${table} is generated: it is not sent at all`, hint: null };
    if (fact?.key === true || info.primaryKey.includes(column))
      return { why: `Rows of ${table} are found by ${column} in other data centers`, hint: null };
    const use = useOf(configuration, catalog, table, column);
    if (use !== null) return { why: `${column} of ${table} is needed: ${use}`, hint: null };
    const alter = `ALTER TABLE ${quoteTable(info)} ALTER COLUMN ${quoteName(column)}`;
    if (fact?.required === true)
      return {
        why: `${column} of ${table} is NOT NULL in ${dataCenter}, without a default: a row that arrives without it would stop the stream`,
        hint: `First, in each data center: ${alter} DROP NOT NULL;`,
      };
    if (fact?.volatile === true)
      return {
        why: `Each data center would fill in ${column} of ${table} in its own way`,
        hint: `First, in each data center: ${alter} DROP NOT NULL, ALTER COLUMN ${quoteName(column)} DROP ${isIdentity(info, column) ? 'IDENTITY' : 'DEFAULT'};`,
      };
  }
  const defaults = new Set(having.map(({ facts }) => facts.find(({ name }) => name === column)?.default ?? null));
  if (defaults.size > 1)
    return {
      why: `${column} of ${table} has not the same default in ${list(having)}: a row would differ where it arrives without it`,
      hint: null,
    };
  return null;
}

/** What of the configuration rests on the column, in words; null: nothing. */
function useOf(configuration: Configuration, catalog: Catalog, table: TableName, column: string): string | null {
  const claim = Object.values(configuration.claims).find((one) => one.table === table && one.column === column);
  if (claim !== undefined) return `the claim ${claim.name} names it`;
  for (const declared of Object.values(configuration.tables)) {
    const info = catalog.tables.get(declared.name);
    if (declared.account === null || info === undefined) continue;
    const path = resolveAccountPath(info, declared, catalog);
    let at = info;
    for (const { columns, parent, referencedColumns } of path.steps) {
      if (
        (at.name === table && columns.includes(column)) ||
        (parent.name === table && referencedColumns.includes(column))
      )
        return `rows of ${declared.name} find their account by it`;
      at = parent;
    }
    if (at.name === table && path.column === column) return `rows of ${declared.name} find their account by it`;
  }
  return null;
}

function hasColumn({ catalog }: ColumnPlace, table: TableName, column: string): boolean {
  return catalog.tables.get(table)?.columns.some(({ name }) => name === column) === true;
}

function isIdentity(info: TableInfo, column: string): boolean {
  return info.columns.some(({ name, identity }) => name === column && identity !== null);
}

function notThere(table: TableName, column: string, hint: string | null): ColumnRefusal {
  return { why: `${table} has no column ${column} in any data center`, hint };
}

function addColumn(table: TableName, column: string, places: readonly ColumnPlace[]): string {
  const infos = places.flatMap(({ catalog }) => catalog.tables.get(table) ?? []);
  const [info] = infos as [TableInfo];
  const type = infos.flatMap(({ columns }) => columns.filter(({ name }) => name === column))[0]?.type ?? '…';
  return `ALTER TABLE ${quoteTable(info)} ADD COLUMN ${quoteName(column)} ${type};`;
}

function list(places: readonly ColumnPlace[]): string {
  return places.map(({ dataCenter }) => dataCenter).join(', ');
}
