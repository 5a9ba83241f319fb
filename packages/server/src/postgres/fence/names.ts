/** Names of what is generated: stable from run to run, at most 63 bytes, one per table whatever the table is called. */
import { createHash } from 'node:crypto';
import type { TableName } from 'lanekeeper/config';
import { escapeIdentifier, escapeLiteral } from 'pg';
import type { TableInfo } from '../catalog.ts';

/** `"schema"."relation"`, quoted. */
export function quoteTable(table: Pick<TableInfo, 'schema' | 'relation'>): string {
  return `${escapeIdentifier(table.schema)}.${escapeIdentifier(table.relation)}`;
}

export const quoteName = escapeIdentifier;
export const quoteText = escapeLiteral;

/** `lanekeeper."insert_orders_1f2e3d4c"`: readable first, unique by the hash. */
export function functionName(job: string, table: TableName): string {
  const relation = table.slice(table.indexOf('.') + 1).replace(/[^a-z0-9_]/gi, '_');
  const hash = createHash('sha256').update(table).digest('hex').slice(0, 8);
  return `lanekeeper.${escapeIdentifier(`${job}_${relation.slice(0, 30)}_${hash}`)}`;
}
