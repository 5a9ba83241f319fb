/**
 * What the tables that travel look like in each data center, where that is not the same or not all of it is sent: half of a migration, or
 * one that was forgotten; and what is next.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { type CarriedTables, type Catalog, leftOutColumns, type TableInfo } from '../../postgres/index.ts';
import { travelling } from './verdict.ts';

export type SchemaDifference = {
  readonly table: TableName;
  /** Of what there is a difference; the column, the index by its columns, or null for the table itself. */
  readonly kind: 'table' | 'column' | 'not-sent' | 'not-null' | 'unique' | 'key';
  readonly name: string | null;
  /** In each data center: the type, the key, `yes`; null: it has none. Of a column that some do not send: the type, and that. */
  readonly in: Readonly<Record<DataCenterName, string | null>>;
  /** Rows written in the one stop at the other until it is mended. */
  readonly stops: readonly { readonly from: DataCenterName; readonly at: DataCenterName }[];
  /** No account is moved until it is mended. */
  readonly closesGate: boolean;
  /** What is next, of a column: one line for each way that it may be going. Empty where a person has to choose. */
  readonly next: readonly string[];
};

/** A database as far as it counts here. */
export type SchemaSide = { readonly catalog: Catalog; readonly carried: CarriedTables };

export function schemaDifferences(
  configuration: Configuration,
  sides: Readonly<Record<DataCenterName, SchemaSide>>,
  quote: (name: string) => string,
): readonly SchemaDifference[] {
  return Object.keys(configuration.tables)
    .sort()
    .flatMap((name) => {
      const declared = travelling(configuration, name);
      if (declared === null) return [];
      const tables = Object.entries(sides).map(([dc, { catalog }]) => [dc, catalog.tables.get(name) ?? null] as const);
      const sends: Sends = (dc, info, column) => {
        const carried = sides[dc]?.carried.get(name);
        if (carried === undefined) return null;
        return !leftOutColumns(info, carried).includes(column);
      };
      return ofTable(name, tables, sends, declared.class === 'system-of-record', quote);
    });
}

type Present = readonly (readonly [DataCenterName, TableInfo | null])[];

/** Whether a data center sends a column that it has, or has left it out of its streams; null: no stream carries the table from there. */
type Sends = (dc: DataCenterName, info: TableInfo, column: string) => boolean | null;

function ofTable(
  table: TableName,
  all: Present,
  sends: Sends,
  homed: boolean,
  quote: (name: string) => string,
): SchemaDifference[] {
  const present = all.flatMap(([dc, info]) => (info === null ? [] : [[dc, info] as const]));
  if (present.length === 0) return [];
  const found: SchemaDifference[] = [];
  if (present.length < all.length) {
    const has = Object.fromEntries(all.map(([dc, info]) => [dc, info === null ? null : 'yes']));
    found.push({ table, kind: 'table', name: null, in: has, stops: stopsOf(has), closesGate: homed, next: [] });
  }
  const [[, model]] = present as [readonly [DataCenterName, TableInfo]];
  const sqlName = `${quote(model.schema)}.${quote(model.relation)}`;
  const drop = (name: string) => `ALTER TABLE ${sqlName} DROP COLUMN ${quote(name)};`;
  for (const name of namesOf(present)) {
    const column = (info: TableInfo) => info.columns.find((one) => one.name === name);
    const types = valuesOf(present, (info) => typeOf(column(info)));
    const sent = Object.fromEntries(present.map(([dc, info]) => [dc, sends(dc, info, name)]));
    const keeping = Object.keys(sent).filter((dc) => sent[dc] === false && types[dc] !== null);
    const said = Object.fromEntries(
      Object.entries(types).map(([dc, type]) => [dc, keeping.includes(dc) ? `${type}, left out of the streams` : type]),
    );
    if (differ(types)) {
      const lacking = Object.entries(types).flatMap(([dc, type]) => (type === null ? [dc] : []));
      const kinds = [...new Set(Object.values(types).filter((one) => one !== null))];
      const add = `ALTER TABLE ${sqlName} ADD COLUMN ${quote(name)} ${kinds[0]};`;
      const stops = stopsOf(types).filter(({ from }) => sent[from] === true);
      const has = Object.keys(types).filter((dc) => !lacking.includes(dc));
      const next =
        kinds.length > 1 || lacking.length === 0
          ? []
          : onTheWay(table, name, { has, lacking, add, drop: drop(name), stops });
      found.push({ table, kind: 'column', name, in: said, stops, closesGate: homed, next });
      continue;
    }
    if (keeping.length > 0) {
      const next = [
        `on its way in: \`lanekeeper migrate send ${table} ${name}\``,
        `on its way out: \`lanekeeper migrate leave-out ${table} ${name}\`, which says when it may be dropped; then, in each: ${drop(name)}`,
      ];
      found.push({ table, kind: 'not-sent', name, in: said, stops: [], closesGate: false, next });
    }
    const required = valuesOf(present, (info) => (column(info)?.notNull ? 'yes' : null));
    if (differ(required)) {
      const strict = Object.entries(required).flatMap(([dc, yes]) => (yes === null ? [] : [dc]));
      const lax = Object.entries(required).flatMap(([dc, yes]) => (yes === null ? [dc] : []));
      const stops = lax.flatMap((from) => strict.map((at) => ({ from, at })));
      found.push({ table, kind: 'not-null', name, in: required, stops, closesGate: false, next: [] });
    }
  }
  for (const [kind, read] of [
    ['key', (info: TableInfo) => info.primaryKey.join(', ') || null],
    ['unique', uniqueOf],
  ] as const) {
    const keys = valuesOf(present, read);
    if (differ(keys))
      found.push({
        table,
        kind,
        name: null,
        in: keys,
        stops: [],
        closesGate: homed && kind === 'key',
        next: [],
      });
  }
  return found;
}

/** Of a column that some have and some have not. */
function onTheWay(
  table: TableName,
  column: string,
  it: {
    readonly has: readonly DataCenterName[];
    readonly lacking: readonly DataCenterName[];
    readonly add: string;
    readonly drop: string;
    readonly stops: SchemaDifference['stops'];
  },
): readonly string[] {
  const adding = `in ${it.lacking.join(', ')}: ${it.add}`;
  // Whatever it was meant to be: rows with it may be on their way.
  if (it.stops.length > 0)
    return [adding, `if it is to go away: that as well, and then \`lanekeeper migrate leave-out ${table} ${column}\``];
  return [
    `on its way in: ${adding} Then \`lanekeeper migrate send ${table} ${column}\``,
    `on its way out: in ${it.has.join(', ')}: ${it.drop} Then \`lanekeeper apply\` in each`,
  ];
}

function namesOf(present: readonly (readonly [DataCenterName, TableInfo])[]): readonly string[] {
  return [...new Set(present.flatMap(([, info]) => info.columns.map(({ name }) => name)))].sort();
}

function typeOf(column: TableInfo['columns'][number] | undefined): string | null {
  if (column === undefined) return null;
  return column.generated ? `${column.type}, generated` : column.type;
}

function uniqueOf(info: TableInfo): string | null {
  const indexes = info.uniqueIndexes.filter(({ primary }) => !primary);
  const texts = indexes.map(
    ({ columns, partialOrExpression }) => `(${columns.join(', ')}${partialOrExpression ? ', …' : ''})`,
  );
  return texts.length === 0 ? null : texts.sort().join(' ');
}

function valuesOf(
  present: readonly (readonly [DataCenterName, TableInfo])[],
  read: (info: TableInfo) => string | null,
): Readonly<Record<DataCenterName, string | null>> {
  return Object.fromEntries(present.map(([dc, info]) => [dc, read(info)]));
}

function differ(values: Readonly<Record<DataCenterName, string | null>>): boolean {
  return new Set(Object.values(values)).size > 1;
}

/** Who has it sends it; who has not cannot take it. */
function stopsOf(values: Readonly<Record<DataCenterName, string | null>>): SchemaDifference['stops'] {
  const entries = Object.entries(values);
  return entries.flatMap(([from, has]) =>
    has === null || has.endsWith(', generated')
      ? []
      : entries.flatMap(([at, there]) => (there === null ? [{ from, at }] : [])),
  );
}
