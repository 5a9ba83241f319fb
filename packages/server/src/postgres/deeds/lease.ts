/** The right to write, as this database holds it, and what must be true before it may. */
import {
  comparePositions,
  type DataCenterName,
  type Incarnation,
  type LeaseCredential,
  type Positions,
  type Tail,
} from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';
import { type StreamName, slotName, streamNames, subscriptionName } from '../streams/names.ts';

export type ClockReading = {
  /** Milliseconds since 1970 by the server's clock. */
  readonly wallMs: number;
  /** The machine's uptime; null where it may not be read. */
  readonly uptimeMs: number | null;
};

export async function readClock(client: Queryable): Promise<ClockReading> {
  const { rows } = await client.query<ClockReading>(
    'SELECT wall_ms::float8 AS "wallMs", uptime_ms::float8 AS "uptimeMs" FROM lanekeeper.clock()',
  );
  return rows[0] as ClockReading;
}

export type ProofReading = {
  readonly incarnation: Incarnation;
  readonly positions: Positions;
  /** Triggers of the fence that are missing or disabled, and slots that peers have yet to make. */
  readonly fenceProblems: readonly { readonly relation: string; readonly trigger: string; readonly problem: string }[];
  readonly maxPreparedTransactions: number;
  readonly inRecovery: boolean;
  /** Writes pass the fence at this moment. */
  readonly holdsLease: boolean;
  /** Whose database this is, as `cluster/dc`; null before the first apply. */
  readonly installation: string | null;
  /** Taken over, and what is missing here of their logs can be had from nobody. */
  readonly lost: readonly DataCenterName[];
};

/** Whether the role may read how far subscriptions have durably applied. A superuser has to allow it. */
export async function mayReadOrigins(client: Queryable): Promise<boolean> {
  const { rows } = await client.query<{ may: boolean }>(
    `SELECT pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE') AS may`,
  );
  return rows[0]?.may === true;
}

/** `subscriptions`: the names of ours, by the peer they read from. */
export async function readProof(
  client: Queryable,
  subscriptions: Readonly<Record<DataCenterName, readonly string[]>>,
  withOrigins: boolean,
): Promise<ProofReading> {
  const applied = withOrigins
    ? `nullif(pg_catalog.pg_replication_origin_progress('pg_' || s.oid, true), '0/0')::text`
    : 'NULL';
  const { rows } = await client.query<{
    systemIdentifier: string;
    timeline: number;
    generation: number;
    log: string;
    fenceProblems: ProofReading['fenceProblems'];
    maxPreparedTransactions: number;
    inRecovery: boolean;
    holdsLease: boolean;
    installation: string | null;
    progress: readonly { name: string; received: string | null; applied: string | null }[];
    frozen: Readonly<Record<DataCenterName, Tail>> | null;
    lost: readonly DataCenterName[];
  }>(
    `SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS "systemIdentifier",
        ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline,
        (SELECT g.generation FROM lanekeeper.generation g) AS generation,
        pg_catalog.pg_current_wal_flush_lsn()::text AS log,
        (SELECT coalesce(json_agg(json_build_object('relation', relation, 'trigger', trigger_name, 'problem', problem)), '[]')
          FROM lanekeeper.fence_proof()) AS "fenceProblems",
        current_setting('max_prepared_transactions')::integer AS "maxPreparedTransactions",
        pg_catalog.pg_is_in_recovery() AS "inRecovery",
        coalesce(lanekeeper.lease_left_ms(), 0) > 0 AS "holdsLease",
        (SELECT i.cluster || '/' || i.dc FROM lanekeeper.installation i) AS installation,
        (SELECT coalesce(json_agg(json_build_object('name', s.subname, 'received', w.received_lsn, 'applied', ${applied})), '[]')
          FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
          LEFT JOIN pg_catalog.pg_stat_subscription w ON w.subid = s.oid AND w.relid IS NULL AND w.leader_pid IS NULL
          WHERE d.datname = current_database()) AS progress,
        (SELECT json_object_agg(f.publisher, json_build_object('term', f.term, 'homed', f.homed::text, 'rest', f.rest::text))
          FROM lanekeeper.frozen f WHERE f.homed IS NOT NULL AND f.rest IS NOT NULL) AS frozen,
        (SELECT coalesce(json_agg(f.publisher), '[]') FROM lanekeeper.frozen f WHERE f.lost) AS lost`,
  );
  const row = rows[0];
  if (row === undefined) throw new Error('the proof has no row');
  const { systemIdentifier, timeline, generation, log, progress, frozen, ...rest } = row;
  const furthest = (which: 'received' | 'applied', stream?: StreamName) => {
    const positions: Record<DataCenterName, string> = {};
    for (const [peer, all] of Object.entries(subscriptions)) {
      const names = stream === undefined ? all : all.filter((name) => name === subscriptionName(peer, stream));
      const known = progress.flatMap((one) => (names.includes(one.name) ? (one[which] ?? []) : []));
      const last = known.toSorted((a, b) => comparePositions(a, b)).at(-1);
      if (last !== undefined) positions[peer] = last;
    }
    return positions;
  };
  const slots = [
    ...(await readMissingSlots(client, Object.keys(subscriptions))),
    ...(await readUnfinishedJoin(client)),
  ];
  return {
    ...rest,
    fenceProblems: [...rest.fenceProblems, ...slots],
    incarnation: { systemIdentifier, timeline, generation },
    positions: {
      log,
      received: furthest('received'),
      applied: furthest('applied'),
      ...(withOrigins ? { homed: furthest('applied', 'homed'), rest: furthest('applied', 'rest') } : {}),
      ...(frozen === null ? {} : { frozen: withOrigins ? appliedTails(frozen, progress) : frozen }),
    },
  };
}

/**
 * Where the last transaction of each ended log ends that left something here (`readTails`): what its worker had come past besides held
 * nothing. One that has no stream from there was seeded since, and has what is written down.
 */
function appliedTails(
  frozen: Readonly<Record<DataCenterName, Tail>>,
  progress: readonly { readonly name: string; readonly applied: string | null }[],
): Readonly<Record<DataCenterName, Tail>> {
  const least = (publisher: DataCenterName, stream: StreamName, tail: string) => {
    const read = progress.find(({ name }) => name === subscriptionName(publisher, stream));
    if (read === undefined) return tail;
    const applied = read.applied ?? '0/0';
    return comparePositions(applied, tail) < 0 ? applied : tail;
  };
  return Object.fromEntries(
    Object.entries(frozen).map(([publisher, { term, homed, rest }]) => [
      publisher,
      { term, homed: least(publisher, 'homed', homed), rest: least(publisher, 'rest', rest) },
    ]),
  );
}

/** What a join has not compared yet may lack anything. */
async function readUnfinishedJoin(client: Queryable): Promise<ProofReading['fenceProblems']> {
  const { rows } = await client.query<{ stage: string }>(
    `SELECT stage FROM lanekeeper.joining WHERE dc = lanekeeper.dc() AND stage NOT IN ('begun', 'kept')`,
  );
  const problem = 'not finished: run `lanekeeper join` again';
  return rows.map(({ stage }) => ({ relation: 'the join of this data center', trigger: stage, problem }));
}

/**
 * What is written before a peer has its slots never reaches it. A peer that has read this data center before, and whose
 * slots were dropped since, is another matter: that is red in `status`, and for a person. So is one that was taken over: it
 * is brought in line or seeded before it reads on. One that has not joined yet has nothing to lose.
 */
async function readMissingSlots(
  client: Queryable,
  peers: readonly DataCenterName[],
): Promise<ProofReading['fenceProblems']> {
  const wanted = peers.flatMap((peer) => streamNames.map((stream) => ({ peer, slot: slotName(peer, stream) })));
  const { rows } = await client.query<{ slot: string }>(
    `SELECT w.slot FROM jsonb_to_recordset($1) AS w(peer text, slot text)
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
          WHERE s.slot_name = w.slot AND s.database = current_database())
        AND NOT EXISTS (SELECT FROM lanekeeper.subscribed r WHERE r.publisher = lanekeeper.dc() AND r.subscriber = w.peer)
        AND NOT EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = w.peer)
        AND (NOT EXISTS (SELECT FROM lanekeeper.member) OR EXISTS (SELECT FROM lanekeeper.member m WHERE m.dc = w.peer))`,
    [JSON.stringify(wanted)],
  );
  return rows.map(({ slot }) => ({ relation: 'the list of slots', trigger: slot, problem: 'missing' }));
}

/**
 * Grants until `lease` (by the server's clocks), or with null takes the right to write back. What the store granted is
 * kept with it, for the agent that leads next. On the session that holds the lead, so that an agent which lost it cannot.
 */
export async function writeLease(
  client: Queryable,
  instance: string,
  lease: { readonly validUntilMs: number; readonly validUntilUptimeMs: number | null } | null,
  credential: LeaseCredential | null,
): Promise<void> {
  await client.query(
    `WITH kept AS (
      UPDATE lanekeeper.leader SET lease_holder = $4, lease_revision = $5, at = clock_timestamp() WHERE instance = $3)
    SELECT lanekeeper.set_lease($1, $2)`,
    [
      lease?.validUntilMs ?? 1,
      lease?.validUntilUptimeMs ?? null,
      instance,
      credential?.holder ?? null,
      credential?.revision ?? null,
    ],
  );
}
