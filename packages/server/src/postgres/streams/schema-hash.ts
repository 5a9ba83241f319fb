/**
 * What two data centers must have alike for a change of one to be applied in the other, and for the digest of an account to be the
 * same: columns by name and type, and keys. Not the order of columns, not how a table is partitioned, not what only speeds up reading.
 *
 * Constraints are another matter. A row that the one allows and the other does not stops the stream, wherever its account is at home:
 * `status` is red, but keeping accounts where they are would help nobody.
 */
import { createHash } from 'node:crypto';
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo } from '../catalog.ts';
import { isMerged } from '../merge/index.ts';

/** Of every declared table that travels, by name. */
export function tableHashes(catalog: Catalog, configuration: Configuration): Readonly<Record<TableName, string>> {
  return hashesOf(catalog, configuration, shapeOf);
}

/** As `tableHashes`, of what a table allows: NOT NULL, unique indexes. */
export function constraintHashes(catalog: Catalog, configuration: Configuration): Readonly<Record<TableName, string>> {
  return hashesOf(catalog, configuration, constraintsOf);
}

function hashesOf(
  catalog: Catalog,
  configuration: Configuration,
  read: (table: TableInfo) => unknown,
): Readonly<Record<TableName, string>> {
  const hashes: Record<TableName, string> = {};
  for (const name of Object.keys(configuration.tables).sort()) {
    const declared = configuration.tables[name];
    const table = catalog.tables.get(name);
    const travels = declared?.class === 'system-of-record' || (declared?.feeder ?? null) !== null || isMerged(declared);
    if (table && travels) hashes[name] = digest(read(table));
  }
  return hashes;
}

/** Of all of them together. */
export function schemaHash(catalog: Catalog, configuration: Configuration): string {
  return digest([tableHashes(catalog, configuration), constraintHashes(catalog, configuration)]);
}

function shapeOf(table: TableInfo): unknown {
  const columns = table.columns.map(({ name, type, generated }) => [name, type, generated] as const).sort(byFirst);
  return { columns, primaryKey: table.primaryKey, replicaIdentity: table.replicaIdentity };
}

function constraintsOf(table: TableInfo): unknown {
  const required = table.columns.flatMap(({ name, notNull }) => (notNull ? [name] : [])).sort();
  const unique = table.uniqueIndexes
    .map(({ columns, primary, partialOrExpression }) => [columns.join(), primary, partialOrExpression] as const)
    .sort(byFirst);
  return { required, unique };
}

function byFirst(a: readonly [string, ...unknown[]], b: readonly [string, ...unknown[]]): number {
  return a[0] < b[0] ? -1 : 1;
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
