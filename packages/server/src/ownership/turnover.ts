/**
 * A planned move of everything: switchover, and hand-back, which is one that undoes a takeover (S1 to S3).
 *
 *   opening → draining → locking → claiming → recording ──▶ given: the row travels in the stream, and its arrival is
 *      │         │          │         │           │          what lets the other dc write (R2)
 *      └─────────┴──────────┴─ closing ┘           └ failed: the store's history has it; locking again
 *
 * Requests are held in the applications, those in flight finish, and then the lock waits for every writer, so that the
 * decision of the store is asked for while nobody writes.
 */
import { resolveHome, type Succession, type SuccessionResult } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { reasonsNotToStart } from './gate.ts';
import type { Held, SwitchOutcome, SwitchRequest, Turnover } from './handover-state.ts';
import { type Reason, reason } from './reasons.ts';
import type { Ownership } from './state.ts';
import { nextRound, type Turn } from './turn.ts';
import { missing, noteRecorded, observe, ownRevision } from './views.ts';

const lookEveryMs = 250;
const againMs = 500;

export function onSwitchAsked(turn: Turn, event: Extract<OwnershipEvent, { kind: 'switch-asked' }>): void {
  const { id, request } = event;
  const present = turn.state.turnover;
  if (present !== null) {
    const same = present.request.to === request.to && present.request.undoes === request.undoes;
    if (same && present.phase !== 'closing')
      turn.state = { ...turn.state, turnover: { ...present, asked: [...present.asked, id] } };
    else answer(turn, [id], { kind: 'refused', reasons: [reason('busy', 'another switchover is under way')] });
    return;
  }
  const reasons = reasonsNotToSwitch(turn.state, request, turn.nowMs);
  if (reasons.length > 0) return answer(turn, [id], { kind: 'refused', reasons });
  const { drainMs } = turn.state.settings;
  const round = nextRound(turn);
  const deadlineMs = turn.nowMs + drainMs;
  set(turn, { phase: 'opening', request, asked: [id], sinceMs: turn.nowMs, deadlineMs, round });
  turn.actions.push({ kind: 'drain-all', round, to: request.to, forMs: drainMs });
}

export function reasonsNotToSwitch(state: Ownership, request: SwitchRequest, nowMs: number): readonly Reason[] {
  const { view, settings } = state;
  const { to, undoes } = request;
  const peer = view.peers.get(to)?.record;
  if (peer === undefined) return [reason('peer-not-observed', to)];
  if (peer.takenOver !== null) return [reason('taken-over', to)];
  if (peer.state !== 'held') return [reason('no-lease', to)];
  if (undoes !== null) {
    const undone = view.history.find(({ term }) => term === undoes);
    if (undone === undefined || undone.to !== settings.here || undone.from !== to)
      return [reason('nothing-to-undo', `term ${undoes}`)];
    // It may have gone on to a third one, and not have come back from there.
    const now = resolveHome(view.history, { home: undone.to, term: undone.term });
    if (now !== settings.here) return [reason('nothing-to-undo', `term ${undoes}: it is in ${now}`)];
  }
  if (view.recorded === null) return [reason('starting', settings.here)];
  if (missing(state).length > 0) return [reason('busy', 'a succession is still being recorded')];
  return reasonsNotToStart(state, to, nowMs);
}

export function onTurnoverTick(turn: Turn): void {
  const { turnover, leaving } = turn.state;
  const { nowMs } = turn;
  if (turnover === null) {
    const { here, drainMs } = turn.state.settings;
    // A decision of the store that was not carried out: the answer was lost, or the agent before us died (S3).
    const owed = missing(turn.state).find(({ kind, from }) => kind !== 'take' && from === here);
    if (owed === undefined || leaving !== 'no' || turn.state.view.own?.takenOver !== null) return;
    const request = { to: owed.to, undoes: owed.undoes };
    return lock(turn, { request, asked: [], sinceMs: nowMs, deadlineMs: nowMs + drainMs }, null, owed);
  }
  if (turnover.phase === 'closing') {
    if (turnover.round === null && nowMs >= turnover.deadlineMs) resume(turn, turnover);
    return;
  }
  if (nowMs >= turnover.deadlineMs && turnover.phase !== 'recording') {
    // S2: it was asked for, and may be decided.
    if (turnover.phase === 'claiming') return close(turn, turnover, { kind: 'pending' });
    const why = turnover.phase === 'draining' ? reason('not-drained', turnover.waitingFor.join(', ')) : reason('busy');
    return close(turn, turnover, { kind: 'refused', reasons: [why] });
  }
  if (turnover.phase === 'draining' && nowMs >= turnover.nextLookMs) {
    set(turn, { ...turnover, nextLookMs: nowMs + lookEveryMs });
    turn.actions.push({ kind: 'list-instances' });
  }
}

export function onAllDraining(turn: Turn, event: Extract<OwnershipEvent, { kind: 'all-draining' }>): void {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'opening' || turnover.round !== event.round) return;
  const { result } = event;
  if (result.kind !== 'begun') return close(turn, turnover, { kind: 'refused', reasons: [reason('database-failed')] });
  const { request, asked, sinceMs, deadlineMs } = turnover;
  const early = turn.state.early.flatMap(({ move, instance }) => (move === result.move ? [instance] : []));
  const waitingFor = result.instances.filter((name) => !early.includes(name));
  const nextLookMs = turn.nowMs + lookEveryMs;
  const base = { request, asked, sinceMs, deadlineMs };
  waitFor(turn, { ...base, phase: 'draining', move: result.move, waitingFor, nextLookMs });
}

/** True when the drain that an instance reports is ours. */
export function onAllDrained(turn: Turn, number: number, instance: string): boolean {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'draining' || turnover.move !== number) return false;
  waitFor(turn, { ...turnover, waitingFor: turnover.waitingFor.filter((name) => name !== instance) });
  return true;
}

export function onAllInstances(turn: Turn, alive: readonly string[]): void {
  const { turnover } = turn.state;
  if (turnover?.phase === 'draining')
    waitFor(turn, { ...turnover, waitingFor: turnover.waitingFor.filter((name) => alive.includes(name)) });
}

export function onWritersLocked(turn: Turn, event: Extract<OwnershipEvent, { kind: 'writers-locked' }>): void {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'locking' || turnover.round !== event.round) return;
  const { request, asked, sinceMs, deadlineMs, move, succession } = turnover;
  const base = { request, asked, sinceMs, deadlineMs };
  if (!event.ok) return close(turn, turnover, { kind: 'refused', reasons: [reason('busy', 'a long transaction')] });
  if (succession !== null) return record(turn, base, move, succession);
  claim(turn, base, move);
}

/** S1: the lease is looked at again while nobody can write any more. */
function claim(turn: Turn, base: Held, move: number | null): void {
  const { settings, term } = turn.state;
  const { to, undoes } = base.request;
  const reasons = reasonsNotToSwitch(turn.state, base.request, turn.nowMs);
  const revision = ownRevision(turn.state);
  const round = nextRound(turn);
  const claiming = { ...base, phase: 'claiming', move, round, revision: revision ?? 0 } as const;
  if (revision === null || reasons.length > 0) return close(turn, claiming, { kind: 'refused', reasons });
  set(turn, claiming);
  const { here: from, holder } = settings;
  const said = { term, from, to, holder, revision };
  turn.actions.push({
    kind: 'succeed',
    round,
    request: undoes === null ? { kind: 'switch', ...said } : { kind: 'return', undoes, ...said },
  });
}

export function onTurnoverSucceeded(turn: Turn, round: number, result: SuccessionResult | null): void {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'claiming' || turnover.round !== round) return;
  // S2: without an answer nothing is known: writers go on, and the store's history decides.
  if (result === null) return close(turn, turnover, { kind: 'pending' });
  const termBefore = turn.state.term;
  observe(turn, result.view);
  const { request, asked, sinceMs, deadlineMs, move } = turnover;
  const base = { request, asked, sinceMs, deadlineMs };
  // A succession before this one was not known from the store yet, as right after a switchover to here.
  const newer = turn.state.term > termBefore && turn.nowMs < deadlineMs;
  if (result.kind === 'refused' && result.reason === 'stale-term' && newer) return claim(turn, base, move);
  // The lease was renewed in between, and the question went by the revision before.
  const renewed = ownRevision(turn.state) !== turnover.revision && turn.nowMs < deadlineMs;
  if (result.kind === 'refused' && result.reason === 'no-lease' && renewed) return claim(turn, base, move);
  if (result.kind === 'refused')
    return close(turn, turnover, { kind: 'refused', reasons: [reason('busy', `the lease store: ${result.reason}`)] });
  const succession = result.view.successions.find(({ term }) => term === result.term);
  if (succession === undefined) return close(turn, turnover, { kind: 'pending' });
  record(turn, base, move, succession);
}

export function onAllGiven(turn: Turn, event: Extract<OwnershipEvent, { kind: 'all-given' }>): void {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'recording' || turnover.round !== event.round) return;
  if (!event.ok) return close(turn, turnover, { kind: 'pending' });
  const { term } = turnover.succession;
  noteRecorded(turn, [term]);
  answer(turn, turnover.asked, { kind: 'switched', term, pauseMs: Math.round(turn.nowMs - turnover.sinceMs) });
  turn.state = { ...turn.state, turnover: null };
}

export function onResumed(turn: Turn, event: Extract<OwnershipEvent, { kind: 'resumed' }>): void {
  const { turnover } = turn.state;
  if (turnover?.phase !== 'closing' || turnover.round !== event.round) return;
  if (!event.ok) return set(turn, { ...turnover, round: null, deadlineMs: turn.nowMs + againMs });
  answer(turn, turnover.asked, turnover.outcome);
  turn.state = { ...turn.state, turnover: null };
}

function waitFor(turn: Turn, draining: Extract<Turnover, { phase: 'draining' }>): void {
  if (draining.waitingFor.length > 0) return set(turn, draining);
  const { request, asked, sinceMs, deadlineMs, move } = draining;
  lock(turn, { request, asked, sinceMs, deadlineMs }, move, null);
}

function lock(turn: Turn, base: Held, move: number | null, succession: Succession | null): void {
  const round = nextRound(turn);
  set(turn, { ...base, phase: 'locking', move, round, succession });
  turn.actions.push({ kind: 'lock-writers', round, withinMs: Math.max(1, base.deadlineMs - turn.nowMs) });
}

function record(turn: Turn, base: Held, move: number | null, succession: Succession): void {
  const round = nextRound(turn);
  set(turn, { ...base, phase: 'recording', move, round, succession });
  turn.actions.push({ kind: 'give-all', round, succession });
}

function close(turn: Turn, turnover: Turnover, outcome: SwitchOutcome): void {
  const { request, asked, sinceMs, deadlineMs } = turnover;
  const move = 'move' in turnover ? turnover.move : null;
  resume(turn, { phase: 'closing', request, asked, sinceMs, deadlineMs, move, round: null, outcome });
}

function resume(turn: Turn, closing: Extract<Turnover, { phase: 'closing' }>): void {
  const round = nextRound(turn);
  set(turn, { ...closing, round });
  turn.actions.push({ kind: 'resume', round });
}

function set(turn: Turn, turnover: Turnover): void {
  turn.state = { ...turn.state, turnover };
}

function answer(turn: Turn, ids: readonly string[], outcome: SwitchOutcome): void {
  if (ids.length > 0) turn.actions.push({ kind: 'answer-switch', ids, outcome });
}
