/** Which columns of a table the streams carry. PostgreSQL 18 manual, section 29.4 "Column Lists". */
import type { TableName } from 'lanekeeper/config';
import type { TableInfo } from '../catalog.ts';
import type { Queryable } from '../queryable.ts';
import { publicationName, relayPublication, streamNames } from './names.ts';

export type Carried = {
  /** Ours that it is in. */
  readonly publications: readonly string[];
  /** Null: all of them, also one that is added later. */
  readonly columns: readonly string[] | null;
};

export type CarriedTables = ReadonlyMap<TableName, Carried>;

/** For any role that may connect. Tables that no stream carries as they are (those with a policy, for one) are not among them. */
export async function readCarried(client: Queryable): Promise<CarriedTables> {
  const { rows } = await client.query<Carried & { table: TableName }>(
    `SELECT n.nspname || '.' || c.relname AS "table", json_agg(p.pubname ORDER BY p.pubname) AS publications,
        min((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[]))::text)::json AS columns
      FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
      JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE p.pubname = ANY ($1) GROUP BY n.nspname, c.relname`,
    [[...streamNames.map(publicationName), relayPublication]],
  );
  return new Map(rows.map(({ table, ...carried }) => [table, carried]));
}

/** The columns of a table that are not sent, in their order. Generated ones are computed where a row arrives. */
export function leftOutColumns(table: Pick<TableInfo, 'columns'>, carried: Carried | undefined): readonly string[] {
  const sent = carried?.columns ?? null;
  if (sent === null) return [];
  return table.columns.flatMap(({ name, generated }) => (generated || sent.includes(name) ? [] : [name]));
}
