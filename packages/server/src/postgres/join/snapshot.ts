/**
 * The moment that a data center is seeded as of: a snapshot of the source, and for every other data center the position of its log
 * up to which the source had applied it then.
 *
 * 1. Slots first, at all others: from there on nothing of theirs is lost to the one that joins.
 * 2. The source has applied what came before those slots. Then its streams stand still, so that what it has of the others does not
 *    change while the slot is made that exports the snapshot [M].
 * 3. They stand still for a second at most. A slot waits for every transaction that runs: where one runs for long, the streams go on,
 *    and it is tried again when that has ended.
 * 4. Whoever disables streams has written it down and holds the lock of those who change them: when that lock is free, they are
 *    enabled again by the next run, or by the agent.
 */
import type { DataCenterName } from 'lanekeeper/model';
import { Client } from 'pg';
import { releaseApplyLock, takeApplyLock } from '../apply-lock.ts';
import { waitUntilConfirmed } from '../deeds/successions.ts';
import { quoteName } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { dropSlot } from '../streams/drop.ts';
import { type StreamName, slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { resumePaused } from '../streams/paused.ts';
import { createSlot } from '../streams/slots.ts';
import { databaseProblem } from '../transaction.ts';
import { type JoinSides, type Sessions, Stopped } from './sides.ts';

export type Positions = Readonly<Record<DataCenterName, Readonly<Record<StreamName, string>>>>;

export type Moment = {
  /** For `SET TRANSACTION SNAPSHOT` at the source, until `close`. */
  readonly snapshot: string;
  /** By data center, the source among them: what the snapshot holds of its log. */
  readonly positions: Positions;
  /** For how long nothing was applied at the source; null: it reads from nobody. */
  readonly pausedMs: number | null;
  close(): Promise<void>;
};

export type MomentOptions = {
  /** The streams of the source stand still for at most so long. Default 1000. */
  readonly pauseMaxMs?: number;
  /** For a moment without long transactions. Default: an hour. */
  readonly withinMs?: number;
  /** What is being waited for. */
  readonly onWait?: (what: string) => void;
};

/** Of a pause: what is left for seeing workers come back. */
const resumeShare = 0.25;
const pollMs = 25;
/** After streams had to go on, so that they catch up. */
const againMs = 500;
const applicationName = 'lanekeeper join';

export async function takeMoment(sessions: Sessions, sides: JoinSides, options: MomentOptions = {}): Promise<Moment> {
  const { target, source, peers = [] } = sides;
  const here = target.configuration.here;
  const there = source.configuration.here;
  const { withinMs = 3_600_000, pauseMaxMs = 1_000, onWait = () => {} } = options;
  for (const peer of peers) await makeSlots(sessions, sides, peer.configuration.here, onWait);
  const agent = await sessions.get('source', 'agent');
  const replication = await sessions.get('source', 'replication');
  for (const stream of streamNames) await dropSlot(replication, slotName(here, stream));
  await resumePaused(agent);
  const names = peers.flatMap(({ configuration }) =>
    streamNames.map((stream) => subscriptionName(configuration.here, stream)),
  );
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    await awaitQuiet(agent, pauseMaxMs, names.length > 0 ? deadlineMs : 0, onWait);
    const exporter = await twinOf(replication);
    let keep = false;
    try {
      const pause = names.length === 0 ? null : await pauseStreams(sessions, names, pauseMaxMs / 2);
      if (pause === 'busy') {
        onWait('a transaction that is being applied at the source');
        if (performance.now() > deadlineMs) break;
        await new Promise((resolve) => setTimeout(resolve, againMs));
        continue;
      }
      try {
        const progress = await readProgress(
          agent,
          peers.map(({ configuration }) => configuration.here),
        );
        const limitMs = pause === null ? null : pauseMaxMs * (1 - resumeShare) - (performance.now() - pause.beganMs);
        const made = await exportSnapshot(exporter, replication, slotName(here, 'homed'), limitMs);
        const pausedMs = pause === null ? null : await pause.resume();
        if (made === 'waited') {
          onWait('a transaction at the source that runs for long');
          if (performance.now() > deadlineMs) break;
          await new Promise((resolve) => setTimeout(resolve, againMs));
          continue;
        }
        // The same place in the log, so one snapshot serves both streams.
        await replication.query('SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2)', [
          slotName(here, 'homed'),
          slotName(here, 'rest'),
        ]);
        const own = { homed: made.position, rest: made.position };
        const positions = { ...(await beyondSlots(sessions, sides, progress)), [there]: own };
        keep = true;
        return { snapshot: made.snapshot, positions, pausedMs, close: () => exporter.end() };
      } finally {
        await pause?.resume();
      }
    } finally {
      if (!keep) await exporter.end().catch(() => {});
    }
  }
  throw new Stopped(
    `transactions at ${there} run for so long that its streams would have to stand still for more than ${pauseMaxMs} ms`,
    'Run it again when they have ended: `SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start` names them.',
  );
}

/** At a peer; and waits until the source has applied everything before them. */
async function makeSlots(
  sessions: Sessions,
  { target, source, peers = [] }: JoinSides,
  peer: DataCenterName,
  onWait: (what: string) => void,
): Promise<void> {
  const side = peers.find(({ configuration }) => configuration.here === peer);
  if (side === undefined) throw new TypeError(`${peer} is no side of this`);
  const replication = await sessions.of(side, 'replication');
  const agent = await sessions.of(side, 'agent');
  for (const stream of streamNames) {
    const name = slotName(target.configuration.here, stream);
    await dropSlot(replication, name);
    onWait(`transactions that run in ${peer}`);
    await createSlot(replication, name);
    const position = await confirmedBy(agent, name);
    onWait(`${source.configuration.here} to apply what ${peer} had written`);
    if (!(await waitUntilConfirmed(agent, source.configuration.here, stream, position, 10 * 60_000)))
      throw new Stopped(`the ${stream} stream from ${peer} to ${source.configuration.here} does not come on`);
  }
}

async function confirmedBy(client: Queryable, slot: string): Promise<string> {
  const { rows } = await client.query<{ lsn: string }>(
    'SELECT confirmed_flush_lsn::text AS lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  if (rows[0] === undefined) throw new Stopped(`the slot ${slot} is gone`);
  return rows[0].lsn;
}

/** Until no transaction that writes has run for longer than that, or the deadline has passed. */
async function awaitQuiet(
  client: Queryable,
  longMs: number,
  deadlineMs: number,
  onWait: (what: string) => void,
): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ pid: number; application: string; seconds: number }>(
      `SELECT pid, coalesce(application_name, '') AS application,
          extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds FROM pg_catalog.pg_stat_activity
        WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - make_interval(secs => $1)
        ORDER BY xact_start LIMIT 1`,
      [longMs / 1000],
    );
    const [oldest] = rows;
    if (oldest === undefined) return;
    onWait(`process ${oldest.pid} (${oldest.application}), whose transaction runs for ${Math.round(oldest.seconds)} s`);
    if (performance.now() > deadlineMs) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

type Pause = {
  readonly beganMs: number;
  /** Returns for how long nothing was applied: until every worker was seen again. */
  resume(): Promise<number>;
};

/** Sees the workers gone. `busy`: one applies a transaction that does not end. */
async function pauseStreams(sessions: Sessions, names: readonly string[], withinMs: number): Promise<Pause | 'busy'> {
  const client = await sessions.get('source', 'agent');
  const lock = await takeApplyLock(client, 60_000, () => {}, 'streams');
  if (lock.kind === 'held') throw new Stopped('somebody else changes the streams of the source all the time');
  const beganMs = performance.now();
  let pausedMs: number | null = null;
  const resume = async () => {
    if (pausedMs !== null) return pausedMs;
    pausedMs = performance.now() - beganMs;
    try {
      await resumePaused(client, true);
    } finally {
      await releaseApplyLock(client, 'streams');
    }
    while ((await readWorkers(client, names)) < names.length && performance.now() - beganMs < 30_000) await sleep();
    pausedMs = performance.now() - beganMs;
    return pausedMs;
  };
  try {
    const disable = names.map((name) => `ALTER SUBSCRIPTION ${quoteName(name)} DISABLE`).join('; ');
    const note = names.map((name) => `'${name}'`).join(', ');
    await client.query(
      `BEGIN; INSERT INTO lanekeeper.paused (subscription) SELECT unnest(ARRAY[${note}]) ON CONFLICT DO NOTHING; ${disable}; COMMIT`,
    );
    while ((await readWorkers(client, names)) > 0) {
      if (performance.now() - beganMs > withinMs) {
        await resume();
        return 'busy';
      }
      await sleep();
    }
    return { beganMs, resume };
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    await resume().catch(() => {});
    throw error;
  }
}

const sleep = () => new Promise((resolve) => setTimeout(resolve, pollMs));

async function readWorkers(client: Queryable, names: readonly string[]): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    'SELECT count(DISTINCT subname)::int AS n FROM pg_catalog.pg_stat_subscription WHERE subname = ANY ($1) AND pid IS NOT NULL',
    [names],
  );
  return rows[0]?.n ?? 0;
}

async function readProgress(client: Queryable, peers: readonly DataCenterName[]): Promise<Positions> {
  const names = peers.flatMap((peer) => streamNames.map((stream) => subscriptionName(peer, stream)));
  const { rows } = await client.query<{ name: string; applied: string | null }>(
    `SELECT s.subname AS name, pg_catalog.pg_replication_origin_progress('pg_' || s.oid, true)::text AS applied
      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = ANY ($1)`,
    [names],
  );
  const of = (peer: DataCenterName, stream: StreamName) =>
    rows.find(({ name }) => name === subscriptionName(peer, stream))?.applied ?? '0/0';
  return Object.fromEntries(peers.map((peer) => [peer, { homed: of(peer, 'homed'), rest: of(peer, 'rest') }]));
}

/** `waited`: a transaction runs for longer than `withinMs`. The slot stays; the snapshot as long as `exporter` does nothing else. */
async function exportSnapshot(
  exporter: Client,
  replication: Client,
  slot: string,
  withinMs: number | null,
): Promise<{ readonly snapshot: string; readonly position: string } | 'waited'> {
  const pid = (exporter as unknown as { readonly processID: number }).processID;
  let cancelled = false;
  const timer =
    withinMs === null
      ? undefined
      : setTimeout(
          () => {
            cancelled = true;
            void replication.query('SELECT pg_catalog.pg_cancel_backend($1)', [pid]).catch(() => {});
          },
          Math.max(1, withinMs),
        );
  try {
    const { rows } = await exporter.query<{ snapshot_name: string; consistent_point: string }>(
      `CREATE_REPLICATION_SLOT ${quoteName(slot)} LOGICAL pgoutput (SNAPSHOT 'export')`,
    );
    const [made] = rows;
    if (made === undefined) throw new Error('the slot was made without a snapshot');
    return { snapshot: made.snapshot_name, position: made.consistent_point };
  } catch (error) {
    if (cancelled && databaseProblem(error)?.code === '57014') return 'waited';
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** A connection that speaks the replication protocol, to the same database by the same role. */
async function twinOf(client: Client): Promise<Client> {
  const { host, port, user, database } = client;
  const { password, ssl } = client as unknown as { readonly password: string; readonly ssl: boolean | object };
  const config = { host, port, user, database, password, ssl, application_name: applicationName, keepAlive: true };
  const twin = new Client({ ...config, replication: 'database' } as ConstructorParameters<typeof Client>[0]);
  twin.on('error', () => {});
  await twin.connect();
  return twin;
}

/** Where the source had nothing to apply since, what it holds reaches up to the slot. The slots are put there. */
async function beyondSlots(
  sessions: Sessions,
  { target, peers = [] }: JoinSides,
  progress: Positions,
): Promise<Positions> {
  const positions: Record<DataCenterName, Readonly<Record<StreamName, string>>> = {};
  for (const side of peers) {
    const peer = side.configuration.here;
    const replication = await sessions.of(side, 'replication');
    const at: Record<StreamName, string> = { homed: '0/0', rest: '0/0' };
    for (const stream of streamNames) {
      const { rows } = await replication.query<{ lsn: string }>(
        `SELECT greatest(confirmed_flush_lsn, $2::pg_lsn)::text AS lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`,
        [slotName(target.configuration.here, stream), progress[peer]?.[stream] ?? '0/0'],
      );
      if (rows[0] === undefined) throw new Stopped(`a slot that was just made in ${peer} is gone`);
      at[stream] = rows[0].lsn;
    }
    positions[peer] = at;
  }
  return positions;
}
