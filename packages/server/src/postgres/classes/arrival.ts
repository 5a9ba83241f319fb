/**
 * Whether everything that was written before a moment is here. For each data center, this one included: its clock has passed
 * the moment, no transaction that began before it is still at work, and then a position of its log, taken after both, has
 * been applied here in both streams. Nothing is concluded from lag.
 *
 * A transaction that began before the moment and has written nothing for `firstWriteWithinMs` is not waited for any longer:
 * backups read for hours. Should it write after all, the rows count as written later than the moment.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Connect } from '../connect.ts';
import { waitUntilConfirmed } from '../deeds/successions.ts';
import type { Queryable } from '../queryable.ts';
import { streamNames } from '../streams/names.ts';
import { databaseProblem } from '../transaction.ts';

/** Longer than an agent lets a transaction live that has written homed rows. */
const firstWriteWithinMs = 12_000;
const lookEveryMs = 200;

export type ArrivalOptions = {
  readonly moment: Date;
  /** The data center that is asking, and whose streams are waited for. */
  readonly reader: DataCenterName;
  readonly withinMs: number;
  /** Ends the wait early. */
  readonly signal?: AbortSignal;
};

/** Null: everything has arrived. Else why something may be missing, in words. */
export async function awaitPeer(connect: Connect, options: ArrivalOptions): Promise<string | null> {
  const { moment, reader, signal } = options;
  const endMs = performance.now() + options.withinMs;
  const connected = await connect('lanekeeper copies');
  if (connected.kind === 'unavailable') return connected.message;
  const { client } = connected;
  client.on('error', () => {});
  try {
    const behind = await awaitWriters(client, moment, endMs, signal);
    if (behind !== null) return behind;
    const { rows } = await client.query<{ lsn: string }>(
      "SELECT pg_catalog.pg_logical_emit_message(true, 'lanekeeper', 'copy')::text AS lsn",
    );
    const position = rows[0]?.lsn ?? '';
    for (const stream of streamNames)
      while (!(await waitUntilConfirmed(client, reader, stream, position, lookEveryMs)))
        if (performance.now() > endMs || signal?.aborted)
          return `its ${stream} stream has not arrived up to ${position}`;
    return null;
  } catch (error) {
    // A peer that goes away meanwhile is as good as away.
    return databaseProblem(error)?.message ?? (error as Error).message;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Until what was begun before `moment` in this database has ended. Null: it has. */
export async function awaitWriters(
  client: Queryable,
  moment: Date,
  endMs: number,
  signal?: AbortSignal,
): Promise<string | null> {
  const beganMs = performance.now();
  for (;;) {
    const { rows } = await client.query<{ past: boolean; old: number; writing: number }>(
      `SELECT clock_timestamp() > $1::timestamptz AS past,
          (SELECT count(*)::int FROM pg_catalog.pg_stat_activity a WHERE a.datname = current_database()
            AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.xact_start <= $1::timestamptz) AS old,
          (SELECT count(*)::int FROM pg_catalog.pg_stat_activity a WHERE a.datname = current_database()
            AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.xact_start <= $1::timestamptz
            AND a.backend_xid IS NOT NULL)
          + (SELECT count(*)::int FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()) AS writing`,
      [moment.toISOString()],
    );
    const { past, old, writing } = rows[0] ?? { past: false, old: 0, writing: 0 };
    const onlyReaders = writing === 0 && (old === 0 || performance.now() - beganMs > firstWriteWithinMs);
    if (past && onlyReaders) return null;
    if (performance.now() > endMs || signal?.aborted) {
      if (!past) return 'by its clock the moment has not come yet';
      return `${writing === 0 ? old : writing} transaction${old === 1 ? '' : 's'} that began before the moment ${old === 1 ? 'is' : 'are'} still open`;
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

/** Until changes of shared rows that arrived by now have been merged here. Null: they have. */
export async function awaitMerges(client: Queryable, endMs: number, signal?: AbortSignal): Promise<string | null> {
  const { rows: last } = await client.query<{ id: string | null }>(
    'SELECT max(id) AS id FROM lanekeeper.merge_pending',
  );
  for (;;) {
    const { rows } = await client.query<{ left: number }>(
      'SELECT count(*)::int AS left FROM lanekeeper.merge_pending WHERE id <= $1',
      [last[0]?.id ?? 0],
    );
    const left = rows[0]?.left ?? 0;
    if (left === 0) return null;
    if (performance.now() > endMs || signal?.aborted)
      return `${left} change${left === 1 ? '' : 's'} of shared rows that arrived could not be merged yet`;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}
