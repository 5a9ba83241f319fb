/** What PostgreSQL's catalogs say about publications, slots and subscriptions, for any role that may connect. */
import type { Queryable } from '../queryable.ts';
import { publicationNames, type StreamName } from './names.ts';

export type SubscriptionRow = {
  readonly name: string;
  readonly enabled: boolean;
  readonly origin: string;
  readonly synchronousCommit: string;
  readonly disableOnError: boolean;
  readonly binary: boolean;
  readonly streaming: 'off' | 'on' | 'parallel';
  readonly slot: string | null;
  /** Sorted. */
  readonly publications: readonly string[];
  /** `ALTER SUBSCRIPTION … SKIP` is waiting for this position; null when not. */
  readonly skipLsn: string | null;
  /** Sorted. */
  readonly tables: readonly string[];
  /** Of `tables`: those that are not ready, with `pg_subscription_rel.srsubstate`. */
  readonly notReady: readonly { readonly table: string; readonly state: string }[];
};

export async function readSubscription(client: Queryable, name: string): Promise<SubscriptionRow | null> {
  const rows = await readSubscriptions(client, [name]);
  return rows[0] ?? null;
}

export async function readSubscriptions(client: Queryable, names: readonly string[]): Promise<SubscriptionRow[]> {
  const { rows } = await client.query<SubscriptionRow & { relations: { table: string; state: string }[] }>(
    `SELECT s.subname AS name, s.subenabled AS enabled, s.suborigin AS origin, s.subsynccommit AS "synchronousCommit",
        s.subdisableonerr AS "disableOnError", s.subbinary AS binary, s.subslotname AS slot,
        ARRAY(SELECT x FROM unnest(s.subpublications) x ORDER BY x COLLATE "C") AS publications,
        CASE s.substream WHEN 'f' THEN 'off' WHEN 't' THEN 'on' ELSE 'parallel' END AS streaming,
        CASE WHEN s.subskiplsn <> '0/0' THEN s.subskiplsn::text END AS "skipLsn",
        (SELECT coalesce(json_agg(json_build_object('table', n.nspname || '.' || c.relname, 'state', r.srsubstate)
            ORDER BY n.nspname || '.' || c.relname COLLATE "C"), '[]')
          FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.srsubid = s.oid) AS relations
      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = ANY ($1) ORDER BY 1`,
    [names],
  );
  return rows.map(({ relations, ...row }) => ({
    ...row,
    tables: relations.map((relation) => relation.table),
    notReady: relations.filter((relation) => relation.state !== 'r'),
  }));
}

/** The tables of a stream's publications, sorted; null when one of them is not there. */
export async function readPublishedTables(client: Queryable, stream: StreamName): Promise<readonly string[] | null> {
  const names = publicationNames(stream);
  const { rows } = await client.query<{ tables: string[]; found: number }>(
    `SELECT (SELECT coalesce(json_agg(t.schemaname || '.' || t.tablename ORDER BY t.schemaname || '.' || t.tablename COLLATE "C"), '[]')
        FROM pg_catalog.pg_publication_tables t WHERE t.pubname = ANY ($1)) AS tables,
        (SELECT count(*)::int FROM pg_catalog.pg_publication p WHERE p.pubname = ANY ($1)) AS found`,
    [names],
  );
  return rows[0]?.found === names.length ? rows[0].tables : null;
}

export type SlotRow = {
  readonly ours: boolean;
  readonly plugin: string | null;
  readonly walStatus: string | null;
  /** Standbys may keep copies of it; false before PostgreSQL 17. */
  readonly failover: boolean;
};

/** A slot of the whole server by its name; `ours`: of this database. */
export async function readSlot(client: Queryable, name: string): Promise<SlotRow | null> {
  const { rows } = await client.query<SlotRow>(
    `SELECT database = current_database() AS ours, plugin, wal_status AS "walStatus",
        coalesce((to_jsonb(s)->>'failover')::boolean, false) AS failover
      FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1`,
    [name],
  );
  return rows[0] ?? null;
}
