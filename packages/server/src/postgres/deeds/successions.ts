/** Successions: the copies of the store's history of views, the lock that waits for every writer, streams that are frozen. */
import type { DataCenterName, Succession, SuccessionKind } from 'lanekeeper/model';
import type { ClientBase } from 'pg';
import { quoteName } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { type StreamName, slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { createSlot } from '../streams/slots.ts';

/** How far a taken-over dc's log had been applied at its successor, and which generation of it that was. */
export type RecordedCut = { readonly generation: number; readonly homed: string; readonly rest: string };

export type RecordedSuccession = Succession & {
  /** Of a takeover, by the dc that was taken over. */
  readonly cuts: Readonly<Record<DataCenterName, RecordedCut>>;
};

export async function readSuccessions(client: Queryable): Promise<readonly RecordedSuccession[]> {
  const { rows } = await client.query<{
    term: string;
    kind: SuccessionKind;
    from: string;
    to: string;
    undoes: string | null;
    cuts: RecordedSuccession['cuts'];
  }>('SELECT term, kind, from_dc AS "from", to_dc AS "to", undoes, cuts FROM lanekeeper.succession ORDER BY term');
  return rows.map(({ term, undoes, ...rest }) => ({
    ...rest,
    term: Number(term),
    undoes: undoes === null ? null : Number(undoes),
  }));
}

/** Writes those that are missing, in one transaction, and brings the view in line. `cuts` belong to the last one. */
export async function recordSuccessions(
  client: ClientBase,
  successions: readonly Succession[],
  cuts: RecordedSuccession['cuts'],
): Promise<void> {
  await together(client, async () => {
    for (const [index, succession] of successions.entries())
      await insert(client, succession, index === successions.length - 1 ? cuts : {});
  });
  await settleView(client);
}

/** A view that is ahead of its table refuses every writer: that is put right here, after whoever is changing the table. */
export async function settleView(client: Queryable): Promise<void> {
  await client.query('SELECT lanekeeper.settle_view()');
}

/**
 * In a transaction that stays open: returns when every writer of this database has finished, and keeps new ones waiting
 * until the transaction ends. False: some transaction did not finish within `withinMs`; then nothing is held.
 */
export async function lockWriters(session: ClientBase, withinMs: number): Promise<boolean> {
  await session.query(`BEGIN; SET LOCAL lock_timeout = ${Math.max(1, Math.floor(withinMs))}`);
  try {
    await session.query('LOCK TABLE lanekeeper.succession IN ACCESS EXCLUSIVE MODE');
    return true;
  } catch (error) {
    await session.query('ROLLBACK').catch(() => {});
    if ((error as { code?: unknown }).code === '55P03') return false;
    throw error;
  }
}

/** Ends the transaction of `lockWriters` with a succession. */
export async function giveAll(session: ClientBase, succession: Succession): Promise<void> {
  try {
    await insert(session, succession, {});
    await session.query('COMMIT');
  } catch (error) {
    await session.query('ROLLBACK').catch(() => {});
    await settleView(session).catch(() => {});
    throw error;
  }
}

async function insert(client: Queryable, succession: Succession, cuts: RecordedSuccession['cuts']): Promise<void> {
  const { term, kind, from, to, undoes } = succession;
  await client.query('SELECT lanekeeper.succeed($1, $2, $3, $4, $5, $6)', [
    term,
    kind,
    from,
    to,
    undoes,
    JSON.stringify(cuts),
  ]);
}

const pollMs = 20;

/**
 * Ends the streams from a dc and keeps them ended: DISABLE alone lets a worker that waits for a lock apply and acknowledge
 * later, so it is terminated and seen gone. Returns how far each had applied, by that dc's log. Throws when a worker stays
 * for longer than `withinMs`, or when the role may not read `pg_replication_origin_progress`.
 *
 * What is recorded of `term` already was frozen before, and may have been thawed since: an agent that was stopped in the
 * middle and wakes up later ends nothing any more.
 */
export async function freezeStreams(
  client: ClientBase,
  publisher: DataCenterName,
  term: number,
  withinMs: number,
): Promise<{ readonly homed: string; readonly rest: string }> {
  const names = streamNames.map((stream) => subscriptionName(publisher, stream));
  const deadlineMs = performance.now() + withinMs;
  const frozen = await together(client, async () => {
    const { rowCount } = await client.query(
      `INSERT INTO lanekeeper.frozen (publisher, term) SELECT $1, $2
        WHERE NOT EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = $2)
        ON CONFLICT (publisher) DO UPDATE SET term = excluded.term, at = excluded.at`,
      [publisher, term],
    );
    if (rowCount === 0) return false;
    const { rows } = await client.query<{ name: string; enabled: boolean }>(
      `SELECT subname AS name, subenabled AS enabled FROM pg_catalog.pg_subscription s
        JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() AND s.subname = ANY ($1)`,
      [names],
    );
    for (const { name, enabled } of rows)
      if (enabled) await client.query(`ALTER SUBSCRIPTION ${quoteName(name)} DISABLE`);
    return true;
  });
  while (frozen) {
    const { rows } = await client.query<{ pid: number }>(
      `SELECT w.pid, pg_catalog.pg_terminate_backend(w.pid) FROM pg_catalog.pg_stat_subscription w
        WHERE w.subname = ANY ($1) AND w.pid IS NOT NULL`,
      [names],
    );
    if (rows.length === 0) break;
    if (performance.now() > deadlineMs) throw new Error(`a stream from ${publisher} does not end`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  const { rows } = await client.query<{ name: string; applied: string | null }>(
    `SELECT s.subname AS name, pg_catalog.pg_replication_origin_progress('pg_' || s.oid, true)::text AS applied
      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = ANY ($1)`,
    [names],
  );
  const appliedOf = (stream: 'homed' | 'rest') =>
    rows.find(({ name }) => name === subscriptionName(publisher, stream))?.applied ?? '0/0';
  const tail = { homed: appliedOf('homed'), rest: appliedOf('rest') };
  // One that was seeded after the other had gone has no stream from there, and the tail of whom it was seeded from.
  const { rows: kept } = await client.query<{ homed: string; rest: string }>(
    `UPDATE lanekeeper.frozen SET homed = greatest(homed, $2::pg_lsn), rest = greatest(rest, $3::pg_lsn)
      WHERE publisher = $1 RETURNING homed::text, rest::text`,
    [publisher, tail.homed, tail.rest],
  );
  return kept[0] ?? tail;
}

/** The marks of successions that made this data center a home: nothing of what they brought is written before. */
export async function landSuccessions(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ landed: number }>('SELECT lanekeeper.land() AS landed');
  return rows[0]?.landed ?? 0;
}

/** The opposite of `freezeStreams`: the streams go on from where they were. */
export async function thawStreams(client: ClientBase, publisher: DataCenterName): Promise<void> {
  await together(client, async () => {
    await client.query('DELETE FROM lanekeeper.frozen WHERE publisher = $1', [publisher]);
    for (const stream of streamNames)
      await client.query(`ALTER SUBSCRIPTION ${quoteName(subscriptionName(publisher, stream))} ENABLE`);
  });
}

async function together<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** Data centers from which nothing is applied, and since which term. */
export async function readFrozen(client: Queryable): Promise<Readonly<Record<DataCenterName, number>>> {
  const { rows } = await client.query<{ publisher: string; term: string }>(
    'SELECT publisher, term FROM lanekeeper.frozen',
  );
  return Object.fromEntries(rows.map(({ publisher, term }) => [publisher, Number(term)]));
}

/**
 * Until another data center has durably applied one of our streams up to a position of our log. Asked where the stream
 * comes from: what holds nothing for the reader is confirmed and leaves no trace there. False: not within `withinMs`.
 */
export async function waitUntilConfirmed(
  client: Queryable,
  subscriber: DataCenterName,
  stream: StreamName,
  position: string,
  withinMs: number,
): Promise<boolean> {
  return poll(withinMs, async () => {
    const { rows } = await client.query(
      `SELECT FROM pg_catalog.pg_replication_slots
        WHERE slot_name = $1 AND database = current_database() AND confirmed_flush_lsn >= $2::pg_lsn`,
      [slotName(subscriber, stream), position],
    );
    return rows.length > 0;
  });
}

/** Until another data center reads one of our streams. */
export async function waitUntilRead(
  client: Queryable,
  subscriber: DataCenterName,
  stream: StreamName,
  withinMs: number,
): Promise<boolean> {
  return poll(withinMs, async () => {
    const { rows } = await client.query(
      'SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND database = current_database() AND active',
      [slotName(subscriber, stream)],
    );
    return rows.length > 0;
  });
}

/** A slot that nobody reads begins anew, here and now; one that is read stays. As a role that may replicate. */
export async function renewSlot(client: Queryable, subscriber: DataCenterName, stream: StreamName): Promise<void> {
  const name = slotName(subscriber, stream);
  const { rows } = await client.query<{ active: boolean }>(
    'SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND database = current_database()',
    [name],
  );
  if (rows[0]?.active) return;
  if (rows.length > 0) await client.query('SELECT pg_catalog.pg_drop_replication_slot($1)', [name]);
  await createSlot(client, name);
}

async function poll(withinMs: number, look: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    if (await look()) return true;
    if (performance.now() + pollMs > deadlineMs) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
