/** Successions: the copies of the store's history of views, the lock that waits for every writer, streams that are frozen. */
import type { DataCenterName, Succession, SuccessionKind } from 'lanekeeper/model';
import type { Client, ClientBase } from 'pg';
import { quoteName } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { readTails } from '../relay/tails.ts';
import { dropSlot } from '../streams/drop.ts';
import { asideSlotName, type StreamName, slotName, streamNames, subscriptionName } from '../streams/names.ts';
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

/**
 * Writes those that are missing, in one transaction, and brings the view in line. A takeover gets the cuts of all who are gone by
 * now: whoever comes back finds its own in the last row that names it. Also one that was taken over after the term of a row that is
 * written late has to rejoin before it reads on behind that row.
 */
export async function recordSuccessions(
  client: ClientBase,
  successions: readonly Succession[],
  cuts: Readonly<Record<DataCenterName, RecordedCut>>,
): Promise<void> {
  await together(client, async () => {
    // As much as is here at this moment: of what was fetched last the caller may not have been told.
    const { rows: ended } = await client.query<{ publisher: DataCenterName }>(
      'SELECT publisher FROM lanekeeper.frozen WHERE publisher = ANY ($1) AND homed IS NOT NULL ORDER BY publisher FOR UPDATE',
      [Object.keys(cuts)],
    );
    const here = await readTails(
      client,
      ended.map(({ publisher }) => publisher),
    );
    const appliedOf = (publisher: DataCenterName, stream: StreamName) =>
      here.find((one) => one.publisher === publisher && one.stream === stream)?.applied;
    const gone = Object.fromEntries(
      Object.entries(cuts).map(([of, { generation, homed, rest }]) => [
        of,
        { generation, homed: appliedOf(of, 'homed') ?? homed, rest: appliedOf(of, 'rest') ?? rest },
      ]),
    );
    for (const succession of successions) await insert(client, succession, succession.kind === 'take' ? gone : {});
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
 * One that was thawed since it was taken over in `term` is read again: an agent that was stopped in the middle and wakes up later
 * ends nothing any more.
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
        WHERE NOT EXISTS (SELECT FROM lanekeeper.thawed t WHERE t.publisher = $1 AND t.term >= $2)
        ON CONFLICT (publisher) DO UPDATE SET term = excluded.term, at = excluded.at`,
      [publisher, term],
    );
    if (rowCount === 0) return false;
    await disableStreams(client, names);
    await client.query('DELETE FROM lanekeeper.thawed WHERE publisher = $1', [publisher]);
    return true;
  });
  if (frozen) await untilEnded(client, names, deadlineMs);
  return writeTail(client, publisher);
}

/** Within the caller's transaction. */
export async function disableStreams(client: Queryable, names: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ name: string; enabled: boolean }>(
    `SELECT subname AS name, subenabled AS enabled FROM pg_catalog.pg_subscription s
      JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() AND s.subname = ANY ($1)`,
    [names],
  );
  for (const { name, enabled } of rows)
    if (enabled) await client.query(`ALTER SUBSCRIPTION ${quoteName(name)} DISABLE`);
}

/** DISABLE alone lets a worker that waits for a lock apply and acknowledge later. */
export async function untilEnded(client: Queryable, names: readonly string[], deadlineMs: number): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ pid: number; name: string }>(
      'SELECT w.pid, w.subname AS name FROM pg_catalog.pg_stat_subscription w WHERE w.subname = ANY ($1) AND w.pid IS NOT NULL',
      [names],
    );
    if (rows.length === 0) return;
    if (performance.now() > deadlineMs) throw new Error(`the stream ${rows[0]?.name} does not end`);
    for (const { pid } of rows) await terminate(client, pid);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** A worker that is just starting belongs to nobody yet, and only a superuser may end it: it is seen again a moment later. */
async function terminate(client: Queryable, pid: number): Promise<void> {
  try {
    await client.query('SELECT pg_catalog.pg_terminate_backend($1)', [pid]);
  } catch (error) {
    if ((error as { code?: unknown }).code !== '42501') throw error;
  }
}

/** How far the ended streams from a dc had applied, kept for as long as they are frozen. Once they were thawed: at that time. */
export async function writeTail(
  client: Queryable,
  publisher: DataCenterName,
): Promise<{ readonly homed: string; readonly rest: string }> {
  const tails = await readTails(client, [publisher]);
  const tailOf = (stream: StreamName) => tails.find((one) => one.stream === stream)?.tail ?? '0/0';
  const tail = { homed: tailOf('homed'), rest: tailOf('rest') };
  // What is known stays: one that was seeded after the other had gone has no stream from there, and the tail of whom it was
  // seeded from; one that took back what nobody else had ends before its progress.
  const { rows: kept } = await client.query<{ homed: string; rest: string }>(
    `UPDATE lanekeeper.frozen SET homed = coalesce(homed, $2::pg_lsn), rest = coalesce(rest, $3::pg_lsn)
      WHERE publisher = $1 RETURNING homed::text, rest::text`,
    [publisher, tail.homed, tail.rest],
  );
  if (kept[0] !== undefined) return kept[0];
  const { rows: thawed } = await client.query<{ homed: string; rest: string }>(
    'SELECT homed::text, rest::text FROM lanekeeper.thawed WHERE publisher = $1 AND homed IS NOT NULL AND rest IS NOT NULL',
    [publisher],
  );
  return thawed[0] ?? tail;
}

/** The marks of successions that made this data center a home: nothing of what they brought is written before. */
export async function landSuccessions(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ landed: number }>('SELECT lanekeeper.land() AS landed');
  return rows[0]?.landed ?? 0;
}

/** The opposite of `freezeStreams`, for all of them at once: the streams go on from where they were. */
export async function thawStreams(client: ClientBase, ...publishers: readonly DataCenterName[]): Promise<void> {
  await together(client, async () => {
    await forgetFrozen(client, publishers);
    for (const publisher of publishers)
      for (const stream of streamNames)
        await client.query(`ALTER SUBSCRIPTION ${quoteName(subscriptionName(publisher, stream))} ENABLE`);
  });
}

/** Its tail stays known: a succession that tells of it may have to be let in later (`has_tails`). */
export async function forgetFrozen(client: Queryable, publishers: readonly DataCenterName[]): Promise<void> {
  await client.query(
    `WITH gone AS (DELETE FROM lanekeeper.frozen WHERE publisher = ANY ($1) RETURNING publisher, term, homed, rest)
    INSERT INTO lanekeeper.thawed (publisher, term, homed, rest) SELECT publisher, term, homed, rest FROM gone
      ON CONFLICT (publisher) DO UPDATE SET term = excluded.term, homed = excluded.homed, rest = excluded.rest, at = excluded.at`,
    [publishers],
  );
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

/**
 * A slot begins anew, here and now. As a role that may replicate. Whoever still reads it is ended, and goes on from there: one that was
 * cut off only, or whose connection nobody has closed yet.
 */
export async function renewSlot(client: Client, subscriber: DataCenterName, stream: StreamName): Promise<void> {
  const name = slotName(subscriber, stream);
  await dropSlot(client, name);
  await createSlot(client, name);
  // What was kept for it while it was away is in the new one.
  if (stream === 'homed') await dropSlot(client, asideSlotName(subscriber));
}

async function poll(withinMs: number, look: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    if (await look()) return true;
    if (performance.now() + pollMs > deadlineMs) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
