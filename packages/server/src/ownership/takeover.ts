/**
 * Another dc has lost its right to write, and this one takes over everything that it held (T1 to T4).
 *
 *   none ── lapsed, and we are in its sync set ──▶ claiming ── a new term ──▶ freezing ── cut ──▶ recording ──▶ none
 *     ▲                                              │ refused, no answer        │ failed: again   │ failed: again
 *     └──────────────────────────────────────────────┘
 *
 * From the new term on there is no way back: an agent that starts anew finds the succession in the store's history and
 * not in its database, and goes on from freezing.
 */
import type { DataCenterName, Succession, SuccessionResult } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import type { Cut, FailoverOutcome } from './handover-state.ts';
import { type Reason, reason, speaksOfGaps } from './reasons.ts';
import type { Ownership } from './state.ts';
import { leaseLeftMs, nextRound, type Turn } from './turn.ts';
import { lapsesInMs, missing, noteRecorded, observe, ownRevision } from './views.ts';

const againMs = 250;
/** Freezing ends a worker and waits for it; recording writes a few rows. */
const stepWithinMs = 10_000;

export function onTakeoverTick(turn: Turn): void {
  const { takeover, leaving } = turn.state;
  const { nowMs } = turn;
  if (takeover.phase === 'claiming' && nowMs >= takeover.deadlineMs) return rest(turn, takeover.asked, null);
  if (takeover.phase === 'freezing' && nowMs >= takeover.deadlineMs)
    return freeze(turn, takeover.succession, takeover.asked);
  if (takeover.phase === 'recording' && nowMs >= takeover.deadlineMs)
    return record(turn, takeover.succession, takeover.cut, takeover.asked);
  if (takeover.phase !== 'none' || nowMs < takeover.nextMs || leaving !== 'no') return;
  const begun = missing(turn.state).find(({ kind, to }) => kind === 'take' && to === turn.state.settings.here);
  if (begun !== undefined) return freeze(turn, begun, []);
  if (!turn.state.settings.automaticFailover) return;
  for (const from of turn.state.view.peers.keys())
    if (reasonsNotToTake(turn.state, from, false, nowMs).length === 0) return claim(turn, from, false, []);
}

/** A person asks. */
export function onFailoverAsked(turn: Turn, event: Extract<OwnershipEvent, { kind: 'failover-asked' }>): void {
  const { takeover } = turn.state;
  const { id, from, forced } = event;
  if (takeover.phase !== 'none') {
    const present = takeover.phase === 'claiming' ? takeover.from : takeover.succession.from;
    if (present === from) turn.state = { ...turn.state, takeover: { ...takeover, asked: [...takeover.asked, id] } };
    else answer(turn, [id], { kind: 'refused', reasons: [reason('busy', `taking over ${present}`)] });
    return;
  }
  const reasons = reasonsNotToTake(turn.state, from, forced, turn.nowMs);
  if (reasons.length > 0) answer(turn, [id], { kind: 'refused', reasons });
  else claim(turn, from, forced, [id]);
}

/** Why `from` may not be taken over now; empty when it may. A person who saw what would be lost may force the last one. */
export function reasonsNotToTake(
  state: Ownership,
  from: DataCenterName,
  forced: boolean,
  nowMs: number,
): readonly Reason[] {
  const { settings, view } = state;
  // An old takeover must not be taken for one that is still to be recorded.
  if (view.recorded === null) return [reason('starting', settings.here)];
  const watched = view.peers.get(from);
  if (watched === undefined) return [reason('peer-not-observed', from)];
  const { record } = watched;
  if (leaseLeftMs(state, nowMs) === 0) return [reason('no-lease', settings.here)];
  if (record.takenOver !== null) return [reason('taken-over', from)];
  const leftMs = lapsesInMs(state, from, nowMs) ?? 0;
  if (leftMs > 0) return [reason('still-held', `${from}, for about ${Math.ceil(leftMs / 1000)} s`)];
  // Whoever stopped its agents in order meant to start them again.
  if (!forced && record.state === 'released' && nowMs - watched.sinceMs < settings.releasedGraceMs)
    return [reason('released-lately', from)];
  if (!forced && !record.inSync.includes(settings.here)) return [reason('not-in-sync', from)];
  // It learns of our gaps a moment after us, and may have died in that moment.
  return forced ? [] : (state.gates.get(from)?.reasons.filter(speaksOfGaps) ?? []);
}

export function onTakeoverSucceeded(turn: Turn, round: number, result: SuccessionResult | null): void {
  const { takeover } = turn.state;
  if (takeover.phase !== 'claiming' || takeover.round !== round) return;
  const { asked, from } = takeover;
  if (result === null) return rest(turn, asked, null);
  observe(turn, result.view);
  // T1: the store decides, once for each term.
  const { here } = turn.state.settings;
  const ours = result.view.successions.find(
    ({ kind, from: source, to, term }) =>
      kind === 'take' && source === from && to === here && !turn.state.view.recorded?.includes(term),
  );
  if (ours !== undefined) return freeze(turn, ours, asked);
  // Our own lease was renewed in between, and the question went by the revision before.
  const renewed = ownRevision(turn.state) !== takeover.revision && ownRevision(turn.state) !== null;
  if (result.kind === 'refused' && result.reason === 'no-lease' && renewed)
    return claim(turn, from, takeover.forced, asked);
  const code = result.kind === 'refused' && result.reason !== 'stale-term' ? result.reason : 'store-nonsense';
  rest(turn, asked, result.kind === 'refused' && result.reason === 'stale-term' ? null : [reason(code, from)]);
}

export function onFrozen(turn: Turn, event: Extract<OwnershipEvent, { kind: 'frozen' }>): void {
  const { takeover } = turn.state;
  if (takeover.phase !== 'freezing' || takeover.round !== event.round) return;
  const { succession, asked } = takeover;
  if (event.cut !== null) return record(turn, succession, event.cut, asked);
  turn.state = { ...turn.state, takeover: { ...takeover, deadlineMs: turn.nowMs + againMs } };
}

export function onTakeoverRecorded(turn: Turn, event: Extract<OwnershipEvent, { kind: 'recorded' }>): void {
  const { takeover } = turn.state;
  if (takeover.phase !== 'recording' || takeover.round !== event.round) return;
  if (!event.ok) {
    turn.state = { ...turn.state, takeover: { ...takeover, deadlineMs: turn.nowMs + againMs } };
    return;
  }
  const { succession, asked } = takeover;
  noteRecorded(
    turn,
    missing(turn.state).flatMap(({ term }) => (term <= succession.term ? [term] : [])),
  );
  turn.state = { ...turn.state, takeover: { phase: 'none', nextMs: turn.nowMs } };
  answer(turn, asked, { kind: 'taken', term: succession.term });
}

function claim(turn: Turn, from: DataCenterName, forced: boolean, asked: readonly string[]): void {
  const { view, settings, term } = turn.state;
  const watched = view.peers.get(from);
  const revision = ownRevision(turn.state);
  if (watched === undefined || revision === null) return;
  const round = nextRound(turn);
  turn.state = {
    ...turn.state,
    takeover: { phase: 'claiming', from, forced, revision, asked, round, deadlineMs: deadline(turn) },
  };
  const { here: to, holder } = settings;
  const fromRevision = watched.record.revision;
  turn.actions.push({
    kind: 'succeed',
    round,
    request: { kind: 'take', term, from, to, holder, revision, fromRevision, forced },
  });
}

/** T2: freeze first, then the cut, then the succession: what is beyond the cut cannot arrive here any more. */
function freeze(turn: Turn, succession: Succession, asked: readonly string[]): void {
  const round = nextRound(turn);
  turn.state = {
    ...turn.state,
    takeover: { phase: 'freezing', succession, asked, round, deadlineMs: turn.nowMs + stepWithinMs },
  };
  turn.actions.push({ kind: 'freeze', round, from: succession.from, term: succession.term });
}

/** T3: with every succession before it that never arrived, so that the fold here is the store's. */
function record(turn: Turn, succession: Succession, cut: Cut, asked: readonly string[]): void {
  const round = nextRound(turn);
  turn.state = {
    ...turn.state,
    takeover: { phase: 'recording', succession, cut, asked, round, deadlineMs: turn.nowMs + stepWithinMs },
  };
  const generation = turn.state.view.peers.get(succession.from)?.record.incarnation.generation ?? 1;
  const successions = missing(turn.state).filter(({ term }) => term <= succession.term);
  turn.actions.push({
    kind: 'record',
    round,
    successions,
    cuts: { term: succession.term, of: succession.from, generation, cut },
  });
}

function rest(turn: Turn, asked: readonly string[], reasons: readonly Reason[] | null): void {
  turn.state = { ...turn.state, takeover: { phase: 'none', nextMs: turn.nowMs + againMs } };
  answer(turn, asked, reasons === null ? { kind: 'pending' } : { kind: 'refused', reasons });
}

function answer(turn: Turn, ids: readonly string[], outcome: FailoverOutcome): void {
  if (ids.length > 0) turn.actions.push({ kind: 'answer-failover', ids, outcome });
}

function deadline(turn: Turn): number {
  return turn.nowMs + turn.state.settings.answerWithinMs;
}
