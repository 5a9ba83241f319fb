/** The streams of a data center that comes back: all of them ended first, and what it has of the others' logs. */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { ClientBase } from 'pg';
import type { Queryable } from '../queryable.ts';
import { streamNames, subscriptionName } from '../streams/names.ts';
import { disableStreams, type RecordedCut, untilEnded, writeTail } from './successions.ts';

/**
 * Ends the streams from all `peers`, and writes down that the return of `term` has begun. Not twice: an agent that was stopped in
 * the middle and wakes up when another one has gone on ends nothing any more. Throws when a worker stays for longer than `withinMs`.
 */
export async function freezeForReturn(
  client: ClientBase,
  peers: readonly DataCenterName[],
  term: number,
  withinMs: number,
): Promise<void> {
  const names = peers.flatMap((peer) => streamNames.map((stream) => subscriptionName(peer, stream)));
  const deadlineMs = performance.now() + withinMs;
  await client.query('BEGIN');
  try {
    // Whoever goes through the stages writes to this table: one agent at a time here.
    await client.query('LOCK TABLE lanekeeper.rejoining IN SHARE ROW EXCLUSIVE MODE');
    const { rows } = await client.query('SELECT FROM lanekeeper.rejoining WHERE term = $1', [term]);
    if (rows.length > 0) {
      await client.query('ROLLBACK');
      return;
    }
    await client.query(
      `INSERT INTO lanekeeper.frozen (publisher, term) SELECT p, $2 FROM unnest($1::text[]) p
        ON CONFLICT (publisher) DO UPDATE SET term = greatest(frozen.term, excluded.term), at = excluded.at`,
      [peers, term],
    );
    await client.query('DELETE FROM lanekeeper.thawed WHERE publisher = ANY ($1)', [peers]);
    await disableStreams(client, names);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
  await untilEnded(client, names, deadlineMs);
  for (const peer of peers) await writeTail(client, peer);
  await client.query(
    `INSERT INTO lanekeeper.rejoining (term, generation, stage, detail)
      SELECT $1, generation, 'frozen', coalesce((SELECT jsonb_build_object('counted', r.detail -> 'counted')
          FROM lanekeeper.rejoining r WHERE r.detail ? 'counted' ORDER BY r.term DESC LIMIT 1), '{}')
        FROM lanekeeper.generation ON CONFLICT DO NOTHING`,
    [term],
  );
}

/**
 * Ends the streams from all `peers` once more, and goes back to the first stage. False when the return is at another stage than
 * `from` by now. Throws when a worker stays for longer than `withinMs`.
 */
export async function freezeAgain(
  client: ClientBase,
  peers: readonly DataCenterName[],
  from: { readonly term: number; readonly stage: string },
  withinMs: number,
): Promise<boolean> {
  const names = peers.flatMap((peer) => streamNames.map((stream) => subscriptionName(peer, stream)));
  const deadlineMs = performance.now() + withinMs;
  await client.query('BEGIN');
  try {
    const { rows } = await client.query('SELECT FROM lanekeeper.rejoining WHERE term = $1 AND stage = $2 FOR UPDATE', [
      from.term,
      from.stage,
    ]);
    if (rows.length > 0) {
      await client.query(
        'INSERT INTO lanekeeper.frozen (publisher, term) SELECT p, $2 FROM unnest($1::text[]) p ON CONFLICT DO NOTHING',
        [peers, from.term],
      );
      await client.query('DELETE FROM lanekeeper.thawed WHERE publisher = ANY ($1)', [peers]);
      await disableStreams(client, names);
    }
    await client.query('COMMIT');
    if (rows.length === 0) return false;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
  await untilEnded(client, names, deadlineMs);
  for (const peer of peers) await writeTail(client, peer);
  const { rowCount } = await client.query(
    `UPDATE lanekeeper.rejoining SET stage = 'frozen', at = clock_timestamp() WHERE term = $1 AND stage = $2`,
    [from.term, from.stage],
  );
  return rowCount !== 0;
}

/** How far the log of a data center is here. `frozen`: nothing of it arrives. */
export type KnownTail = { readonly frozen: boolean; readonly homed: string | null; readonly rest: string | null };

export async function readKnownTails(client: Queryable): Promise<Readonly<Record<DataCenterName, KnownTail>>> {
  const { rows } = await client.query<KnownTail & { publisher: DataCenterName }>(
    `SELECT publisher, false AS frozen, homed::text, rest::text FROM lanekeeper.thawed t
        WHERE NOT EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = t.publisher)
      UNION ALL SELECT publisher, true, homed::text, rest::text FROM lanekeeper.frozen`,
  );
  return Object.fromEntries(rows.map(({ publisher, ...tail }) => [publisher, tail]));
}

/** Whether it comes up to the cut, in both streams. */
export function isCovered({ homed, rest }: KnownTail, cut: Pick<RecordedCut, 'homed' | 'rest'>): boolean {
  if (homed === null || rest === null) return false;
  return comparePositions(homed, cut.homed) >= 0 && comparePositions(rest, cut.rest) >= 0;
}

/** What was applied here beyond the cut has been taken back: nobody is to be told that it is here. Of a frozen one. */
export async function lowerTail(
  client: Queryable,
  publisher: DataCenterName,
  cut: Pick<RecordedCut, 'homed' | 'rest'>,
): Promise<void> {
  await client.query(
    'UPDATE lanekeeper.frozen SET homed = least(homed, $2::pg_lsn), rest = least(rest, $3::pg_lsn) WHERE publisher = $1',
    [publisher, cut.homed, cut.rest],
  );
}

/** How far the homed stream of `publisher` has left anything here, also what was taken back since. Null: there is no such stream. */
export async function readProgress(client: Queryable, publisher: DataCenterName): Promise<string | null> {
  const { rows } = await client.query<{ applied: string }>(
    `SELECT coalesce(pg_catalog.pg_replication_origin_progress('pg_' || s.oid, true), '0/0')::text AS applied
      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = $1`,
    [subscriptionName(publisher, 'homed')],
  );
  return rows[0]?.applied ?? null;
}

/** Whether the succession of a term, and so everything that was written before it in the stream that brought it, is here. */
export async function hasSuccession(client: Queryable, term: number): Promise<boolean> {
  const { rows } = await client.query('SELECT FROM lanekeeper.succession WHERE term = $1', [term]);
  return rows.length > 0;
}
