/** How far each peer has come with what is written here, as this server's walsenders know it. */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';
import { slotName } from '../streams/names.ts';
import { membersIn, readStandbyNames } from './names.ts';

export type PeerReplication = {
  /** `pg_stat_replication.state`: `streaming` when it is close behind; `absent` when nobody is connected. */
  readonly state: string;
  /** `sync`: commits wait for it; `potential` and `async`: they do not. */
  readonly syncState: 'sync' | 'potential' | 'quorum' | 'async';
  /** Its walsender has read the present list of standbys, and does not release anybody by an older one. */
  readonly listRead: boolean;
  /**
   * Milliseconds since it was last heard of, counted by this process: the peer's own clock may be wrong. Less than the
   * truth by up to the pause between two readings, and 0 in the first one.
   */
  readonly replyAgeMs: number;
  /** Null when nobody is connected, or nothing was said yet. */
  readonly sentLsn: string | null;
  readonly flushedLsn: string | null;
};

export type ReplicationReport = {
  /** How far this server's own log was flushed. */
  readonly currentLsn: string;
  /** `synchronous_standby_names` as this session sees it. */
  readonly standbyNames: string;
  /** As `lanekeeper.sync_state()` has it: how many a `remote` commit waits for. */
  readonly members: number;
  readonly view: number;
  /** Whom a `remote` commit waits for, or the application after it: what the list and the number both say. */
  readonly waitsFor: readonly DataCenterName[];
  readonly peers: Readonly<Record<DataCenterName, PeerReplication>>;
  /** Standbys of this data center's own, by the names that were asked for; without the server's own (`cluster_name`). */
  readonly standbys: Readonly<Record<string, PeerReplication>>;
};

/** Replies that were seen, and when. Belongs to one agent; forgets nothing that matters when it is new. */
export type ReplyMemory = Map<string, { readonly reply: string; readonly seenMs: number }>;

type WalsenderRow = {
  name: string;
  state: string;
  syncState: PeerReplication['syncState'];
  priority: number;
  reply: string | null;
  sent: string | null;
  flushed: string | null;
};

/**
 * Reads the homed streams of `peers`. `nowMs` is any clock that never goes back, and the same from call to call. The role
 * needs `pg_monitor`.
 */
export async function readReplication(
  client: Queryable,
  peers: readonly DataCenterName[],
  memory: ReplyMemory,
  nowMs: number,
  standbys: readonly string[] = [],
): Promise<ReplicationReport> {
  const { rows } = await client.query<{
    currentLsn: string;
    standbyNames: string;
    clusterName: string;
    members: number;
    view: number;
    awaited: readonly string[];
    walsenders: readonly WalsenderRow[];
  }>(
    `SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS "currentLsn", s.members, s.view::float8 AS view,
        current_setting('synchronous_standby_names') AS "standbyNames", current_setting('cluster_name') AS "clusterName",
        (SELECT coalesce(json_agg(p.slot), '[]') FROM lanekeeper.sync_peer p) AS awaited,
        (SELECT coalesce(json_agg(json_build_object('name', application_name, 'state', state, 'syncState', sync_state,
            'priority', sync_priority, 'reply', reply_time::text, 'sent', sent_lsn::text, 'flushed', flush_lsn::text)), '[]')
          FROM pg_catalog.pg_stat_replication WHERE application_name = ANY ($1)) AS walsenders
      FROM lanekeeper.sync_state() s`,
    [[...peers.map((peer) => slotName(peer, 'homed')), ...standbys]],
  );
  const row = rows[0];
  if (row === undefined) throw new Error('lanekeeper.sync_state() has no row');
  const { walsenders, awaited, clusterName, ...rest } = row;
  const listed = membersIn(row.standbyNames) ?? [];
  // A number that the list does not bear out is believed by nobody (`check_commit`).
  const waitedFor = row.members === 0 ? awaited : listed.length === row.members ? listed : [];
  const places = readStandbyNames(row.standbyNames)?.names ?? [];
  const replicationOf = (name: string): PeerReplication => {
    const sender = walsenders.find((one) => one.name === name);
    return { ...judge(sender, places.indexOf(name) + 1), replyAgeMs: ageOf(name, sender, memory, nowMs) };
  };
  return {
    ...rest,
    waitsFor: peers.filter((peer) => waitedFor.includes(slotName(peer, 'homed'))),
    peers: Object.fromEntries(peers.map((peer) => [peer, replicationOf(slotName(peer, 'homed'))])),
    standbys: Object.fromEntries(
      standbys.filter((name) => name !== clusterName).map((name) => [name, replicationOf(name)]),
    ),
  };
}

function judge(sender: WalsenderRow | undefined, place: number): Omit<PeerReplication, 'replyAgeMs'> {
  if (sender === undefined) {
    return { state: 'absent', syncState: 'async', listRead: false, sentLsn: null, flushedLsn: null };
  }
  return {
    state: sender.state,
    syncState: sender.syncState,
    listRead: sender.priority === place,
    sentLsn: sender.sent,
    flushedLsn: sender.flushed,
  };
}

function ageOf(name: string, sender: WalsenderRow | undefined, memory: ReplyMemory, nowMs: number): number {
  const known = memory.get(name);
  const reply = sender?.reply ?? null;
  if (known !== undefined && (reply === null || reply === known.reply)) return nowMs - known.seenMs;
  memory.set(name, { reply: reply ?? '', seenMs: nowMs });
  return 0;
}

export type SynchronousResult =
  | { readonly kind: 'synchronous' }
  /** Whom commits cannot be said to wait for yet, and why. */
  | { readonly kind: 'late'; readonly peer: DataCenterName; readonly reason: string };

const pollMs = 20;

/**
 * Waits until every commit from now on waits for all of `members`, and they hold all that was committed before: their
 * walsenders have read the present list, everybody else's has read that he is not on it, and each member has flushed what
 * was current when this was called. Call it between `setStandbyNames` and `setSyncMembers`.
 */
export async function waitUntilSynchronous(
  client: Queryable,
  members: readonly DataCenterName[],
  peers: readonly DataCenterName[],
  withinMs: number,
  standbys: readonly string[] = [],
): Promise<SynchronousResult> {
  const deadlineMs = performance.now() + withinMs;
  const memory: ReplyMemory = new Map();
  let target: string | null = null;
  for (;;) {
    const report = await readReplication(client, peers, memory, performance.now(), standbys);
    target ??= report.currentLsn;
    const late = firstLate(report, members, target);
    if (late === null) return { kind: 'synchronous' };
    if (performance.now() + pollMs > deadlineMs) return { kind: 'late', ...late };
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

function firstLate(
  report: ReplicationReport,
  members: readonly DataCenterName[],
  target: string,
): { readonly peer: DataCenterName; readonly reason: string } | null {
  // One of our own releases waiters as well, by the list that it has read.
  for (const [name, { state, listRead }] of Object.entries(report.standbys))
    if (state !== 'absent' && !listRead) return { peer: name, reason: 'its walsender still goes by the list before' };
  for (const [peer, { state, syncState, listRead, flushedLsn }] of Object.entries(report.peers)) {
    if (!members.includes(peer)) {
      if (state !== 'absent' && !listRead) return { peer, reason: 'its walsender still goes by the list before' };
      continue;
    }
    if (state !== 'streaming') return { peer, reason: state === 'absent' ? 'it does not read' : `it is in ${state}` };
    if (!listRead) return { peer, reason: 'its walsender still goes by the list before' };
    if (syncState !== 'sync') return { peer, reason: `PostgreSQL counts it as ${syncState}` };
    if (flushedLsn === null || comparePositions(flushedLsn, target) < 0) {
      return { peer, reason: `it has ${flushedLsn ?? 'nothing'} and not yet ${target}` };
    }
  }
  return null;
}
