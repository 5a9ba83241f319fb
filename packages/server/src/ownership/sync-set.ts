/**
 * The sync set: which peers hold every write that this dc acknowledged as `remote` (D1, D2).
 *
 *   grow:   the database waits for the peer first ── then the store records it
 *   shrink: the store records the smaller set first ── then the database stops waiting
 *
 * So the set in the store, from which a successor is taken, never exceeds what the database waits for. What an agent before
 * this one, or a change that failed, has left in the database is not known: until it was set anew, nobody is claimed that
 * may be missing there, and it is set anew also when nobody can join, since writers may be waiting for one who is gone.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { isIncomplete, reasonsNotToAccept } from './gate.ts';
import type { Sync } from './handover-state.ts';
import { leaseLeftMs, nextRound, type Turn } from './turn.ts';

const againMs = 500;
const settingWithinMs = 15_000;

export function beginSync(nowMs: number): Sync {
  return { links: new Map(), waits: [], unsettledMs: nowMs, recorded: [], claimed: [], setting: null, nextMs: nowMs };
}

export function onReplication(turn: Turn, event: Extract<OwnershipEvent, { kind: 'replication' }>): void {
  const links = new Map(turn.state.sync.links);
  for (const [peer, link] of Object.entries(event.links)) {
    const before = links.get(peer)?.goodMs ?? Number.NEGATIVE_INFINITY;
    const goodMs = link.streaming ? Math.max(before, turn.nowMs - link.replyAgeMs) : before;
    links.set(peer, { ...link, goodMs });
  }
  set(turn, { links });
  const { waits, setting, unsettledMs } = turn.state.sync;
  const { waitsFor } = event;
  if (waitsFor === undefined || setting !== null || unsettledMs !== null) return;
  // D1: somebody else has changed it, an operator or an agent that led before: what it does not wait for is not claimed.
  const same = waitsFor.length === waits.length && waits.every((peer) => waitsFor.includes(peer));
  if (!same) unsettled(turn, waitsFor);
}

/** D1: what may be recorded now: waited for, not about to be let go of, and heard of within `peerTimeoutMs`. */
export function inSyncToClaim(turn: Turn): readonly DataCenterName[] {
  const { waits, setting } = turn.state.sync;
  return waits.filter((peer) => isWell(turn, peer) && setting?.members.includes(peer) !== false);
}

/** A claim is on its way, and may arrive however late. */
export function onClaimed(turn: Turn, claim: readonly DataCenterName[]): void {
  set(turn, { claimed: [...new Set([...turn.state.sync.claimed, ...claim])] });
}

/** The store's answer to a claim. With it the revision went on, so that no earlier claim counts any more. */
export function onRecorded(turn: Turn, recorded: readonly DataCenterName[]): void {
  set(turn, { recorded, claimed: [] });
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
    if (turn.nowMs >= sync.setting.deadlineMs) unsettled(turn, sync.setting.members);
    return;
  }
  if (
    lease.phase !== 'held' ||
    turn.nowMs < sync.nextMs ||
    leaving !== 'no' ||
    leaseLeftMs(turn.state, turn.nowMs) === 0
  )
    return;
  // D2: a peer is let go of only when the store has forgotten it and will not be reminded.
  const inStore = [...sync.recorded, ...sync.claimed];
  const kept = sync.waits.filter((peer) => inStore.includes(peer) || isWell(turn, peer));
  if (kept.length < sync.waits.length) return setMembers(turn, kept, false);
  const joining = turn.state.settings.peers.find((peer) => !sync.waits.includes(peer) && mayJoin(turn, peer));
  if (joining !== undefined) return setMembers(turn, [...sync.waits, joining], true);
  // D1: what is not known is settled, at the latest when nobody can be expected to join any more.
  const { unsettledMs } = sync;
  if (unsettledMs === null || turn.nowMs - unsettledMs < turn.state.settings.peerTimeoutMs) return;
  if (inStore.every((peer) => sync.waits.includes(peer))) setMembers(turn, sync.waits, false);
}

export function onSyncSet(turn: Turn, event: Extract<OwnershipEvent, { kind: 'sync-set' }>): void {
  const { setting } = turn.state.sync;
  if (setting === null || setting.round !== event.round) return;
  if (event.ok) set(turn, { setting: null, waits: setting.members, unsettledMs: null, nextMs: turn.nowMs });
  else unsettled(turn, setting.members);
}

/** D1: a change that may or may not have been made: only what was waited for before and after it surely is. */
function unsettled(turn: Turn, members: readonly DataCenterName[]): void {
  const waits = turn.state.sync.waits.filter((peer) => members.includes(peer));
  const { nowMs } = turn;
  set(turn, { setting: null, waits, unsettledMs: turn.state.sync.unsettledMs ?? nowMs, nextMs: nowMs + againMs });
}

function isWell(turn: Turn, peer: DataCenterName): boolean {
  // One whose database is gone, or that was taken over, is not waited for until it is silent for long enough as well.
  const record = turn.state.view.peers.get(peer)?.record;
  if (record !== undefined && (record.takenOver !== null || record.state === 'yielded')) return false;
  const link = turn.state.sync.links.get(peer);
  if (link === undefined || turn.nowMs - link.goodMs > turn.state.settings.peerTimeoutMs) return false;
  // What it skipped, or has no table for, is confirmed all the same (faults.md, remedy 10).
  return !isIncomplete(turn.state, peer);
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
