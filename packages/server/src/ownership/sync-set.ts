/**
 * The sync set: which peers hold every write that this dc acknowledged as `remote` (D1, D2).
 *
 *   grow:   the database waits for the peer first ── then the store records it
 *   shrink: the store records the smaller set first ── then the database stops waiting
 *
 * So the set in the store, from which a successor is taken, never exceeds what the database waits for.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { reasonsNotToAccept } from './gate.ts';
import type { Sync } from './handover-state.ts';
import { leaseLeftMs, nextRound, type Turn } from './turn.ts';

const againMs = 500;
const settingWithinMs = 15_000;

export function beginSync(nowMs: number): Sync {
  return { links: new Map(), waits: [], recorded: [], setting: null, nextMs: nowMs };
}

export function onReplication(turn: Turn, event: Extract<OwnershipEvent, { kind: 'replication' }>): void {
  const links = new Map(turn.state.sync.links);
  for (const [peer, link] of Object.entries(event.links)) {
    const before = links.get(peer)?.goodMs ?? Number.NEGATIVE_INFINITY;
    const goodMs = link.streaming ? Math.max(before, turn.nowMs - link.replyAgeMs) : before;
    links.set(peer, { ...link, goodMs });
  }
  set(turn, { links });
}

/** D1: what may be recorded now: waited for, and heard of within `peerTimeoutMs`. */
export function inSyncToClaim(turn: Turn): readonly DataCenterName[] {
  return turn.state.sync.waits.filter((peer) => isWell(turn, peer));
}

/** The store's answer to a claim. */
export function onRecorded(turn: Turn, recorded: readonly DataCenterName[]): void {
  set(turn, { recorded });
}

/** True when the lease should be renewed at once, to record a smaller or a larger set. */
export function wantsRenewal(turn: Turn): boolean {
  const { recorded } = turn.state.sync;
  const claim = inSyncToClaim(turn);
  return claim.length !== recorded.length || claim.some((peer) => !recorded.includes(peer));
}

export function onSyncTick(turn: Turn): void {
  const { sync, leaving, lease } = turn.state;
  if (sync.setting !== null) {
    if (turn.nowMs >= sync.setting.deadlineMs) set(turn, { setting: null, nextMs: turn.nowMs + againMs });
    return;
  }
  if (
    lease.phase !== 'held' ||
    turn.nowMs < sync.nextMs ||
    leaving !== 'no' ||
    leaseLeftMs(turn.state, turn.nowMs) === 0
  )
    return;
  // D2: a peer is let go of only when the store has forgotten it.
  const kept = sync.waits.filter((peer) => sync.recorded.includes(peer) || isWell(turn, peer));
  if (kept.length < sync.waits.length) return setMembers(turn, kept, false);
  const joining = turn.state.settings.peers.find((peer) => !sync.waits.includes(peer) && mayJoin(turn, peer));
  if (joining !== undefined) setMembers(turn, [...sync.waits, joining], true);
}

export function onSyncSet(turn: Turn, event: Extract<OwnershipEvent, { kind: 'sync-set' }>): void {
  const { setting } = turn.state.sync;
  if (setting === null || setting.round !== event.round) return;
  set(turn, {
    setting: null,
    waits: event.ok ? setting.members : turn.state.sync.waits,
    nextMs: turn.nowMs + (event.ok ? 0 : againMs),
  });
}

function isWell(turn: Turn, peer: DataCenterName): boolean {
  const link = turn.state.sync.links.get(peer);
  return link !== undefined && turn.nowMs - link.goodMs <= turn.state.settings.peerTimeoutMs;
}

function mayJoin(turn: Turn, peer: DataCenterName): boolean {
  const link = turn.state.sync.links.get(peer);
  if (link === undefined || !link.streaming || !link.caughtUp || !isWell(turn, peer)) return false;
  const record = turn.state.view.peers.get(peer)?.record;
  return record?.takenOver === null && reasonsNotToAccept(turn.state, peer).length === 0;
}

function setMembers(turn: Turn, members: readonly DataCenterName[], grows: boolean): void {
  const round = nextRound(turn);
  set(turn, { setting: { round, members, deadlineMs: turn.nowMs + settingWithinMs } });
  turn.actions.push({ kind: 'set-sync', round, members, grows });
}

function set(turn: Turn, change: Partial<Sync>): void {
  turn.state = { ...turn.state, sync: { ...turn.state.sync, ...change } };
}
