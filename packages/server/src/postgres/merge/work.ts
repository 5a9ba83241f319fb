/** What the agent does for shared rows, as its role; every piece may be repeated. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';
import { mergedNames } from './tables.ts';

/** Each may wait for a lock for 25 ms, and all of them together must be done within a statement's time. */
export const pendingAtOnce = 100;

export type MergeStanding = {
  /** Changes whose row was locked when they arrived. */
  readonly locked: number;
  /** Changes that could not be written, by reason, the most frequent first. */
  readonly failed: readonly { readonly table: TableName; readonly reason: string; readonly changes: number }[];
  /** Since when the oldest of both waits. */
  readonly oldestSeconds: number | null;
  /** Conflicts that are kept, and those of the last day. */
  readonly conflicts: number;
  readonly conflictsLastDay: number;
  /** Deleted rows that are still remembered one by one. */
  readonly tombstones: number;
};

export async function readMergeStanding(client: Queryable): Promise<MergeStanding> {
  const { rows } = await client.query<Omit<MergeStanding, 'failed'>>(
    `SELECT (SELECT count(*)::int FROM lanekeeper.merge_pending WHERE sqlstate IS NULL) AS locked,
      (SELECT extract(epoch FROM clock_timestamp() - min(since))::float8 FROM lanekeeper.merge_pending) AS "oldestSeconds",
      (SELECT count(*)::int FROM lanekeeper.conflict) AS conflicts,
      (SELECT count(*)::int FROM lanekeeper.conflict WHERE at > clock_timestamp() - interval '1 day') AS "conflictsLastDay",
      (SELECT count(*)::int FROM lanekeeper.version WHERE deleted) AS tombstones`,
  );
  const { rows: failed } = await client.query<MergeStanding['failed'][number]>(
    `SELECT relation AS "table", reason, count(*)::int AS changes FROM lanekeeper.merge_pending WHERE sqlstate IS NOT NULL
      GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10`,
  );
  const nothing = { locked: 0, oldestSeconds: null, conflicts: 0, conflictsLastDay: 0, tombstones: 0 };
  return { ...(rows[0] ?? nothing), failed };
}

/** How many changes wait to be merged, of these tables or of all. */
export async function countPending(client: Queryable, table?: TableName): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    'SELECT count(*)::int AS n FROM lanekeeper.merge_pending WHERE $1::text IS NULL OR relation = $1',
    [table ?? null],
  );
  return rows[0]?.n ?? 0;
}

/** Asked often, and mostly in vain: it does not count. */
export async function hasPending(client: Queryable): Promise<boolean> {
  const { rows } = await client.query<{ any: boolean }>(
    'SELECT EXISTS (SELECT FROM lanekeeper.merge_pending) AS "any"',
  );
  return rows[0]?.any === true;
}

/**
 * Merges what is pending, as replica, so that it is not logged as a write of this data center. Returns how many are done.
 * Needs SET on session_replication_role.
 */
export async function finishPending(client: Queryable, atMost = pendingAtOnce): Promise<number> {
  await client.query('BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL synchronous_commit = local');
  try {
    const { rows } = await client.query<{ done: number }>('SELECT lanekeeper.finish_pending($1) AS done', [atMost]);
    await client.query('COMMIT');
    return rows[0]?.done ?? 0;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** Tells the others how far this data center has merged what they wrote. */
export async function markMerged(client: Queryable): Promise<void> {
  await client.query('SELECT lanekeeper.mark_merged()');
}

/** Forgets deleted rows and conflicts that are older than they are kept. Returns how many of each. */
export async function purgeMerged(
  client: Queryable,
  { keepTombstonesMs, keepConflictsMs }: Pick<Configuration['merge'], 'keepTombstonesMs' | 'keepConflictsMs'>,
): Promise<{ readonly tombstones: number; readonly conflicts: number }> {
  const { rows } = await client.query<{ tombstones: number; conflicts: number }>(
    `SELECT lanekeeper.purge_deleted(make_interval(secs => $1)) AS tombstones, lanekeeper.purge_conflicts(make_interval(secs => $2)) AS conflicts`,
    [keepTombstonesMs / 1000, keepConflictsMs / 1000],
  );
  return rows[0] ?? { tombstones: 0, conflicts: 0 };
}

/**
 * Sends rows of merged tables again, with their stamps, deleted ones included; who has them drops them. `since` leaves out
 * what was written before; `everything` also sends rows that were not written since the table is merged. Tables without a
 * winner (last-man-standing) are left out unless `everything` is sent, since arriving again would be a new arrival.
 * Returns how many rows.
 */
export async function announceMerged(
  client: Queryable,
  configuration: Configuration,
  what: { readonly since: Date } | 'versioned' | 'everything',
): Promise<number> {
  let sent = 0;
  const since = what === 'everything' ? null : what === 'versioned' ? '-infinity' : what.since.toISOString();
  for (const name of mergedNames(configuration)) {
    if (what !== 'everything' && configuration.tables[name]?.policy === 'last-man-standing') continue;
    const { rows } = await client.query<{ sent: number }>(
      'SELECT lanekeeper.announce($1, $2::timestamptz)::float8 AS sent',
      [name, since],
    );
    sent += rows[0]?.sent ?? 0;
  }
  return sent;
}

const newReaders = `SELECT s.subscriber AS peer FROM lanekeeper.subscribed s LEFT JOIN lanekeeper.announced a ON a.peer = s.subscriber
  WHERE s.publisher = $1 AND s.relation = 'lanekeeper.change' AND (a.at IS NULL OR a.at < s.at)`;

/** Whether `announceToReaders` has anything to do, which may take long. */
export async function hasNewReaders(client: Queryable, configuration: Configuration): Promise<boolean> {
  return (await client.query(newReaders, [configuration.here])).rows.length > 0;
}

/** Somebody has been sent everything, by whatever means. */
export async function noteAnnounced(client: Queryable, peer: DataCenterName): Promise<void> {
  await client.query(
    `INSERT INTO lanekeeper.announced (peer, at) VALUES ($1, clock_timestamp())
      ON CONFLICT (peer) DO UPDATE SET at = excluded.at`,
    [peer],
  );
}

/**
 * Shared rows may be written before the others read the merge log: once one has begun to, it is sent what it missed.
 * Returns to whom.
 */
export async function announceToReaders(
  client: Queryable,
  configuration: Configuration,
): Promise<readonly DataCenterName[]> {
  const { rows } = await client.query<{ peer: DataCenterName }>(newReaders, [configuration.here]);
  if (rows.length === 0) return [];
  await announceMerged(client, configuration, 'versioned');
  await client.query(
    `INSERT INTO lanekeeper.announced (peer, at) SELECT s.subscriber, s.at FROM lanekeeper.subscribed s
      WHERE s.publisher = $1 AND s.relation = 'lanekeeper.change' AND s.subscriber = ANY ($2)
      ON CONFLICT (peer) DO UPDATE SET at = excluded.at`,
    [configuration.here, rows.map(({ peer }) => peer)],
  );
  return rows.map(({ peer }) => peer);
}
