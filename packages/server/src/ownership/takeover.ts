/**
 * Another dc has lost its right to write, and this one takes over everything that it held (T1 to T4).
 *
 *   none ── lapsed, and we are in its sync set ──▶ claiming ── a new term ──▶ none ── everybody's tail is known ──▶ recording ──▶ none
 *     ▲                                              │ refused, no answer                                            │ failed: again
 *     └──────────────────────────────────────────────┘
 *
 * From the new term on there is no way back: an agent that starts anew finds the succession in the store's history and not in its
 * database, and goes on. What is between the two is in `tails.ts`: everybody in the view ends its streams from the failed one and
 * says so in the store, and we fetch what another one has and we have not. Who says nothing is waited out, and taken over as well.
 * What could not be fetched would be waited for, with nobody writing: so whoever lacks something of one it cannot reach does not claim.
 */
import {
  comparePositions,
  type DataCenterName,
  type Positions,
  type Succession,
  type SuccessionResult,
} from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { isHeardOf } from './gate.ts';
import type { FailoverOutcome, RecordableCut, Takeover } from './handover-state.ts';
import { type Reason, reason, speaksOfGaps } from './reasons.ts';
import type { Ownership } from './state.ts';
import { covers, isBehind, tailOf, unreported } from './tails.ts';
import { leaseLeftMs, nextRound, type Turn } from './turn.ts';
import { effectiveTakeover, lapsesInMs, missing, noteRecorded, observe, ownRevision } from './views.ts';

const againMs = 250;
const stepWithinMs = 10_000;

export function onTakeoverTick(turn: Turn): void {
  const { takeover, leaving } = turn.state;
  const { nowMs } = turn;
  if (takeover.phase === 'claiming' && nowMs >= takeover.deadlineMs) return rest(turn, takeover.asked, null);
  if (takeover.phase === 'recording' && nowMs >= takeover.deadlineMs) return record(turn, takeover.succession);
  if (takeover.phase !== 'none' || nowMs < takeover.nextMs) return;
  // What was granted to one who was taken over since is its successor's to finish.
  if (turn.state.view.own?.takenOver != null) return;
  // In their order, so that none is recorded without its cut.
  const [first] = begun(turn.state);
  if (first !== undefined && mayRecord(turn.state, first)) return record(turn, first);
  if (!turn.state.settings.automaticFailover || leaving !== 'no') return;
  for (const from of turn.state.view.peers.keys())
    if (reasonsNotToTake(turn.state, from, false, nowMs).length === 0) return claim(turn, from, false, []);
}

/** What the store has granted us, and our database does not have. */
export function begun(state: Ownership): readonly Succession[] {
  return missing(state).filter(({ kind, to }) => kind === 'take' && to === state.settings.here);
}

/** T2: all the living have ended their streams from there, and what any of them has is here. */
function mayRecord(state: Ownership, { from, term }: Succession): boolean {
  const { view, settings } = state;
  const cut = tailOf(state, from, term);
  // What is being fetched may still arrive, also from one who was taken over meanwhile: then there is more here than the cut says.
  if (state.tails.get(from)?.attempt.step === 'mending') return false;
  if (cut === null || unreported(state, from, term).length > 0 || isBehind(state, from, term, cut)) return false;
  if (cuts(state) === null) return false;
  // T3: what the living gave away before this arrives by itself, and with it everything that they had written.
  return missing(state).every(
    (one) =>
      one.term >= term ||
      one.kind === 'take' ||
      one.from === settings.here ||
      view.peers.get(one.from)?.record.takenOver !== null,
  );
}

/** How far we have the log of everybody who is gone; null while that is not known of all. */
function cuts(state: Ownership): Readonly<Record<DataCenterName, RecordableCut>> | null {
  const known: Record<DataCenterName, RecordableCut> = {};
  for (const [of, { record }] of state.view.peers) {
    const { takenOver, incarnation } = record;
    if (takenOver === null) continue;
    const cut = tailOf(state, of, takenOver);
    if (cut === null) return null;
    known[of] = { ...cut, takenOver, generation: incarnation.generation };
  }
  return known;
}

/** A person asks. */
export function onFailoverAsked(turn: Turn, event: Extract<OwnershipEvent, { kind: 'failover-asked' }>): void {
  const { takeover } = turn.state;
  const { id, from, forced } = event;
  const granted = begun(turn.state).find((one) => one.from === from);
  if (granted !== undefined)
    return set(turn, { ...takeover, waiting: [...takeover.waiting, { term: granted.term, id }] });
  if (takeover.phase === 'claiming' && takeover.from === from)
    return set(turn, { ...takeover, asked: [...takeover.asked, id] });
  if (takeover.phase !== 'none')
    return answer(turn, [id], { kind: 'refused', reasons: [reason('busy', 'taking over another one')] });
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
  const lacking = forced ? [] : lackingTails(state, from);
  if (lacking.length > 0) return [reason('not-in-sync', lacking.join(', '))];
  const ahead = forced ? [] : aheadOutOfReach(state, from, nowMs);
  if (ahead.length > 0) return [reason('another-has-more', ahead.join(', '))];
  // It learns of our gaps a moment after us, and may have died in that moment.
  return forced ? [] : (state.gates.get(from)?.reasons.filter(speaksOfGaps) ?? []);
}

/**
 * Others that may take `from` over as well, have more of it, and could not be asked for it. It has written nothing for as long as a
 * lease lasts, so what they had of it when they last renewed theirs is all that they will have. They are in an order, the most
 * advanced one first, so that no two wait for each other; one whose own lease runs out is not waited for.
 */
function aheadOutOfReach(state: Ownership, from: DataCenterName, nowMs: number): readonly DataCenterName[] {
  const { peers, own } = state.view;
  const mayTake = peers.get(from)?.record.inSync ?? [];
  return [...peers].flatMap(([peer, { record }]) => {
    if (peer === from || record.takenOver !== null || !mayTake.includes(peer)) return [];
    if (lapsesInMs(state, peer, nowMs) === 0 || isHeardOf(state, peer, nowMs)) return [];
    return own === null || compareApplied(record.positions, own.positions, from) > 0 ? [peer] : [];
  });
}

/** By the homed stream first: mostly it is the only one that anybody misses. */
function compareApplied(a: Positions, b: Positions, of: DataCenterName): number {
  const homed = comparePositions((a.homed ?? a.applied)[of] ?? '0/0', (b.homed ?? b.applied)[of] ?? '0/0');
  return homed === 0 ? comparePositions(a.rest?.[of] ?? '0/0', b.rest?.[of] ?? '0/0') : homed;
}

/**
 * Those whom `from` took over and whose tail was not fetched from it: what they acknowledged as `remote` is here only where we
 * were in their sync set too.
 */
function lackingTails(state: Ownership, from: DataCenterName): readonly DataCenterName[] {
  const { view, settings } = state;
  const theirs = view.peers.get(from)?.record.positions.frozen ?? {};
  return [...view.peers].flatMap(([of, { record }]) => {
    if (record.takenOver === null || effectiveTakeover(view.history, record.takenOver)?.to !== from) return [];
    if (record.inSync.includes(settings.here)) return [];
    const had = theirs[of];
    const have = tailOf(state, of, record.takenOver);
    const whole = had?.term === record.takenOver && have !== null && covers(have, had);
    return whole ? [] : [of];
  });
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
  if (ours !== undefined) {
    const waiting = [...takeover.waiting, ...asked.map((id) => ({ term: ours.term, id }))];
    return set(turn, { phase: 'none', nextMs: turn.nowMs, waiting });
  }
  // Our own lease was renewed in between, and the question went by the revision before.
  const renewed = ownRevision(turn.state) !== takeover.revision && ownRevision(turn.state) !== null;
  if (result.kind === 'refused' && result.reason === 'no-lease' && renewed)
    return claim(turn, from, takeover.forced, asked);
  const code = result.kind === 'refused' && result.reason !== 'stale-term' ? result.reason : 'store-nonsense';
  rest(turn, asked, result.kind === 'refused' && result.reason === 'stale-term' ? null : [reason(code, from)]);
}

export function onTakeoverRecorded(turn: Turn, event: Extract<OwnershipEvent, { kind: 'recorded' }>): void {
  const { takeover } = turn.state;
  if (takeover.phase !== 'recording' || takeover.round !== event.round) return;
  if (!event.ok) return set(turn, { ...takeover, deadlineMs: turn.nowMs + againMs });
  const { succession, waiting } = takeover;
  noteRecorded(
    turn,
    missing(turn.state).flatMap(({ term }) => (term <= succession.term ? [term] : [])),
  );
  const left = waiting.filter(({ term }) => term !== succession.term);
  set(turn, { phase: 'none', nextMs: turn.nowMs, waiting: left });
  const told = waiting.flatMap(({ term, id }) => (term === succession.term ? [id] : []));
  answer(turn, told, { kind: 'taken', term: succession.term });
}

function claim(turn: Turn, from: DataCenterName, forced: boolean, asked: readonly string[]): void {
  const { view, settings, term } = turn.state;
  const watched = view.peers.get(from);
  const revision = ownRevision(turn.state);
  if (watched === undefined || revision === null) return;
  const round = nextRound(turn);
  const { waiting } = turn.state.takeover;
  set(turn, { phase: 'claiming', from, forced, revision, asked, waiting, round, deadlineMs: deadline(turn) });
  const { here: to, holder } = settings;
  const fromRevision = watched.record.revision;
  turn.actions.push({
    kind: 'succeed',
    round,
    request: { kind: 'take', term, from, to, holder, revision, fromRevision, forced },
  });
}

/** T3: with every succession before it that never arrived, so that the fold here is the store's. */
function record(turn: Turn, succession: Succession): void {
  const known = cuts(turn.state);
  if (known === null) return;
  const round = nextRound(turn);
  const { waiting } = turn.state.takeover;
  set(turn, { phase: 'recording', succession, waiting, round, deadlineMs: turn.nowMs + stepWithinMs });
  const successions = missing(turn.state).filter(({ term }) => term <= succession.term);
  turn.actions.push({ kind: 'record', round, successions, cuts: known });
}

function rest(turn: Turn, asked: readonly string[], reasons: readonly Reason[] | null): void {
  const { waiting } = turn.state.takeover;
  set(turn, { phase: 'none', nextMs: turn.nowMs + againMs, waiting });
  answer(turn, asked, reasons === null ? { kind: 'pending' } : { kind: 'refused', reasons });
}

function answer(turn: Turn, ids: readonly string[], outcome: FailoverOutcome): void {
  if (ids.length > 0) turn.actions.push({ kind: 'answer-failover', ids, outcome });
}

function deadline(turn: Turn): number {
  return turn.nowMs + turn.state.settings.answerWithinMs;
}

function set(turn: Turn, takeover: Takeover): void {
  turn.state = { ...turn.state, takeover };
}
