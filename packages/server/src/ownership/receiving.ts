/**
 * An account that was given to this dc (M5, M6).
 *
 *   examining ──▶ accepting ──▶ ours
 *       │ gate closed for too long   │ digest differs
 *       └──────────▶ declining ◀─────┘   ──▶ the giver's again, with a higher counter
 */
import { type AccountId, compareEpochs } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { reasonsNotToAccept } from './gate.ts';
import { onOvertaken } from './giving.ts';
import { type Reason, reason } from './reasons.ts';
import type { ArrivedDeed, Receiving } from './state.ts';
import { leaseLeftMs, nextRound, setMove, type Turn } from './turn.ts';

type In<Phase extends Receiving['phase']> = Extract<Receiving, { phase: Phase }>;

const retryEveryMs = 200;

export function onDeedArrived(turn: Turn, account: AccountId, deed: ArrivedDeed): void {
  const present = turn.state.moves.get(account);
  if (present?.role === 'receiver' && compareEpochs(deed.epoch, present.deed.epoch) <= 0) return;
  if (present?.role === 'giver') onOvertaken(turn, account, present, deed.epoch);
  examine(turn, account, { role: 'receiver', phase: 'examining', deed, sinceMs: turn.nowMs, reasons: [], retryMs: 0 });
}

export function onAcceptAnswered(turn: Turn, event: Extract<OwnershipEvent, { kind: 'accept-answered' }>): void {
  const move = turn.state.moves.get(event.account);
  if (move?.role !== 'receiver' || move.phase !== 'accepting' || move.round !== event.round) return;
  switch (event.result) {
    case 'accepted':
    case 'already':
      return settle(turn, event.account, move, 'accepted', []);
    case 'stale':
      return settle(turn, event.account, move, 'superseded', []);
    case 'digest-differs':
      return decline(turn, event.account, move, [reason('digest-differs')]);
    case 'no-lease':
    case 'failed':
      return wait(turn, event.account, move, [reason(event.result === 'failed' ? 'database-failed' : 'no-lease')]);
  }
}

export function onDeclineAnswered(turn: Turn, event: Extract<OwnershipEvent, { kind: 'decline-answered' }>): void {
  const move = turn.state.moves.get(event.account);
  if (move?.role !== 'receiver' || move.phase !== 'declining' || move.round !== event.round) return;
  switch (event.result) {
    case 'declined':
      return settle(turn, event.account, move, 'declined', move.reasons);
    case 'already':
      return settle(turn, event.account, move, 'accepted', []);
    case 'stale':
      return settle(turn, event.account, move, 'superseded', []);
    case 'no-lease':
    case 'failed':
      return wait(turn, event.account, move, move.reasons);
  }
}

/** The gate opened or the lease came, or it is time to try again. */
export function examineArrived(turn: Turn): void {
  for (const [account, move] of turn.state.moves)
    if (move.role === 'receiver' && move.phase === 'examining' && turn.nowMs >= move.retryMs)
      examine(turn, account, move);
}

function examine(turn: Turn, account: AccountId, move: In<'examining'>): void {
  const { deed, sinceMs } = move;
  const { acceptWithinMs, here } = turn.state.settings;
  // M5: accepting and declining both write the deed, so both need the lease (R4). Without it, its succession decides.
  if (leaseLeftMs(turn.state, turn.nowMs) === 0)
    return setMove(turn, account, { ...move, reasons: [reason('no-lease', here)] });
  const reasons = deed.returned ? [] : reasonsNotToAccept(turn.state, deed.giver);
  if (reasons.length === 0) {
    const round = nextRound(turn);
    setMove(turn, account, { role: 'receiver', phase: 'accepting', deed, sinceMs, round });
    turn.actions.push({ kind: 'accept', round, account, epoch: deed.epoch });
  } else if (turn.nowMs - sinceMs >= acceptWithinMs) decline(turn, account, move, reasons);
  else setMove(turn, account, { ...move, reasons });
}

function decline(turn: Turn, account: AccountId, { deed, sinceMs }: Receiving, reasons: readonly Reason[]): void {
  const round = nextRound(turn);
  setMove(turn, account, { role: 'receiver', phase: 'declining', deed, sinceMs, round, reasons });
  turn.actions.push({ kind: 'decline', round, account, epoch: deed.epoch, reasons });
}

function wait(turn: Turn, account: AccountId, { deed, sinceMs }: Receiving, reasons: readonly Reason[]): void {
  const retryMs = turn.nowMs + retryEveryMs;
  setMove(turn, account, { role: 'receiver', phase: 'examining', deed, sinceMs, reasons, retryMs });
}

function settle(
  turn: Turn,
  account: AccountId,
  { deed }: Receiving,
  outcome: 'accepted' | 'declined' | 'superseded',
  reasons: readonly Reason[],
): void {
  setMove(turn, account, null);
  turn.actions.push({ kind: 'settled', account, epoch: deed.epoch, outcome, reasons });
}
