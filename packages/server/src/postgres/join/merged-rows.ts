/**
 * Shared rows of a join: they are not copied but announced, with their stamps, in the stream that goes on with their changes.
 * What only the seeded one has is no stranded write but a late one: it is handed over before its tables are emptied.
 */
import { waitUntilConfirmed } from '../deeds/successions.ts';
import { announceMerged, finishPending, hasPending, markMerged, mergedNames, noteAnnounced } from '../merge/index.ts';
import type { JoinSides, Sessions } from './sides.ts';

/** A stream that stands still for so long does not come on. */
const arriveWithinMs = 10 * 60_000;
const rowsAtOnce = 500;
const mergeEveryMs = 250;

/** What an agent does where one runs: changes whose row was locked when they arrived are merged a moment later. */
export async function keepMerging(sessions: Sessions, { target }: JoinSides): Promise<() => Promise<void>> {
  if (mergedNames(target.configuration).length === 0) return async () => {};
  const client = await sessions.open(target, 'agent', 'lanekeeper join');
  let on = true;
  const running = (async () => {
    while (on) {
      // What cannot be merged now is counted by the comparison.
      if (await hasPending(client).catch(() => false)) await finishPending(client).catch(() => 0);
      await new Promise((resolve) => setTimeout(resolve, mergeEveryMs));
    }
  })();
  return async () => {
    on = false;
    await running;
    await client.end().catch(() => {});
  };
}

/** Gives the source every version that the target has, to be merged by its agent. Returns how many rows that are not known there. */
export async function handOverShared(sessions: Sessions, { target }: JoinSides): Promise<number> {
  const ours = await sessions.get('target', 'agent');
  const theirs = await sessions.get('source', 'agent');
  let handed = 0;
  for (const name of mergedNames(target.configuration)) {
    await ours.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    try {
      await ours.query(
        `DECLARE late NO SCROLL CURSOR FOR SELECT c::text AS change FROM lanekeeper.changes_of($1, '-infinity') c`,
        [name],
      );
      for (;;) {
        const { rows } = await ours.query<{ change: string }>(`FETCH ${rowsAtOnce} FROM late`);
        if (rows.length === 0) break;
        const { rowCount } = await theirs.query(
          `INSERT INTO lanekeeper.merge_pending (relation, key, stamp, root, shape, columns, vals, application, at, reason)
            SELECT (c).relation, (c).key, (c).stamp, (c).root, (c).shape, (c).columns, (c).vals, (c).application, (c).at, 'handed over by a join'
            FROM (SELECT x::lanekeeper.change AS c FROM unnest($1::text[]) x) late
            LEFT JOIN lanekeeper.version v ON v.relation = (c).relation AND v.key = (c).key
            WHERE NOT coalesce(lanekeeper.covers(v.stamp, v.root, (c).stamp), false)`,
          [rows.map(({ change }) => change)],
        );
        handed += rowCount ?? 0;
      }
    } finally {
      await ours.query('ROLLBACK');
    }
  }
  return handed;
}

/** Sends all shared rows and the floors to the seeded one. False: they did not arrive in time. */
export async function seedShared(sessions: Sessions, { target, source }: JoinSides): Promise<boolean> {
  const client = await sessions.get('source', 'agent');
  if (mergedNames(source.configuration).length === 0) return true;
  await announceMerged(client, source.configuration, 'everything');
  await markMerged(client);
  const { rows } = await client.query<{ lsn: string }>(
    "SELECT pg_logical_emit_message(true, 'lanekeeper', 'announced')::text AS lsn",
  );
  const { here } = target.configuration;
  if (!(await waitUntilConfirmed(client, here, 'rest', rows[0]?.lsn ?? '0/0', arriveWithinMs))) return false;
  await noteAnnounced(client, here);
  return true;
}
