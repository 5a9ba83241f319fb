/**
 * Who may write, and how that changes: the protocol of one data center's leading agent as a pure function of state,
 * event and time. It knows no database, no network and no clock; the agent's room carries out what it asks for.
 *
 * Map: `state.ts` what is known · `events.ts` what happens and what is asked for · `lease.ts` the right to write at all ·
 * `gate.ts` whether the streams may be trusted · `giving.ts` and `receiving.ts` the two sides of a move ·
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
 * - E1 Terms never fall; epochs are compared, never invented: the database makes them.
 *
 * The simulation in `test/sim/ownership.test.ts` runs two of these against a model of databases, streams and a store.
 */
import type { LeaseCredential } from 'lanekeeper/model';
import type { Action, OwnershipEvent } from './events.ts';
import { isUnderWay, onDrained, onGiveAsked, onGivingEvent, onGivingTick, onInstances } from './giving.ts';
import { leaveLease, onLeaseEvent, onLeaseTick } from './lease.ts';
import { reason } from './reasons.ts';
import { examineArrived, onAcceptAnswered, onDeclineAnswered, onDeedArrived } from './receiving.ts';
import type { Ownership, Settings } from './state.ts';
import type { Turn } from './turn.ts';

export type { Action, Facts, OwnershipEvent } from './events.ts';
export { reasonsNotToStart } from './gate.ts';
export { explain, type Reason, type ReasonCode, reason, reasonTable } from './reasons.ts';
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
export { leaseLeftMs } from './turn.ts';

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
    gates: new Map(),
    moves: new Map(),
    early: [],
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
      onLeaseTick(turn);
      return onGivingTick(turn);
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
      return onDrained(turn, event.move, event.instance);
    case 'instances':
      return onInstances(turn, event.alive);
    case 'deed-arrived':
      return onDeedArrived(turn, event.account, event.deed);
    case 'accept-answered':
      return onAcceptAnswered(turn, event);
    case 'decline-answered':
      return onDeclineAnswered(turn, event);
  }
}

/** No question about an account is open. What waits for a gate or a lease can wait for the next leader as well. */
function atRest(state: Ownership): boolean {
  for (const move of state.moves.values())
    if (move.role === 'giver' ? isUnderWay(move) : move.phase !== 'examining') return false;
  return true;
}
