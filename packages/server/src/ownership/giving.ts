/**
 * An account on its way out (M1 to M4).
 *
 *   queued → reading → opening → draining → giving ──▶ given: forgotten here, only the receiver decides
 *                         │          │         ├─ kept ──▶ closing (the applications go on with the account)
 *                         │          │         └─ answer lost ──▶ resolving ──▶ given, or closing
 *                         └──────────┴─ too late, lease lost ──▶ closing
 */
import { type AccountId, compareEpochs, type Epoch } from 'lanekeeper/model';
import { refusalByFacts } from './admission.ts';
import type { OwnershipEvent } from './events.ts';
import { reasonsNotToStart, reasonsOfThirds } from './gate.ts';
import { type Reason, reason } from './reasons.ts';
import type { GiveOutcome, GiveRequest, Giving } from './state.ts';
import { nextRound, setMove, type Turn } from './turn.ts';

type GivingEvent = Extract<
  OwnershipEvent,
  { kind: 'facts' | 'drain-begun' | 'give-answered' | 'deed-read' | 'drain-ended' }
>;
type In<Phase extends Giving['phase']> = Extract<Giving, { phase: Phase }>;

/** How often to see whether an instance that has not reported its drain is still there. */
const lookEveryMs = 250;
const retryEveryMs = 500;

export function onGiveAsked(turn: Turn, event: Extract<OwnershipEvent, { kind: 'give-asked' }>): void {
  const { request, id } = event;
  const present = turn.state.moves.get(request.account);
  if (present?.role === 'giver' && joins(request, present))
    return setMove(turn, request.account, { ...present, asked: [...present.asked, id] });
  if (present !== undefined) {
    const why = reason(present.role === 'receiver' ? 'arriving' : 'already-moving');
    return answer(turn, request.account, [id], { kind: 'refused', reasons: [why] });
  }
  const reasons = [
    ...reasonsNotToStart(turn.state, request.to, turn.nowMs),
    ...reasonsOfThirds(turn.state, request.to),
  ];
  if (reasons.length > 0) return answer(turn, request.account, [id], { kind: 'refused', reasons });
  const deadlineMs = turn.nowMs + Math.min(request.withinMs, turn.state.settings.drainMs);
  setMove(turn, request.account, { role: 'giver', phase: 'queued', request, asked: [id], deadlineMs });
  startQueued(turn);
}

/** Whether the move that is under way answers this request as well. */
function joins(request: GiveRequest, present: Giving): boolean {
  if (request.to !== present.request.to || present.phase === 'closing') return false;
  if (present.phase === 'queued' || present.phase === 'reading')
    return request.ifIdle === present.request.ifIdle && request.expected === null && present.request.expected === null;
  return request.expected === null || compareEpochs(request.expected, present.epoch) === 0;
}

export function onGivingEvent(turn: Turn, event: GivingEvent): void {
  const move = turn.state.moves.get(event.account);
  if (move?.role !== 'giver' || !('round' in move) || move.round !== event.round) return;
  if (event.kind === 'facts' && move.phase === 'reading') onFacts(turn, move, event.result);
  else if (event.kind === 'drain-begun' && move.phase === 'opening') onDrainBegun(turn, move, event.result);
  else if (event.kind === 'give-answered' && move.phase === 'giving') onGiveAnswered(turn, move, event.result);
  else if (event.kind === 'deed-read' && move.phase === 'resolving') onDeedRead(turn, move, event.deed);
  else if (event.kind === 'drain-ended' && move.phase === 'closing') onDrainEnded(turn, move, event.ok);
  startQueued(turn);
}

export function onDrained(turn: Turn, number: number, instance: string): void {
  for (const move of turn.state.moves.values()) {
    if (move.role !== 'giver' || move.phase !== 'draining' || move.move !== number) continue;
    return waitFor(
      turn,
      move,
      move.waitingFor.filter((name) => name !== instance),
    );
  }
  const early = [...turn.state.early, { move: number, instance, atMs: turn.nowMs }];
  turn.state = { ...turn.state, early };
}

/** An instance that is gone has no requests in flight. */
export function onInstances(turn: Turn, alive: readonly string[]): void {
  for (const move of turn.state.moves.values()) {
    if (move.role !== 'giver' || move.phase !== 'draining') continue;
    waitFor(
      turn,
      move,
      move.waitingFor.filter((name) => alive.includes(name)),
    );
  }
}

export function onGivingTick(turn: Turn): void {
  const { nowMs } = turn;
  const early = turn.state.early.filter(({ atMs }) => nowMs - atMs < turn.state.settings.drainMs);
  if (early.length !== turn.state.early.length) turn.state = { ...turn.state, early };
  let look = false;
  for (const [account, move] of turn.state.moves) {
    if (move.role !== 'giver') continue;
    if (move.phase === 'queued') {
      const reasons = reasonsNotToStart(turn.state, move.request.to, nowMs);
      if (nowMs >= move.deadlineMs) refuse(turn, account, move, [reason('busy')]);
      else if (reasons.length > 0) refuse(turn, account, move, reasons);
    } else if (move.phase === 'draining') {
      const reasons = reasonsToAbort(turn, move);
      if (nowMs >= move.deadlineMs) keep(turn, move, [reason('not-drained', move.waitingFor.join(', '))]);
      else if (reasons.length > 0) keep(turn, move, reasons);
      else if (nowMs >= move.nextLookMs) {
        look = true;
        setMove(turn, account, { ...move, nextLookMs: nowMs + lookEveryMs });
      }
    } else if (move.phase === 'resolving' && move.round === null && nowMs >= move.retryMs) resolve(turn, move);
    else if (move.phase === 'closing' && move.round === null && nowMs >= move.retryMs) close(turn, move);
  }
  if (look) turn.actions.push({ kind: 'list-instances' });
  startQueued(turn);
}

/** A deed that we have to accept takes the place of a move: it was given away and came back, or is just arriving. */
export function onOvertaken(turn: Turn, account: AccountId, move: Giving, arrived: Epoch): void {
  if (move.phase === 'giving' || move.phase === 'resolving') {
    const epoch = { term: arrived.term, counter: arrived.counter - 1 };
    return answer(turn, account, move.asked, { kind: 'given', epoch });
  }
  answer(turn, account, move.asked, { kind: 'refused', reasons: [reason('arriving')] });
  if (move.phase !== 'queued' && move.phase !== 'reading')
    turn.actions.push({ kind: 'end-drain', round: nextRound(turn), account, move: null });
}

/** Whether a move by this dc is so far that an agent which leaves has to wait for it. */
export function isUnderWay(move: Giving): boolean {
  return move.phase !== 'queued';
}

function startQueued(turn: Turn): void {
  let running = 0;
  for (const move of turn.state.moves.values()) if (move.role === 'giver' && isUnderWay(move)) running++;
  for (const [account, move] of turn.state.moves) {
    if (running >= turn.state.settings.maxMoves) return;
    if (move.role !== 'giver' || move.phase !== 'queued') continue;
    running++;
    const round = nextRound(turn);
    const { request, asked } = move;
    setMove(turn, account, { role: 'giver', phase: 'reading', request, asked, round, deadlineMs: move.deadlineMs });
    turn.actions.push({ kind: 'read-facts', round, account });
  }
}

function onFacts(turn: Turn, move: In<'reading'>, result: Extract<GivingEvent, { kind: 'facts' }>['result']): void {
  const { request, asked, deadlineMs } = move;
  const { account, to } = request;
  const done = (outcome: GiveOutcome) => {
    setMove(turn, account, null);
    answer(turn, account, asked, outcome);
  };
  if (result.kind === 'failed') return done({ kind: 'refused', reasons: [reason('database-failed')] });
  if (result.kind === 'unknown') return done({ kind: 'unknown-account' });
  const refusal = refusalByFacts(request, result.facts, turn.state.settings);
  if (refusal !== null) return done(refusal);
  const reasons = reasonsNotToStart(turn.state, to, turn.nowMs);
  if (reasons.length > 0) return done({ kind: 'refused', reasons });
  const round = nextRound(turn);
  const { epoch } = result.facts;
  setMove(turn, account, { role: 'giver', phase: 'opening', request, asked, round, epoch, deadlineMs });
  turn.actions.push({ kind: 'begin-drain', round, account, to, forMs: Math.max(1, deadlineMs - turn.nowMs) });
}

function onDrainBegun(
  turn: Turn,
  opening: In<'opening'>,
  result: Extract<GivingEvent, { kind: 'drain-begun' }>['result'],
): void {
  const { request, asked, epoch, deadlineMs } = opening;
  if (result.kind === 'already') {
    setMove(turn, request.account, null);
    return answer(turn, request.account, asked, { kind: 'refused', reasons: [reason('already-moving')] });
  }
  if (result.kind === 'failed') return keep(turn, { ...opening, move: null }, [reason('database-failed')]);
  const { move } = result;
  const reported = turn.state.early.filter((report) => report.move === move).map((report) => report.instance);
  turn.state = { ...turn.state, early: turn.state.early.filter((report) => report.move !== move) };
  const nextLookMs = turn.nowMs + lookEveryMs;
  const draining: In<'draining'> = {
    role: 'giver',
    phase: 'draining',
    request,
    asked,
    epoch,
    move,
    waitingFor: result.instances,
    deadlineMs,
    nextLookMs,
  };
  const reasons = reasonsToAbort(turn, draining);
  if (reasons.length > 0) return keep(turn, draining, reasons);
  waitFor(
    turn,
    draining,
    result.instances.filter((name) => !reported.includes(name)),
  );
}

function waitFor(turn: Turn, draining: In<'draining'>, waitingFor: readonly string[]): void {
  const { request, asked, epoch, move, deadlineMs } = draining;
  if (waitingFor.length > 0) return setMove(turn, request.account, { ...draining, waitingFor });
  if (turn.nowMs >= deadlineMs) return keep(turn, draining, [reason('not-drained')]);
  const reasons = reasonsToAbort(turn, draining);
  if (reasons.length > 0) return keep(turn, draining, reasons);
  // M1: the last moment at which this side alone decides.
  const round = nextRound(turn);
  const withinMs = Math.max(1, deadlineMs - turn.nowMs);
  setMove(turn, request.account, { role: 'giver', phase: 'giving', request, asked, round, epoch, move, deadlineMs });
  turn.actions.push({ kind: 'give', round, account: request.account, to: request.to, epoch, move, withinMs });
}

function onGiveAnswered(
  turn: Turn,
  giving: In<'giving'>,
  result: Extract<GivingEvent, { kind: 'give-answered' }>['result'],
): void {
  if (result.kind === 'given') return given(turn, giving, result.epoch);
  if (result.kind === 'kept') return keep(turn, giving, [result.reason]);
  const { request, asked, epoch, move } = giving;
  resolve(turn, { role: 'giver', phase: 'resolving', request, asked, epoch, move, round: null, retryMs: turn.nowMs });
}

function resolve(turn: Turn, move: In<'resolving'>): void {
  const round = nextRound(turn);
  setMove(turn, move.request.account, { ...move, round });
  turn.actions.push({ kind: 'read-deed', round, account: move.request.account });
}

function onDeedRead(
  turn: Turn,
  move: In<'resolving'>,
  deed: Extract<GivingEvent, { kind: 'deed-read' }>['deed'],
): void {
  if (deed === null)
    return setMove(turn, move.request.account, { ...move, round: null, retryMs: turn.nowMs + retryEveryMs });
  if (deed.home !== turn.state.settings.here) return given(turn, move, deed.epoch);
  // M2: only what the database says decides whether it was given.
  keep(turn, move, [reason('database-failed')]);
}

function given(turn: Turn, move: In<'giving' | 'resolving'>, epoch: Epoch): void {
  setMove(turn, move.request.account, null);
  answer(turn, move.request.account, move.asked, { kind: 'given', epoch });
}

function keep(
  turn: Turn,
  move: Pick<Giving, 'request' | 'asked'> & { readonly move: number | null },
  reasons: readonly Reason[],
): void {
  const { request, asked } = move;
  answer(turn, request.account, asked, { kind: 'refused', reasons });
  close(turn, {
    role: 'giver',
    phase: 'closing',
    request,
    asked: [],
    move: move.move,
    round: null,
    retryMs: turn.nowMs,
  });
}

function close(turn: Turn, closing: In<'closing'>): void {
  const round = nextRound(turn);
  setMove(turn, closing.request.account, { ...closing, round });
  turn.actions.push({ kind: 'end-drain', round, account: closing.request.account, move: closing.move });
}

function onDrainEnded(turn: Turn, closing: In<'closing'>, ok: boolean): void {
  const retryMs = turn.nowMs + retryEveryMs;
  setMove(turn, closing.request.account, ok ? null : { ...closing, round: null, retryMs });
}

/** What makes a move stop that has not been given yet: the same as what would have kept it from starting. */
function reasonsToAbort(turn: Turn, move: In<'draining'>): readonly Reason[] {
  return reasonsNotToStart(turn.state, move.request.to, turn.nowMs);
}

function refuse(turn: Turn, account: AccountId, move: Giving, reasons: readonly Reason[]): void {
  setMove(turn, account, null);
  answer(turn, account, move.asked, { kind: 'refused', reasons });
}

function answer(turn: Turn, account: AccountId, ids: readonly string[], outcome: GiveOutcome): void {
  if (ids.length > 0) turn.actions.push({ kind: 'answer', ids, account, outcome });
}
