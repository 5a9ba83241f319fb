/**
 * Who may write, and how that changes: the protocol of one data center's leading agent as a pure function of state,
 * event and time. It knows no database, no network and no clock; the agent's room carries out what it asks for.
 *
 * Map: `state.ts`, `handover-state.ts` what is known · `events.ts` what happens and what is asked for · `lease.ts` the right to write at all ·
 * `views.ts` what the store says of everybody · `tails.ts` the logs of those who are gone · `takeover.ts` failover · `turnover.ts` switchover and hand-back ·
 * `sync-set.ts` who has what was acknowledged · `rejoin.ts` coming back · `gate.ts` whether the streams may be trusted · `giving.ts` and `receiving.ts` the two sides of a move ·
 * `admission.ts` dwell, budget, "in use" · `clocks.ts` two clocks · `reasons.ts` every reason for a refusal.
 *
 * Invariants, cited at the lines that hold them. R1 to R6 are the rules in ARCHITECTURE.md.
 *
 * - L1 (R4) A lease counts from when its request was sent, so that it ends here before it ends in the store.
 * - L2 (R4) An answer counts only for the question that is open: late and repeated answers change nothing.
 * - L3 (R4) No lease without proof, and none is kept when a later proof fails, the clock steps or another holds it: the
 *   database is told to let go before anything else is tried.
 * - L4 (R4) The store is told of a release only after the database has let go.
 * - M1 (R3) A move is aborted on this side's word only before `give` is sent.
 * - M2 (R1) After that the database's deed decides, however long it takes to read it.
 * - M3 (R1) Nothing is given without a lease, an accepted deed of the expected epoch, and open gates in both directions.
 * - M4 (R6) Everyone who asked is answered, once, with what is so.
 * - M5 (R4) Only the receiver decides about a deed that arrived, and only under its lease.
 * - M6 (R2) It accepts only what the gate and the digest vouch for; what comes back undone needs neither.
 * - V1 (R4) A lease that is not ours counts from when its revision was first seen, for its whole length and the skew.
 * - V2 (E1) The store's history of views is the truth; our database has copies.
 * - T1 (R1) A takeover begins with a new term in the store, which grants it once, and only to one in the sync set.
 * - T2 (R4) Freeze, then cut, then succession: what is beyond the cut cannot arrive anywhere, nor be acknowledged there, any more.
 *   Everybody in the view freezes, and the cut is the most that any of the living has.
 * - T3 (R2) With the succession come all that were decided before it, so that the fold is the same everywhere.
 * - S1 (R1) Everything is given away only under our lease and while every writer waits.
 * - S2 (R6) A decision whose answer was lost is called pending; until it is known, the old home writes on.
 * - S3 (R3) What the store decided is carried out, by this agent or the next.
 * - D1 (R5) What the store records as in sync is waited for by the database, and was heard of within `peerTimeoutMs`.
 * - D2 (R5) The database stops waiting only after the store has forgotten the peer.
 * - J1 (R4) A dc that was taken over reads nothing from its successor before its stranded writes are safe and undone.
 * - J2 A stage that was reached is not done again, and none is skipped.
 * - E1 Terms never fall; epochs are compared, never invented: the database makes them.
 *
 * The simulation in `test/sim/ownership.test.ts` runs two or three of these against a model of databases, streams and a store.
 */
import type { LeaseCredential } from 'lanekeeper/model';
import type { Action, OwnershipEvent } from './events.ts';
import { isUnderWay, onDrained, onGiveAsked, onGivingEvent, onGivingTick, onInstances } from './giving.ts';
import { leaveLease, onLeaseEvent, onLeaseTick } from './lease.ts';
import { reason } from './reasons.ts';
import {
  examineArrived,
  onAcceptAnswered,
  onCompared,
  onDeclineAnswered,
  onDeedArrived,
  onDeedSeen,
} from './receiving.ts';
import { onRejoinAsked, onRejoined, onRejoinTick } from './rejoin.ts';
import type { Ownership, Settings } from './state.ts';
import { beginSync, onReplication, onSyncSet, onSyncTick } from './sync-set.ts';
import { onFrozen, onMended, onTailsTick } from './tails.ts';
import { begun, onFailoverAsked, onTakeoverRecorded, onTakeoverSucceeded, onTakeoverTick } from './takeover.ts';
import type { Turn } from './turn.ts';
import {
  onAllDrained,
  onAllDraining,
  onAllGiven,
  onAllInstances,
  onResumed,
  onSwitchAsked,
  onTurnoverSucceeded,
  onTurnoverTick,
  onWritersLocked,
} from './turnover.ts';
import { beginView, onSuccessionsRead, onViewTick, onWatched } from './views.ts';

export type { Action, Facts, OwnershipEvent } from './events.ts';
export { reasonsNotToStart } from './gate.ts';
export {
  type Cut,
  type FailoverOutcome,
  type Link,
  type RejoinStage,
  rejoinStages,
  type SwitchOutcome,
  type SwitchRequest,
  type TailState,
} from './handover-state.ts';
export { explain, type Reason, type ReasonCode, reason, reasonTable, speaksOfGaps } from './reasons.ts';
export type {
  ArrivedDeed,
  ClockSample,
  Gate,
  GiveOutcome,
  GiveRequest,
  Lease,
  Move,
  Ownership,
  Proof,
  Settings,
} from './state.ts';
export { reasonsNotToTake } from './takeover.ts';
export { leaseLeftMs } from './turn.ts';
export { reasonsNotToSwitch } from './turnover.ts';
export { lapsesInMs, missing } from './views.ts';

/** How an agent that has just come to lead begins. `predecessor`: what the one before left in the database. */
export function begin(settings: Settings, predecessor: LeaseCredential | null, nowMs: number): Ownership {
  return {
    settings,
    term: 1,
    round: 0,
    lease: {
      phase: 'without',
      reasons: [reason('starting')],
      credential: predecessor,
      attempt: { step: 'idle', nextMs: nowMs },
      cleared: false,
    },
    view: beginView(nowMs),
    takeover: { phase: 'none', nextMs: nowMs, waiting: [] },
    tails: new Map(),
    turnover: null,
    sync: beginSync(nowMs),
    rejoin: null,
    gates: new Map(),
    moves: new Map(),
    early: [],
    seen: [],
    leaving: 'no',
  };
}

export type Step = { readonly state: Ownership; readonly actions: readonly Action[] };

/** One event. `nowMs` is the agent's steady clock and never falls. Call with `tick` at least every 100 ms. */
export function step(state: Ownership, event: OwnershipEvent, nowMs: number): Step {
  if (state.lease.phase === 'left') return { state, actions: [] };
  const turn: Turn = { state, actions: [], nowMs };
  handle(turn, event);
  examineArrived(turn);
  if (turn.state.leaving !== 'no' && atRest(turn.state)) leaveLease(turn);
  return { state: turn.state, actions: turn.actions };
}

function handle(turn: Turn, event: OwnershipEvent): void {
  switch (event.kind) {
    case 'tick':
      onViewTick(turn);
      onLeaseTick(turn);
      onTailsTick(turn);
      onTakeoverTick(turn);
      onTurnoverTick(turn);
      onSyncTick(turn);
      onRejoinTick(turn);
      return onGivingTick(turn);
    case 'watched':
      onWatched(turn, event);
      onTailsTick(turn);
      return onTakeoverTick(turn);
    case 'successions-read':
      return onSuccessionsRead(turn, event.terms);
    case 'replication':
      return onReplication(turn, event);
    case 'failover-asked':
      return onFailoverAsked(turn, event);
    case 'switch-asked':
      return onSwitchAsked(turn, event);
    case 'rejoin-asked':
      return onRejoinAsked(turn);
    case 'succeeded':
      onTakeoverSucceeded(turn, event.round, event.result);
      onTailsTick(turn);
      return onTurnoverSucceeded(turn, event.round, event.result);
    case 'frozen':
      onFrozen(turn, event);
      onTailsTick(turn);
      return onTakeoverTick(turn);
    case 'mended':
      onMended(turn, event);
      return onTakeoverTick(turn);
    case 'recorded':
      return onTakeoverRecorded(turn, event);
    case 'all-draining':
      return onAllDraining(turn, event);
    case 'writers-locked':
      return onWritersLocked(turn, event);
    case 'all-given':
      return onAllGiven(turn, event);
    case 'resumed':
      return onResumed(turn, event);
    case 'sync-set':
      return onSyncSet(turn, event);
    case 'rejoined':
      return onRejoined(turn, event);
    case 'leave':
      if (turn.state.leaving === 'no')
        turn.state = { ...turn.state, leaving: event.successor ? 'hand-over' : 'release' };
      return onGivingTick(turn);
    case 'proof':
    case 'store-view':
    case 'store-answer':
    case 'lease-written':
    case 'released':
    case 'clock':
      return onLeaseEvent(turn, event);
    case 'gate': {
      const gates = new Map(turn.state.gates);
      gates.set(event.peer, { observedMs: turn.nowMs, reasons: event.reasons });
      turn.state = { ...turn.state, gates };
      return;
    }
    case 'give-asked':
      return onGiveAsked(turn, event);
    case 'facts':
    case 'drain-begun':
    case 'give-answered':
    case 'deed-read':
    case 'drain-ended':
      return onGivingEvent(turn, event);
    case 'drained':
      if (onAllDrained(turn, event.move, event.instance)) return;
      return onDrained(turn, event.move, event.instance);
    case 'instances':
      onAllInstances(turn, event.alive);
      return onInstances(turn, event.alive);
    case 'deed-arrived':
      return onDeedArrived(turn, event.account, event.deed);
    case 'deed-seen':
      return onDeedSeen(turn, event.account, event.peer, event.epoch);
    case 'compared':
      return onCompared(turn, event);
    case 'accept-answered':
      return onAcceptAnswered(turn, event);
    case 'decline-answered':
      return onDeclineAnswered(turn, event);
  }
}

/** No question about an account is open. What waits for a gate or a lease can wait for the next leader as well. */
function atRest(state: Ownership): boolean {
  if (state.takeover.phase !== 'none' || state.turnover !== null) return false;
  // Nobody else goes on with it, except another agent of this dc.
  if (state.leaving === 'release' && begun(state).length > 0) return false;
  for (const move of state.moves.values())
    if (move.role === 'giver' ? isUnderWay(move) : move.phase !== 'examining') return false;
  return true;
}
