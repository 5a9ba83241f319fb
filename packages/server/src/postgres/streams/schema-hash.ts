/**
 * What two data centers must have alike for a change of one to be applied in the other: columns by name and type, keys,
 * unique indexes. Not the order of columns, not how a table is partitioned, not what only speeds up reading.
 */
import { createHash } from 'node:crypto';
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo } from '../catalog.ts';
import { isMerged } from '../merge/index.ts';

/** Of every declared table that travels, by name. */
export function tableHashes(catalog: Catalog, configuration: Configuration): Readonly<Record<TableName, string>> {
  const hashes: Record<TableName, string> = {};
  for (const name of Object.keys(configuration.tables).sort()) {
    const declared = configuration.tables[name];
    const table = catalog.tables.get(name);
    const travels = declared?.class === 'system-of-record' || (declared?.feeder ?? null) !== null || isMerged(declared);
    if (table && travels) hashes[name] = hashTable(table);
  }
  return hashes;
}

/** Of all of them together. */
export function schemaHash(catalog: Catalog, configuration: Configuration): string {
  return digest(tableHashes(catalog, configuration));
}

function hashTable(table: TableInfo): string {
  const columns = table.columns
    .map(({ name, type, notNull, generated }) => [name, type, notNull, generated] as const)
    .sort(byFirst);
  const unique = table.uniqueIndexes
    .map(({ columns: names, primary, partialOrExpression }) => [names.join(), primary, partialOrExpression] as const)
    .sort(byFirst);
  return digest({ columns, unique, primaryKey: table.primaryKey, replicaIdentity: table.replicaIdentity });
}

function byFirst(a: readonly [string, ...unknown[]], b: readonly [string, ...unknown[]]): number {
  return a[0] < b[0] ? -1 : 1;
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
