/** What ties a row of a homed table to its account. Pure. */
import type { Table } from 'lanekeeper/config';
import type { TableInfo } from '../catalog.ts';

/** The account's own column, or those of the first foreign key on the way to it. */
export function tie(table: TableInfo, declared: Table): readonly string[] {
  const [first] = declared.account ?? [];
  if (first === undefined) return [];
  if (declared.account?.length === 1) return [first];
  const key = table.foreignKeys.find((k) => k.name === first || (k.columns.length === 1 && k.columns[0] === first));
  return key?.columns ?? [];
}
