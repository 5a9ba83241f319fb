/**
 * Copies everything by subscriptions that go on as streams. Tables that the seeded data center feeds itself are not
 * published by the other one: they are copied through a publication of their own, which is taken away again.
 */
import { databaseUrl } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import { quoteName, quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { splitName } from '../sql-text.ts';
import { dropSlot, dropSubscription } from '../streams/drop.ts';
import { createSlot, subscribe } from '../streams/ensure.ts';
import { publicationNames, publishedTables, slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { readSlot, readSubscription } from '../streams/rows.ts';
import { type JoinSides, type Sessions, travellingTables } from './sides.ts';

/** The subscription, on the seeded side, and the publication, on the other, of what the seeded one feeds. */
export function seedName(source: DataCenterName): string {
  return `lanekeeper_${source}_seed`;
}
export function seedSlot(target: DataCenterName): string {
  return `lanekeeper_${target}_seed`;
}
const seedPublication = 'lanekeeper_seed';

export type CopyProgress = {
  readonly tables: number;
  readonly ready: number;
  /** Being copied now, and how many rows of them have come. */
  readonly copying: readonly { readonly table: string; readonly rows: number }[];
  /** Errors that PostgreSQL has met since the copy began; it tries again by itself, and its log says why. */
  readonly errors: number;
};

/**
 * The initial copy reads tables as the replication role, which otherwise only reads the log. Returns what was granted, to
 * be taken back, or what could not be.
 */
export async function grantReading(
  sessions: Sessions,
  { target, source }: JoinSides,
): Promise<{ readonly kind: 'granted' } | { readonly kind: 'lacking'; readonly what: string }> {
  const owner = await sessions.get('source', 'owner');
  const role = source.configuration.roles.replication;
  const { rows } = await owner.query<{ schema: string; table: string; schemaToo: boolean }>(
    `SELECT n.nspname AS schema, format('%I.%I', n.nspname, c.relname) AS table, NOT has_schema_privilege($1, n.oid, 'USAGE') AS "schemaToo"
      FROM unnest($2::text[]) t JOIN pg_catalog.pg_class c ON c.oid = to_regclass(lanekeeper.quoted(t))
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE NOT has_table_privilege($1, c.oid, 'SELECT') OR NOT has_schema_privilege($1, n.oid, 'USAGE')`,
    [role, travellingTables(target.configuration, source.configuration.here)],
  );
  const schemas = [...new Set(rows.flatMap(({ schema, schemaToo }) => (schemaToo ? [schema] : [])))];
  const granted = rows.map(({ table }) => table);
  if (granted.length === 0) return { kind: 'granted' };
  const agent = await sessions.get('source', 'agent');
  // Written down first, so that it is also taken back after a crash.
  await agent.query(
    `UPDATE lanekeeper.joining SET detail = jsonb_build_object('tables', $2::jsonb || coalesce(detail -> 'tables', '[]'),
        'schemas', $3::jsonb || coalesce(detail -> 'schemas', '[]')) WHERE dc = $1`,
    [target.configuration.here, JSON.stringify(granted), JSON.stringify(schemas)],
  );
  for (const schema of schemas) await owner.query(`GRANT USAGE ON SCHEMA ${quoteName(schema)} TO ${quoteName(role)}`);
  await owner.query(`GRANT SELECT ON ${granted.join(', ')} TO ${quoteName(role)}`);
  const { rows: lacking } = await owner.query<{ what: string }>(
    `SELECT s AS what FROM unnest($2::text[]) s WHERE NOT has_schema_privilege($1, s, 'USAGE')`,
    [role, schemas],
  );
  const [first] = lacking;
  if (!first) return { kind: 'granted' };
  return { kind: 'lacking', what: `GRANT USAGE ON SCHEMA ${quoteName(first.what)} TO ${quoteName(role)};` };
}

export async function revokeReading(sessions: Sessions, { target, source }: JoinSides): Promise<void> {
  const owner = await sessions.get('source', 'owner');
  const role = quoteName(source.configuration.roles.replication);
  const { rows } = await owner.query<{ detail: { tables?: string[]; schemas?: string[] } }>(
    'SELECT detail FROM lanekeeper.joining WHERE dc = $1',
    [target.configuration.here],
  );
  const { tables = [], schemas = [] } = rows[0]?.detail ?? {};
  if (tables.length > 0) await owner.query(`REVOKE SELECT ON ${[...new Set(tables)].join(', ')} FROM ${role}`);
  for (const schema of new Set(schemas)) await owner.query(`REVOKE USAGE ON SCHEMA ${quoteName(schema)} FROM ${role}`);
}

/** Subscribes, where that was not done yet. */
export async function startCopy(sessions: Sessions, sides: JoinSides): Promise<void> {
  const { target, source } = sides;
  const [here, there] = [target.configuration.here, source.configuration.here];
  const client = await sessions.get('target', 'agent');
  const peer = await sessions.get('source', 'replication');
  const url = databaseUrl(target.configuration, there, 'replication', target.env);
  // What the agent froze when it learned of the takeover.
  await client.query('DELETE FROM lanekeeper.frozen WHERE publisher = $1', [there]);
  const wanted = [
    ...streamNames.map((stream) => ({
      stream,
      name: subscriptionName(there, stream),
      slot: slotName(here, stream),
      publications: publicationNames(stream),
    })),
    ...((await seedTables(sessions, sides))
      ? [{ stream: 'rest', name: seedName(there), slot: seedSlot(here), publications: [seedPublication] } as const]
      : []),
  ];
  for (const one of wanted) {
    if ((await readSubscription(client, one.name)) !== null) continue;
    if ((await readSlot(peer, one.slot)) === null) await createSlot(peer, one.slot);
    await subscribe(client, { ...one, url, copyData: true });
  }
}

/** Publishes, at the source, what the target feeds. False: there is nothing. */
async function seedTables(sessions: Sessions, { target, source }: JoinSides): Promise<boolean> {
  const owner = await sessions.get('source', 'owner');
  const { here } = target.configuration;
  const tables = publishedTables(source.configuration, await readCatalog(owner), 'rest', here);
  const { rows } = await owner.query('SELECT FROM pg_catalog.pg_publication WHERE pubname = $1', [seedPublication]);
  if (tables.length === 0 || rows.length > 0) return tables.length > 0;
  const list = tables.map((name) => `ONLY ${quoteTable(splitName(name))}`).join(', ');
  await owner.query(
    `CREATE PUBLICATION ${quoteName(seedPublication)} FOR TABLE ${list} WITH (publish_via_partition_root = true)`,
  );
  return true;
}

/** Waits until every table has been copied. Not bounded: a copy takes as long as it takes. */
export async function awaitCopy(
  sessions: Sessions,
  { source }: JoinSides,
  onProgress: (progress: CopyProgress) => void,
  everyMs = 500,
): Promise<void> {
  const client = await sessions.get('target', 'agent');
  const there = source.configuration.here;
  const names = [...streamNames.map((stream) => subscriptionName(there, stream)), seedName(there)];
  const before = await countErrors(client, names);
  for (;;) {
    const progress = await readProgress(client, names, before);
    onProgress(progress);
    if (progress.ready === progress.tables) return;
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

async function readProgress(client: Client, names: readonly string[], errorsBefore: number): Promise<CopyProgress> {
  const { rows } = await client.query<{ tables: number; ready: number }>(
    `SELECT count(*)::int AS tables, (count(*) FILTER (WHERE r.srsubstate = 'r'))::int AS ready
      FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
      JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = ANY ($1)`,
    [names],
  );
  const { rows: copying } = await client.query<{ table: string; rows: number }>(
    `SELECT n.nspname || '.' || c.relname AS table, p.tuples_processed::float8 AS rows
      FROM pg_catalog.pg_stat_progress_copy p JOIN pg_catalog.pg_class c ON c.oid = p.relid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.datname = current_database() AND p.command = 'COPY FROM'`,
  );
  const { tables = 0, ready = 0 } = rows[0] ?? {};
  return { tables, ready, copying, errors: (await countErrors(client, names)) - errorsBefore };
}

async function countErrors(client: Client, names: readonly string[]): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    `SELECT coalesce(sum(apply_error_count + sync_error_count), 0)::float8 AS n
      FROM pg_catalog.pg_stat_subscription_stats WHERE subname = ANY ($1)`,
    [names],
  );
  return rows[0]?.n ?? 0;
}

/** Takes away what was only for the copy. */
export async function endSeed(sessions: Sessions, { target, source }: JoinSides): Promise<void> {
  const [here, there] = [target.configuration.here, source.configuration.here];
  const client = await sessions.get('target', 'agent');
  await dropSubscription(client, seedName(there));
  await client.query('DELETE FROM lanekeeper.stream WHERE subscription = $1', [seedName(there)]);
  await dropSlot(await sessions.get('source', 'replication'), seedSlot(here));
  await (await sessions.get('source', 'owner')).query(`DROP PUBLICATION IF EXISTS ${quoteName(seedPublication)}`);
}
