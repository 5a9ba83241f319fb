/**
 * What the lease store says about everybody, and which of its successions our database has (V1, V2).
 *
 * A revision counts from when it was first seen: whoever holds it sent for it before that, so that his lease has run out
 * once its whole length and the skew have passed since. A renewal that was not seen changes the revision, and the store
 * refuses a takeover that goes by the old one.
 */
import type { DataCenterName, LeaseView, Succession } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import type { View } from './handover-state.ts';
import type { Ownership } from './state.ts';
import { nextRound, type Turn } from './turn.ts';

/** How often the store is looked at while a takeover is under way, or one is about to be; not for ever where nobody may. */
const urgentEveryMs = 100;
const urgentForMs = 30_000;

export function beginView(nowMs: number): View {
  return {
    look: { step: 'idle', nextMs: nowMs },
    peers: new Map(),
    own: null,
    ownSinceMs: nowMs,
    history: [],
    recorded: null,
  };
}

export function onViewTick(turn: Turn): void {
  const { view, settings } = turn.state;
  const { look } = view;
  if (turn.nowMs < (look.step === 'idle' ? look.nextMs : look.deadlineMs)) return;
  const round = nextRound(turn);
  setView(turn, { look: { step: 'reading', round, deadlineMs: turn.nowMs + settings.answerWithinMs } });
  turn.actions.push({ kind: 'watch-store', round });
}

export function onWatched(turn: Turn, event: Extract<OwnershipEvent, { kind: 'watched' }>): void {
  const { look } = turn.state.view;
  if (look.step !== 'reading' || look.round !== event.round) return;
  if (event.view !== null) observe(turn, event.view);
  const everyMs = isUrgent(turn)
    ? Math.min(urgentEveryMs, turn.state.settings.watchEveryMs)
    : turn.state.settings.watchEveryMs;
  setView(turn, { look: { step: 'idle', nextMs: turn.nowMs + everyMs } });
}

/** Somebody's accounts are written nowhere at this moment. */
function isUrgent({ state, nowMs }: Turn): boolean {
  for (const { record, sinceMs } of state.view.peers.values()) {
    const lateMs = nowMs - sinceMs - record.ttlMs;
    if (record.takenOver === null && record.state !== 'released' && lateMs > 0 && lateMs < urgentForMs) return true;
  }
  return missing(state).some(({ kind }) => kind === 'take');
}

/** Takes over what an answer of the store says, unless something newer was seen already: answers may overtake each other. */
export function observe(turn: Turn, { term, leases, successions }: LeaseView): void {
  const { view, settings } = turn.state;
  if (term < knownTerm(turn.state)) return;
  const peers = new Map(view.peers);
  let { own, ownSinceMs } = view;
  for (const record of leases) {
    if (record.dataCenter === settings.here) {
      if (own?.revision !== record.revision && record.revision > (own?.revision ?? -1)) ownSinceMs = turn.nowMs;
      if (own === null || record.revision >= own.revision) own = record;
      continue;
    }
    const known = peers.get(record.dataCenter);
    if (known !== undefined && known.record.revision > record.revision) continue;
    const sinceMs = known?.record.revision === record.revision ? known.sinceMs : turn.nowMs;
    peers.set(record.dataCenter, { record, sinceMs });
  }
  const history = successions.length >= view.history.length ? successions : view.history;
  turn.state = { ...turn.state, term };
  setView(turn, { peers, own, ownSinceMs, history });
}

/** A store that knows less than our database is another one, or was set back: it must not number successions anew (E1). */
export function knownTerm({ term, view }: Ownership): number {
  return Math.max(term, ...(view.recorded ?? []));
}

export function onSuccessionsRead(turn: Turn, terms: readonly number[]): void {
  // A reading that was overtaken by what was recorded since must not make a takeover look undone: rows never go away.
  setView(turn, { recorded: [...new Set([...(turn.state.view.recorded ?? []), ...terms])].toSorted((a, b) => a - b) });
}

/**
 * The takeover that a dc comes back from, which was taken over in `term`: that of its successor, where this was taken over later, and
 * so on. Null: the store's history does not say.
 */
export function effectiveTakeover(history: readonly Succession[], term: number): Succession | null {
  let effective = history.find((one) => one.term === term && one.kind === 'take');
  for (let next = effective; next !== undefined; ) {
    effective = next;
    const { term: after, to } = next;
    next = history.find((one) => one.kind === 'take' && one.from === to && one.term > after);
  }
  return effective ?? null;
}

/** Successions of the store that our database does not have; empty while it was not asked. */
export function missing({ view: { history, recorded } }: Ownership): readonly Succession[] {
  return recorded === null ? [] : history.filter(({ term }) => !recorded.includes(term));
}

export function noteRecorded(turn: Turn, terms: readonly number[]): void {
  const { recorded } = turn.state.view;
  if (recorded !== null) setView(turn, { recorded: [...new Set([...recorded, ...terms])].toSorted((a, b) => a - b) });
}

/** The newest revision of the lease that this agent holds, also when its own answer is still on the way; null without one. */
export function ownRevision({ lease, view, settings }: Ownership): number | null {
  if (lease.phase !== 'held') return null;
  const seen = view.own?.holder === settings.holder ? view.own.revision : 0;
  return Math.max(lease.grant.revision, seen);
}

/** How long until nobody can go by the lease that the store has on record for this dc, by our own clock. */
export function ownLapsesInMs({ view: { own, ownSinceMs }, settings }: Ownership, nowMs: number): number {
  if (own === null || own.state === 'released' || own.state === 'yielded') return 0;
  const leftMs = Math.max(0, ownSinceMs + own.ttlMs + settings.skewMs - nowMs);
  return own.state === 'held' ? Math.max(leftMs, 1) : leftMs;
}

/** How long until nobody can hold `peer`'s lease any more, by our own clock; null when nothing is known about it. */
export function lapsesInMs({ view, settings }: Ownership, peer: DataCenterName, nowMs: number): number | null {
  const watched = view.peers.get(peer);
  if (watched === undefined) return null;
  const { record, sinceMs } = watched;
  if (record.state === 'yielded') return 0;
  const leftMs = Math.max(0, sinceMs + record.ttlMs + settings.skewMs - nowMs);
  // Ours is not enough: by the store's clock it must have ended as well, or it would refuse.
  return record.state === 'held' ? Math.max(leftMs, 1) : leftMs;
}

function setView(turn: Turn, change: Partial<View>): void {
  turn.state = { ...turn.state, view: { ...turn.state.view, ...change } };
}
