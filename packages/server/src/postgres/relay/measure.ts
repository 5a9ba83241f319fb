/**
 * A sample: a place in our log, and how far every other log had been applied by the transactions before it.
 *
 * A commit is in the log a moment before its origin's progress says so. So the place is read first, then every transaction
 * that had begun by then is waited for, and only then the progress is read: it may say too much, which does no harm.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { type IncomingTail, readTails } from './tails.ts';

export type BegunSample = {
  readonly place: Lsn;
  /** Every transaction with a commit before `place` has a smaller one. */
  readonly xid: string;
};

export type RelaySample = {
  /** In our log. */
  readonly place: Lsn;
  /** Of shared rows: versions that it sees came with what `applied` says, or were written here. */
  readonly merged: string;
  /** By publisher and stream: nothing of that log beyond `applied` is before `place`. */
  readonly applied: readonly Pick<IncomingTail, 'publisher' | 'stream' | 'origin' | 'applied'>[];
};

/** `client`: as the agent, not in a transaction. */
export async function beginSample(client: Queryable): Promise<BegunSample> {
  const { rows: places } = await client.query<{ place: Lsn }>(
    'SELECT pg_catalog.pg_current_wal_insert_lsn()::text AS place',
  );
  // In a statement of its own: the number has to be drawn after the place was read.
  const { rows: numbers } = await client.query<{ xid: string }>('SELECT pg_catalog.pg_current_xact_id()::text AS xid');
  return { place: (places[0] as { place: Lsn }).place, xid: (numbers[0] as { xid: string }).xid };
}

/** Null: a transaction that had begun by then is still under way. */
export async function finishSample(
  client: Queryable,
  begun: BegunSample,
  publishers: readonly DataCenterName[],
): Promise<RelaySample | null> {
  const { rows } = await client.query<{ settled: boolean; merged: string }>(
    `SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) >= $1::text::xid8 AS settled,
      pg_catalog.pg_current_snapshot()::text AS merged`,
    [begun.xid],
  );
  const row = rows[0];
  if (!row?.settled) return null;
  const tails = await readTails(client, publishers);
  const applied = tails.map(({ tail: _, ...rest }) => rest);
  return { place: begun.place, merged: row.merged, applied };
}

const pollMs = 50;

/** Both at once. Null: a transaction did not end within `withinMs`. */
export async function takeSample(
  client: Queryable,
  publishers: readonly DataCenterName[],
  withinMs: number,
): Promise<RelaySample | null> {
  const deadlineMs = performance.now() + withinMs;
  const begun = await beginSample(client);
  for (;;) {
    const sample = await finishSample(client, begun, publishers);
    if (sample !== null || performance.now() + pollMs > deadlineMs) return sample;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
