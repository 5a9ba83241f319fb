/**
 * The relay slots of this data center, and what is known of them.
 *
 * What is known is written before the slot is moved, and taken back before a slot is made: at every moment a slot holds at
 * least what `lanekeeper.relay` says. One that begins beyond what is written there was made by somebody else, and counts as
 * lost.
 */
import type { Configuration } from 'lanekeeper/config';
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Lsn } from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import {
  hasRelays,
  peersOf,
  relayPublications,
  relaySlotName,
  slotName,
  streamNames,
  subscriptionName,
} from '../streams/names.ts';
import { committedHere, databaseProblem } from '../transaction.ts';
import { type RelaySample, takeSample } from './measure.ts';
import { type IncomingTail, readTails } from './tails.ts';

/** Both in this data center's database. */
export type RelaySessions = {
  /** As the replication role, not in a transaction. */
  readonly replication: Queryable;
  /** As the agent, not in a transaction. */
  readonly agent: Queryable;
};

export type RelayOutcome = {
  readonly peer: DataCenterName;
  /** `waiting`: for something that comes by itself. */
  readonly kind: 'created' | 'unchanged' | 'waiting' | 'failed';
  /** One sentence. */
  readonly message: string;
};

/** Making a slot and measuring wait for running transactions. */
const measureWithinMs = 5_000;
const relayLock = "pg_catalog.hashtextextended('lanekeeper.relay', 0)";

/**
 * Makes the relay slots that are missing or have lost their log, and finds out from where on they are complete. Nothing is
 * made where there is nobody to relay for: with two data centers, for a peer that does not read this one yet, and while
 * nothing of a third arrives here. While some data center is taken over what is missing stays missing, for who needs it has
 * to know. Repeatable; for `apply`, `join` and the agent alike.
 */
export async function ensureRelaySlots(
  sessions: RelaySessions,
  configuration: Configuration,
): Promise<readonly RelayOutcome[]> {
  if (!hasRelays(configuration)) return [];
  const publishers = await readPublishers(sessions.agent, configuration);
  const outcomes: RelayOutcome[] = [];
  for (const peer of peersOf(configuration)) {
    if (!publishers.some((one) => one !== peer) || !(await readsUs(sessions.agent, peer))) continue;
    try {
      outcomes.push({ peer, ...(await alone(sessions.agent, () => ensureOne(sessions, peer, publishers))) });
    } catch (thrown) {
      const problem = databaseProblem(thrown);
      if (problem === null) throw thrown;
      // query_canceled: making the slot waited for a long transaction.
      const kind = problem.code === '57014' ? 'waiting' : 'failed';
      outcomes.push({ peer, kind, message: `${problem.message} [${problem.code}]` });
    }
  }
  return outcomes;
}

async function ensureOne(
  sessions: RelaySessions,
  peer: DataCenterName,
  publishers: readonly DataCenterName[],
): Promise<Omit<RelayOutcome, 'peer'>> {
  const { agent } = sessions;
  const { rows } = await agent.query<{ frozen: boolean; published: boolean }>(
    `SELECT EXISTS (SELECT FROM lanekeeper.frozen) AS frozen,
      (SELECT count(*) FROM pg_catalog.pg_publication WHERE pubname = ANY ($1)) = cardinality($1::text[]) AS published`,
    [relayPublications],
  );
  if (!rows[0]?.published)
    return { kind: 'waiting', message: 'not everything is published yet: run `lanekeeper apply`' };
  const isUsable = await isSlotUsable(agent, peer);
  if (!isUsable && rows[0].frozen) {
    return { kind: 'waiting', message: 'a data center is taken over: the slot is made when it is back' };
  }
  if (!isUsable) await makeSlot(sessions, peer);
  if (!(await measure(agent, peer, publishers)))
    return { kind: 'waiting', message: 'a transaction that began before has to end' };
  if (!isUsable) return { kind: 'created', message: `made the slot ${relaySlotName(peer)}` };
  return { kind: 'unchanged', message: `the slot ${relaySlotName(peer)} is there` };
}

/** Those of which both streams are subscribed to. */
export async function readPublishers(
  agent: Queryable,
  configuration: Configuration,
): Promise<readonly DataCenterName[]> {
  const { rows } = await agent.query<{ name: string }>(
    `SELECT s.subname AS name FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database()`,
  );
  const names = new Set(rows.map(({ name }) => name));
  return peersOf(configuration).filter((dc) => streamNames.every((stream) => names.has(subscriptionName(dc, stream))));
}

async function readsUs(agent: Queryable, peer: DataCenterName): Promise<boolean> {
  const { rows } = await agent.query(
    'SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND database = current_database()',
    [slotName(peer, 'homed')],
  );
  return rows.length > 0;
}

async function isSlotUsable(agent: Queryable, peer: DataCenterName): Promise<boolean> {
  const { rows } = await agent.query<{ usable: boolean }>(
    `SELECT s.plugin = 'pgoutput' AND s.database = current_database() AND s.wal_status <> 'lost'
        AND pg_catalog.to_jsonb(s) ->> 'invalidation_reason' IS NULL
        AND NOT EXISTS (SELECT FROM lanekeeper.relay r WHERE r.peer = $2 AND r.place < s.confirmed_flush_lsn) AS usable
      FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1`,
    [relaySlotName(peer), peer],
  );
  return rows[0]?.usable === true;
}

/** Drops what is there under that name. What was known of it is forgotten first. */
async function makeSlot(sessions: RelaySessions, peer: DataCenterName): Promise<void> {
  await forget(sessions.agent, peer);
  await dropIfThere(sessions.replication, peer);
  await sessions.replication.query(`SELECT pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')`, [
    relaySlotName(peer),
  ]);
}

/** A slot that begins anew, here and now: for a data center that has just come back. False: as `measure`. */
export async function renewRelaySlot(
  sessions: RelaySessions,
  configuration: Configuration,
  peer: DataCenterName,
): Promise<boolean> {
  return alone(sessions.agent, async () => {
    await makeSlot(sessions, peer);
    return measure(sessions.agent, peer, await readPublishers(sessions.agent, configuration));
  });
}

/**
 * One after another: whoever measured between the end of one slot and the beginning of the next would write down a place that
 * the next one does not have.
 */
async function alone<T>(agent: Queryable, work: () => Promise<T>): Promise<T> {
  await agent.query(`SELECT pg_catalog.pg_advisory_lock(${relayLock})`);
  try {
    return await work();
  } finally {
    await agent.query(`SELECT pg_catalog.pg_advisory_unlock(${relayLock})`);
  }
}

/** For `leave`, and for whatever seeds a data center anew: the slot for `peer`, and what is known of it. */
export async function dropRelaySlot(sessions: RelaySessions, peer: DataCenterName): Promise<void> {
  await forget(sessions.agent, peer);
  await dropIfThere(sessions.replication, peer);
}

/** For `leave`: nothing of that log is relayed any more, by any slot. */
export async function forgetRelayed(agent: Queryable, publisher: DataCenterName): Promise<void> {
  await agent.query('DELETE FROM lanekeeper.relay WHERE publisher = $1', [publisher]);
  await agent.query('DELETE FROM lanekeeper.heard WHERE publisher = $1', [publisher]);
}

async function forget(agent: Queryable, peer: DataCenterName): Promise<void> {
  await durably(agent, 'DELETE FROM lanekeeper.relay WHERE peer = $1', [peer]);
}

async function dropIfThere(replication: Queryable, peer: DataCenterName): Promise<void> {
  await replication.query(
    'SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1',
    [relaySlotName(peer)],
  );
}

/**
 * What of each log the slot holds is measured once, after it was made, and again for a log whose subscription was made anew:
 * everything that is applied from then on is in it. False: not yet, a transaction that began before has to end.
 */
async function measure(
  agent: Queryable,
  peer: DataCenterName,
  publishers: readonly DataCenterName[],
): Promise<boolean> {
  const others = publishers.filter((one) => one !== peer);
  await durably(agent, 'DELETE FROM lanekeeper.relay WHERE peer = $1 AND NOT publisher = ANY ($2)', [peer, others]);
  const { rows: known } = await agent.query<{ publisher: string; stream: string; origin: string }>(
    'SELECT publisher, stream, origin FROM lanekeeper.relay WHERE peer = $1',
    [peer],
  );
  const isKnown = (one: IncomingTail) =>
    known.some((k) => k.publisher === one.publisher && k.stream === one.stream && k.origin === one.origin);
  if ((await readTails(agent, others)).every(isKnown)) return true;
  const sample = await takeSample(agent, others, measureWithinMs);
  if (sample === null) return false;
  await durably(
    agent,
    `INSERT INTO lanekeeper.relay AS r (peer, publisher, stream, origin, complete_from, place, merged)
      SELECT $1, m.publisher, m.stream, m.origin, m.applied,
        coalesce((SELECT max(o.place) FROM lanekeeper.relay o WHERE o.peer = $1), $3::pg_lsn), $4::pg_snapshot
      FROM jsonb_to_recordset($2::jsonb) AS m(publisher text, stream text, origin text, applied pg_lsn)
      ON CONFLICT (peer, publisher, stream) DO UPDATE SET origin = excluded.origin, complete_from = excluded.complete_from,
        merged = excluded.merged, at = excluded.at WHERE r.origin <> excluded.origin`,
    [peer, JSON.stringify(sample.applied), sample.place, sample.merged],
  );
  return true;
}

/**
 * Lets go of what is before the sample: `peer` has everything of it. What it says of other logs has to be on disk there.
 * Says what the slot then holds, on disk, before it moves the slot.
 */
export async function advanceRelaySlot(
  sessions: RelaySessions,
  peer: DataCenterName,
  sample: RelaySample,
): Promise<void> {
  const { rowCount } = await durably(
    sessions.agent,
    `WITH sampled AS (
      SELECT r.publisher, r.stream, m.applied FROM lanekeeper.relay r
        LEFT JOIN jsonb_to_recordset($2::jsonb) AS m(publisher text, stream text, origin text, applied pg_lsn)
          ON r.publisher = m.publisher AND r.stream = m.stream AND r.origin = m.origin
        WHERE r.peer = $1)
    UPDATE lanekeeper.relay r SET complete_from = greatest(r.complete_from, s.applied), place = greatest(r.place, $3::pg_lsn),
        merged = $4::pg_snapshot, at = clock_timestamp()
      FROM sampled s WHERE r.peer = $1 AND r.publisher = s.publisher AND r.stream = s.stream
        AND NOT EXISTS (SELECT FROM sampled WHERE applied IS NULL)`,
    [peer, JSON.stringify(sample.applied), sample.place, sample.merged],
  );
  // Of nothing, or not of everything that it is there for: then it is measured first.
  if (rowCount === 0) return;
  await sessions.replication.query(
    `SELECT pg_catalog.pg_replication_slot_advance(s.slot_name, $2::pg_lsn) FROM pg_catalog.pg_replication_slots s
      WHERE s.slot_name = $1 AND s.confirmed_flush_lsn < $2::pg_lsn`,
    [relaySlotName(peer), sample.place],
  );
}

/**
 * What `peer` may lack of a third and our slot for it does not hold, in words; null: nothing. A slot that was just made holds
 * nothing of before; until its reader has that, this data center must not be the only other one that is left. `there`: the peer's
 * database, as its agent.
 */
export async function relayGap(agent: Queryable, peer: DataCenterName, there: Queryable): Promise<string | null> {
  const { rows } = await agent.query<{ publisher: DataCenterName; stream: string; from: Lsn }>(
    'SELECT publisher, stream, complete_from::text AS "from" FROM lanekeeper.relay WHERE peer = $1 ORDER BY 1, 2',
    [peer],
  );
  const publishers = [...new Set(rows.map(({ publisher }) => publisher))];
  const tails = await readTails(there, publishers);
  for (const { publisher, stream, from } of rows) {
    const tail = tails.find((one) => one.publisher === publisher && one.stream === stream)?.tail;
    // One that does not subscribe to it was seeded when that was gone.
    if (tail !== undefined && comparePositions(tail, from) < 0) {
      return `${peer} has ${publisher}'s ${stream} stream up to ${tail}, and what is kept for it here begins at ${from}`;
    }
  }
  return null;
}

export type RelaySlotState = {
  readonly peer: DataCenterName;
  readonly slot: string;
  readonly exists: boolean;
  /** `reserved`, `extended`, `unreserved`, `lost`. */
  readonly walStatus: string | null;
  readonly confirmedLsn: Lsn | null;
  /** Kept on disk for it. */
  readonly retainedBytes: number | null;
  /** What may still be written before the server gives it up (`max_slot_wal_keep_size`); null without a limit. */
  readonly spareBytes: number | null;
  /** From where on of each log it is complete, by publisher; null: not measured yet. */
  readonly completeFrom: Readonly<Record<DataCenterName, { readonly homed: Lsn; readonly rest: Lsn }>>;
};

/** As any role that may read the schema `lanekeeper` and the slots: the owner, or the agent. */
export async function readRelaySlots(
  client: Queryable,
  configuration: Configuration,
): Promise<readonly RelaySlotState[]> {
  if (!hasRelays(configuration)) return [];
  const peers = peersOf(configuration).map((peer) => ({ peer, slot: relaySlotName(peer) }));
  const { rows } = await client.query<RelaySlotState>(
    `SELECT w.peer, w.slot, s.slot_name IS NOT NULL AS exists, s.wal_status AS "walStatus",
        s.confirmed_flush_lsn::text AS "confirmedLsn",
        pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::float8 AS "retainedBytes",
        s.safe_wal_size::float8 AS "spareBytes",
        coalesce((SELECT json_object_agg(c.publisher, c.places) FROM (
          SELECT r.publisher, json_object_agg(r.stream, r.complete_from::text) AS places FROM lanekeeper.relay r
            WHERE r.peer = w.peer GROUP BY r.publisher HAVING count(*) = 2) c), '{}') AS "completeFrom"
      FROM jsonb_to_recordset($1::jsonb) AS w(peer text, slot text)
      LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = w.slot AND s.database = current_database()`,
    [JSON.stringify(peers)],
  );
  return rows;
}

function durably(agent: Queryable, sql: string, values: readonly unknown[]) {
  return committedHere(agent, () => agent.query(sql, values));
}
