/** Which tables are merged, what their stamps look like, and which cannot be merged. */
import type { Configuration, Table, TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo } from '../catalog.ts';
import { keyForm } from './key.ts';

/** Written in every data center and carried by the merge log. */
export function isMerged(table: Table | undefined): boolean {
  return table !== undefined && table.policy !== null && table.feeder === null && table.writes === 'replicated';
}

/** Sorted. */
export function mergedNames(configuration: Configuration): readonly TableName[] {
  return Object.keys(configuration.tables)
    .filter((name) => isMerged(configuration.tables[name]))
    .sort();
}

/** The merged tables that are there and can be merged. */
export function mergedInfos(configuration: Configuration, catalog: Catalog): readonly TableInfo[] {
  return mergedNames(configuration).flatMap((name) => {
    const table = catalog.tables.get(name);
    return table && problemsOf(table).length === 0 ? [table] : [];
  });
}

/** `policy|{dcs}|{applications}`, the heaviest first: what the places of a table's stamps mean. */
export function layoutShape(configuration: Configuration, name: TableName): string {
  const table = configuration.tables[name];
  const weight = (dc: string) => (table?.policy === 'locality-weight' ? (table.weights[dc] ?? 0) : 0);
  const dcs = Object.values(configuration.dataCenters)
    .toSorted((a, b) => weight(b.name) - weight(a.name) || a.number - b.number)
    .map((dc) => dc.number);
  const applications =
    table?.policy === 'application-weight'
      ? Object.entries(configuration.merge.applications)
          .toSorted(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
          .map(([application]) => `"${application.replace(/["\\]/g, '\\$&')}"`)
      : [];
  return `${table?.policy}|{${dcs.join(',')}}|{${applications.join(',')}}`;
}

export type MergeProblem = { readonly kind: 'cannot-be-merged'; readonly table: TableName; readonly message: string };

/** What speaks against merging a declared table, in words for its owner. */
export function mergeProblems(configuration: Configuration, catalog: Catalog): readonly MergeProblem[] {
  return mergedNames(configuration).flatMap((name) => {
    const table = catalog.tables.get(name);
    const found = table ? problemsOf(table) : [];
    return found.map(
      (why): MergeProblem => ({ kind: 'cannot-be-merged', table: name, message: `tables.${name}: ${why}` }),
    );
  });
}

function problemsOf(table: TableInfo): string[] {
  if (table.primaryKey.length === 0) return ['it has no primary key, so that nobody can say which rows are the same'];
  const keys = table.primaryKey.flatMap((name) => {
    const column = table.columns.find((one) => one.name === name);
    const form = column ? keyForm(column) : null;
    return form?.kind === 'refused' ? [`its key column ${name} is ${form.why}`] : [];
  });
  const unique = table.uniqueIndexes
    .filter((index) => !index.primary)
    .map(
      (index) =>
        `the unique index ${index.name} cannot be kept in several data centers at once: claim the value in a system-of-record table, or drop the index`,
    );
  const unlogged = table.unlogged ? ['it is UNLOGGED: a crash would empty it in one data center'] : [];
  const inherited = table.partitionOf === null ? [] : [`it is a partition: declare ${table.partitionOf}`];
  return [...keys, ...unique, ...unlogged, ...inherited];
}
