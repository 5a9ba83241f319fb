/** What the tables that travel look like in each data center, where that is not the same: half of a migration, or one that was forgotten. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../../postgres/index.ts';
import { travelling } from './verdict.ts';

export type SchemaDifference = {
  readonly table: TableName;
  /** Of what there is a difference; the column, the index by its columns, or null for the table itself. */
  readonly kind: 'table' | 'column' | 'not-null' | 'unique' | 'key';
  readonly name: string | null;
  /** In each data center: the type, the key, `yes`; null: it has none. */
  readonly in: Readonly<Record<DataCenterName, string | null>>;
  /** Rows written in the one stop at the other until it is mended. */
  readonly stops: readonly { readonly from: DataCenterName; readonly at: DataCenterName }[];
  /** No account is moved until it is mended. */
  readonly closesGate: boolean;
  /** The statement that brings those in line that have less, by data center; empty where a person has to choose. */
  readonly mend: Readonly<Record<DataCenterName, string>>;
};

export function schemaDifferences(
  configuration: Configuration,
  catalogs: Readonly<Record<DataCenterName, Catalog>>,
  quote: (name: string) => string,
): readonly SchemaDifference[] {
  return Object.keys(configuration.tables)
    .sort()
    .flatMap((name) => {
      const declared = travelling(configuration, name);
      if (declared === null) return [];
      const tables = Object.entries(catalogs).map(([dc, catalog]) => [dc, catalog.tables.get(name) ?? null] as const);
      return ofTable(name, tables, declared.class === 'system-of-record', quote);
    });
}

type Present = readonly (readonly [DataCenterName, TableInfo | null])[];

function ofTable(table: TableName, all: Present, homed: boolean, quote: (name: string) => string): SchemaDifference[] {
  const present = all.flatMap(([dc, info]) => (info === null ? [] : [[dc, info] as const]));
  if (present.length === 0) return [];
  const found: SchemaDifference[] = [];
  if (present.length < all.length) {
    const has = Object.fromEntries(all.map(([dc, info]) => [dc, info === null ? null : 'yes']));
    found.push({ table, kind: 'table', name: null, in: has, stops: stopsOf(has), closesGate: homed, mend: {} });
  }
  const [[, model]] = present as [readonly [DataCenterName, TableInfo]];
  const sqlName = `${quote(model.schema)}.${quote(model.relation)}`;
  for (const name of namesOf(present)) {
    const column = (info: TableInfo) => info.columns.find((one) => one.name === name);
    const types = valuesOf(present, (info) => typeOf(column(info)));
    if (differ(types)) {
      const lacking = Object.entries(types).flatMap(([dc, type]) => (type === null ? [dc] : []));
      const [type] = new Set(Object.values(types).filter((one) => one !== null));
      const whole = new Set(Object.values(types).filter((one) => one !== null)).size === 1;
      const add = `ALTER TABLE ${sqlName} ADD COLUMN ${quote(name)} ${type};`;
      const mend = whole ? Object.fromEntries(lacking.map((dc) => [dc, add])) : {};
      found.push({ table, kind: 'column', name, in: types, stops: stopsOf(types), closesGate: homed, mend });
      continue;
    }
    const required = valuesOf(present, (info) => (column(info)?.notNull ? 'yes' : null));
    if (differ(required)) {
      const strict = Object.entries(required).flatMap(([dc, yes]) => (yes === null ? [] : [dc]));
      const lax = Object.entries(required).flatMap(([dc, yes]) => (yes === null ? [dc] : []));
      const stops = lax.flatMap((from) => strict.map((at) => ({ from, at })));
      found.push({ table, kind: 'not-null', name, in: required, stops, closesGate: false, mend: {} });
    }
  }
  for (const [kind, read] of [
    ['key', (info: TableInfo) => info.primaryKey.join(', ') || null],
    ['unique', uniqueOf],
  ] as const) {
    const keys = valuesOf(present, read);
    if (differ(keys))
      found.push({ table, kind, name: null, in: keys, stops: [], closesGate: homed && kind === 'key', mend: {} });
  }
  return found;
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
