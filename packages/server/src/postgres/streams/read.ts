/**
 * The state of this data center's streams, as plain JSON, so that agents can show each other theirs. What is wrong with it
 * is decided in `judge.ts`.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Catalog } from '../catalog.ts';
import { undeclaredTables } from '../fence/index.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { readAppliedMigrations } from '../migrate/index.ts';
import type { Queryable } from '../queryable.ts';
import { leftOutColumns, readCarried } from './carried.ts';
import { absentPeers, joinedPeers, readMembers } from './members.ts';
import { declaredName, type StreamName, slotName, streamNames, subscriptionName } from './names.ts';
import { readPublishedTables, readSubscriptions, type SubscriptionRow } from './rows.ts';
import { constraintHashes, tableHashes } from './schema-hash.ts';

/** How far this data center has come in reading another one. */
export type IncomingStream = {
  readonly publisher: DataCenterName;
  readonly stream: StreamName;
  /** Null: there is no subscription. */
  readonly subscription: SubscriptionRow | null;
  /** Whether an apply worker is there. */
  readonly running: boolean;
  /** The publisher's position up to which everything has been received, and been applied. */
  readonly receivedLsn: string | null;
  readonly appliedLsn: string | null;
  /** Since the publisher was last heard of. Keepalives come at least every `wal_sender_timeout` / 2. */
  readonly silentMs: number | null;
  /** For how long it has been waiting for a lock that a transaction here holds; null when it is not. */
  readonly blockedMs: number | null;
  /** Changes that could not be applied, counted by attempt. */
  readonly applyErrors: number;
  readonly syncErrors: number;
  /** By kind, PostgreSQL 18's `confl_…` counters; null before. */
  readonly conflicts: Readonly<Record<string, number>> | null;
};

/** How far another data center has come in reading this one. */
export type OutgoingStream = {
  readonly subscriber: DataCenterName;
  readonly stream: StreamName;
  readonly slot: string;
  readonly exists: boolean;
  readonly active: boolean;
  /** `reserved`, `extended`, `unreserved`, `lost`. */
  readonly walStatus: string | null;
  readonly confirmedLsn: string | null;
  /** Written here and not yet confirmed there. */
  readonly lagBytes: number | null;
  /** Kept on disk for it. */
  readonly retainedBytes: number | null;
  /** What may still be written before the server gives it up (`max_slot_wal_keep_size`); null without a limit. */
  readonly spareBytes: number | null;
  /** How old the oldest change was when it was applied there; null when there was nothing to apply lately. */
  readonly lagMs: number | null;
};

export type StreamsReport = {
  readonly dataCenter: DataCenterName;
  /** Configured, and not joined yet: no streams lead there or come from there. Absent in the reports of older versions. */
  readonly absent?: readonly DataCenterName[];
  readonly incoming: readonly IncomingStream[];
  readonly outgoing: readonly OutgoingStream[];
  /** What this data center publishes; null: no publication. */
  readonly published: Readonly<Record<StreamName, readonly TableName[] | null>>;
  /** Hash of the shape of each table that travels. */
  readonly tables: Readonly<Record<TableName, string>>;
  /** Hash of what each of them allows. Absent in the reports of older versions. */
  readonly constraints?: Readonly<Record<TableName, string>>;
  /** Those of them that move with accounts. Absent in the reports of older versions. */
  readonly homed?: readonly TableName[];
  /** The last file of `sql/` and its checksum; null before the first. */
  readonly version: string | null;
  readonly undeclared: readonly TableName[];
  /** Columns that no stream carries from here. Absent in the reports of older versions. */
  readonly leftOut?: Readonly<Record<TableName, readonly string[]>>;
  /** Homed tables and partitions without the statement triggers of the fence: attached or created after the last `apply`. */
  readonly unfenced: readonly TableName[];
  readonly positionLsn: string;
};

export async function readStreams(client: Queryable, configuration: Configuration): Promise<StreamsReport> {
  const catalog = await readCatalog(client);
  const migrations = await readAppliedMigrations(client);
  const last = migrations.at(-1);
  const position = await client.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  const members = await readMembers(client);
  const peers = joinedPeers(configuration, members);
  return {
    dataCenter: configuration.here,
    absent: absentPeers(configuration, members),
    incoming: await readIncoming(client, peers),
    outgoing: await readOutgoing(client, peers),
    published: {
      homed: await readPublishedTables(client, 'homed'),
      rest: await readPublishedTables(client, 'rest'),
    },
    tables: tableHashes(catalog, configuration),
    constraints: constraintHashes(catalog, configuration),
    homed: Object.values(configuration.tables).flatMap((one) => (one.class === 'system-of-record' ? [one.name] : [])),
    version: last ? `${last.file} ${last.checksum.slice(0, 16)}` : null,
    undeclared: undeclaredTables(configuration, catalog),
    leftOut: await readLeftOut(client, catalog),
    unfenced: unfencedTables(configuration, catalog),
    positionLsn: position.rows[0]?.lsn ?? '0/0',
  };
}

async function readLeftOut(
  client: Queryable,
  catalog: Catalog,
): Promise<Readonly<Record<TableName, readonly string[]>>> {
  const carried = await readCarried(client);
  const found = [...catalog.tables].map(([name, table]) => [name, leftOutColumns(table, carried.get(name))] as const);
  return Object.fromEntries(found.filter(([, columns]) => columns.length > 0));
}

function unfencedTables(configuration: Configuration, catalog: Catalog): readonly TableName[] {
  return [...catalog.tables.values()]
    .filter((table) => configuration.tables[declaredName(catalog, table.name)]?.class === 'system-of-record')
    .filter((table) => !table.triggers.some(({ name, enabled }) => name === fenceTrigger && enabled !== 'D'))
    .map((table) => table.name)
    .sort();
}

/** One stands for all: `apply` creates and drops those of a table together. */
const fenceTrigger = 'lanekeeper_fence_insert';

type WorkerRow = {
  readonly name: string;
  readonly pid: number | null;
  readonly receivedLsn: string | null;
  readonly appliedLsn: string | null;
  readonly silentMs: number | null;
  readonly blockedMs: number | null;
  readonly stats: Readonly<Record<string, unknown>> | null;
};

async function readIncoming(client: Queryable, peers: readonly DataCenterName[]): Promise<readonly IncomingStream[]> {
  const wanted = peers.flatMap((publisher) =>
    streamNames.map((stream) => ({ publisher, stream, name: subscriptionName(publisher, stream) })),
  );
  const names = wanted.map(({ name }) => name);
  const subscriptions = await readSubscriptions(client, names);
  const { rows } = await client.query<WorkerRow>(
    `SELECT w.subname AS name, w.pid, w.received_lsn::text AS "receivedLsn", w.latest_end_lsn::text AS "appliedLsn",
        (extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::float8 AS "silentMs",
        -- Its parallel workers apply large transactions for it.
        (SELECT (extract(epoch FROM clock_timestamp() - min(l.waitstart)) * 1000)::float8 FROM pg_catalog.pg_locks l
          WHERE NOT l.granted AND l.locktype <> 'applytransaction' AND l.pid IN (SELECT p.pid FROM pg_catalog.pg_stat_subscription p WHERE p.subid = w.subid)) AS "blockedMs",
        (SELECT to_jsonb(s) FROM pg_catalog.pg_stat_subscription_stats s WHERE s.subid = w.subid) AS stats
      FROM pg_catalog.pg_stat_subscription w
      JOIN pg_catalog.pg_subscription p ON p.oid = w.subid JOIN pg_catalog.pg_database d ON d.oid = p.subdbid
      -- A subscription without a worker has one row without a pid; those of parallel and sync workers are not asked for.
      WHERE d.datname = current_database() AND w.subname = ANY ($1) AND w.leader_pid IS NULL AND w.relid IS NULL`,
    [names],
  );
  return wanted.map(({ publisher, stream, name }): IncomingStream => {
    const worker = rows.find((row) => row.name === name);
    const stats = worker?.stats ?? {};
    const conflicts = Object.entries(stats).filter(([key]) => key.startsWith('confl_'));
    return {
      publisher,
      stream,
      subscription: subscriptions.find((row) => row.name === name) ?? null,
      running: (worker?.pid ?? null) !== null,
      receivedLsn: worker?.receivedLsn ?? null,
      appliedLsn: worker?.appliedLsn ?? null,
      silentMs: worker?.silentMs ?? null,
      blockedMs: worker?.blockedMs ?? null,
      applyErrors: Number(stats.apply_error_count ?? 0),
      syncErrors: Number(stats.sync_error_count ?? 0),
      conflicts:
        conflicts.length === 0
          ? null
          : Object.fromEntries(conflicts.map(([key, count]) => [key.slice('confl_'.length), Number(count)])),
    };
  });
}

type SlotStateRow = Omit<OutgoingStream, 'subscriber' | 'stream' | 'exists'>;

async function readOutgoing(client: Queryable, peers: readonly DataCenterName[]): Promise<readonly OutgoingStream[]> {
  const wanted = peers.flatMap((subscriber) =>
    streamNames.map((stream) => ({ subscriber, stream, slot: slotName(subscriber, stream) })),
  );
  const { rows } = await client.query<SlotStateRow>(
    `SELECT s.slot_name AS slot, s.active, s.wal_status AS "walStatus", s.confirmed_flush_lsn::text AS "confirmedLsn",
        pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)::float8 AS "lagBytes",
        pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::float8 AS "retainedBytes", s.safe_wal_size::float8 AS "spareBytes",
        (extract(epoch FROM r.replay_lag) * 1000)::float8 AS "lagMs"
      FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
      WHERE s.slot_name = ANY ($1) AND s.database = current_database()`,
    [wanted.map(({ slot }) => slot)],
  );
  return wanted.map(({ subscriber, stream, slot }): OutgoingStream => {
    const row = rows.find((candidate) => candidate.slot === slot);
    const absent = {
      active: false,
      walStatus: null,
      confirmedLsn: null,
      lagBytes: null,
      retainedBytes: null,
      spareBytes: null,
      lagMs: null,
    };
    return { subscriber, stream, exists: row !== undefined, ...(row ?? { slot, ...absent }) };
  });
}
