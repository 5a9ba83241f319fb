/**
 * Tables that never leave their data center: session state, and a cache that nobody merges. Lanekeeper publishes neither, and
 * cannot be told to. Somebody else can: by hand, or with FOR ALL TABLES.
 */
import type { Configuration, Table, TableName } from 'lanekeeper/config';
import type { Found } from '../doctor/finding.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { splitName } from '../sql-text.ts';
import { publicationName, streamNames } from '../streams/names.ts';

/** Whether its rows are this data center's own business. */
export function neverLeaves(table: Table): boolean {
  if (table.class === 'session-state') return true;
  return table.class === 'cache' && table.policy === null && table.writes === 'replicated';
}

type Published = { readonly publication: string; readonly table: TableName; readonly wholesale: boolean };

/** What of it is published all the same. */
export async function lookForLeaks(client: Queryable, configuration: Configuration): Promise<readonly Found[]> {
  const own = Object.values(configuration.tables).filter(neverLeaves);
  if (own.length === 0) return [];
  const { rows } = await client.query<Published>(
    `SELECT DISTINCT p.pubname AS publication, p.schemaname || '.' || p.tablename AS table,
        b.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
          WHERE s.pnpubid = b.oid AND n.nspname = p.schemaname) AS wholesale
      FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_publication b ON b.pubname = p.pubname
      WHERE p.schemaname || '.' || p.tablename = ANY ($1) ORDER BY 1, 2`,
    [own.map(({ name }) => name)],
  );
  const ours = new Set(streamNames.map(publicationName));
  return rows.map(({ publication, table, wholesale }) => {
    const drop = `ALTER PUBLICATION ${quoteName(publication)} DROP TABLE ${quoteTable(splitName(table))};`;
    const [severity, why, mend] = ours.has(publication)
      ? (['error', 'other data centers receive it; `lanekeeper apply` takes it out again', drop] as const)
      : ([
          'warning',
          'whoever subscribes to it receives sessions or what was only kept here',
          wholesale ? null : drop,
        ] as const);
    const what = `${table} is declared ${configuration.tables[table]?.class}, and the publication ${publication} sends it away`;
    return { severity, code: 'table-leaves', subject: table, what, why, mend, runAs: 'owner' };
  });
}
