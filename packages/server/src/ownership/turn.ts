/** One turn of the protocol: a working copy of the state and the actions collected so far. Never leaves `step`. */
import type { AccountId } from 'lanekeeper/model';
import type { Action } from './events.ts';
import type { Lease, Move, Ownership } from './state.ts';

export type Turn = { state: Ownership; readonly actions: Action[]; readonly nowMs: number };

/** The number for the next question. */
export function nextRound(turn: Turn): number {
  const round = turn.state.round + 1;
  turn.state = { ...turn.state, round };
  return round;
}

export function setLease(turn: Turn, lease: Lease): void {
  turn.state = { ...turn.state, lease };
}

export function setMove(turn: Turn, account: AccountId, move: Move | null): void {
  const moves = new Map(turn.state.moves);
  if (move === null) moves.delete(account);
  else moves.set(account, move);
  turn.state = { ...turn.state, moves };
}

/** How much of the lease is left, in milliseconds; 0 without one. */
export function leaseLeftMs(state: Ownership, nowMs: number): number {
  return state.lease.phase === 'held' ? Math.max(0, state.lease.grant.untilMs - nowMs) : 0;
}
