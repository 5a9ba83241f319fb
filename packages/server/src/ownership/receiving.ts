/**
 * An account that was given to this dc (M5, M6).
 *
 *   examining ──▶ accepting ──▶ ours                (R3: once everybody who holds a lease has the deed; the rows are
 *       │             │                               compared meanwhile)
 *       │ gate closed for too long   │ digest differs
 *       └──────────▶ declining ◀─────┘   ──▶ the giver's again, with a higher counter
 */
import { type AccountId, compareEpochs, type DataCenterName, type Epoch } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { reasonsNotToAccept, thirds } from './gate.ts';
import { onOvertaken } from './giving.ts';
import { type Reason, reason } from './reasons.ts';
import type { ArrivedDeed, Receiving } from './state.ts';
import { leaseLeftMs, nextRound, setMove, type Turn } from './turn.ts';

type In<Phase extends Receiving['phase']> = Extract<Receiving, { phase: Phase }>;

const retryEveryMs = 200;
/** The others tell us when a deed arrives there; who has not is asked after that long, and again. */
const askAfterMs = 250;
const askEveryMs = 500;
/** A deed that others have and we have not arrives soon, or is found out by asking. */
const seenKeptMs = 10_000;
const seenMax = 10_000;

export function onDeedArrived(turn: Turn, account: AccountId, deed: ArrivedDeed): void {
  const present = turn.state.moves.get(account);
  if (present?.role === 'receiver' && compareEpochs(deed.epoch, present.deed.epoch) <= 0) return;
  if (present?.role === 'giver') onOvertaken(turn, account, present, deed.epoch);
  const seenBy = turn.state.seen.flatMap((one) =>
    one.account === account && compareEpochs(one.epoch, deed.epoch) >= 0 ? [one.peer] : [],
  );
  turn.state = { ...turn.state, seen: turn.state.seen.filter((one) => one.account !== account) };
  const { nowMs } = turn;
  const askMs = nowMs + askAfterMs;
  examine(turn, account, {
    role: 'receiver',
    phase: 'examining',
    deed,
    sinceMs: nowMs,
    seenBy,
    comparing: null,
    compared: false,
    reasons: [],
    retryMs: 0,
    askMs,
  });
  const move = turn.state.moves.get(account);
  if (move?.role !== 'receiver' || move.phase !== 'examining' || lackingTheDeed(turn, move).length === 0) return;
  const comparing = nextRound(turn);
  setMove(turn, account, { ...move, comparing });
  turn.actions.push({ kind: 'compare', round: comparing, account, epoch: deed.epoch });
}

export function onCompared(turn: Turn, event: Extract<OwnershipEvent, { kind: 'compared' }>): void {
  const move = turn.state.moves.get(event.account);
  if (move?.role !== 'receiver' || move.phase !== 'examining' || move.comparing !== event.round) return;
  setMove(turn, event.account, { ...move, comparing: null, compared: event.same });
}

export function onDeedSeen(turn: Turn, account: AccountId, peer: DataCenterName, epoch: Epoch): void {
  const move = turn.state.moves.get(account);
  if (move?.role !== 'receiver' || compareEpochs(epoch, move.deed.epoch) > 0) {
    const fresh = turn.state.seen.filter(({ atMs }) => turn.nowMs - atMs < seenKeptMs).slice(1 - seenMax);
    turn.state = { ...turn.state, seen: [...fresh, { account, peer, epoch, atMs: turn.nowMs }] };
  }
  if (move?.role !== 'receiver' || compareEpochs(epoch, move.deed.epoch) < 0 || move.seenBy.includes(peer)) return;
  setMove(turn, account, { ...move, seenBy: [...move.seenBy, peer] });
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

/** Who has to have the deed and has not said so. What was given back never left: nobody wrote anything since. */
function lackingTheDeed(turn: Turn, { deed, seenBy }: Receiving): readonly DataCenterName[] {
  return deed.returned ? [] : thirds(turn.state, deed.giver).filter((third) => !seenBy.includes(third));
}

function examine(turn: Turn, account: AccountId, move: In<'examining'>): void {
  const { deed, sinceMs, seenBy, compared, comparing } = move;
  const { acceptWithinMs, here } = turn.state.settings;
  // M5: accepting and declining both write the deed, so both need the lease (R4). Without it, its succession decides.
  if (leaseLeftMs(turn.state, turn.nowMs) === 0)
    return setMove(turn, account, { ...move, reasons: [reason('no-lease', here)] });
  const unseen = lackingTheDeed(turn, move);
  const reasons = deed.returned ? [] : reasonsNotToAccept(turn.state, deed.giver);
  if (unseen.length > 0) {
    if (turn.nowMs >= move.askMs) {
      turn.actions.push({ kind: 'ask-seen', account, epoch: deed.epoch, peers: unseen });
      return setMove(turn, account, { ...move, askMs: turn.nowMs + askEveryMs });
    }
  }
  const all = [...reasons, ...unseen.map((third) => reason('third-lacks-deed', third))];
  if (all.length === 0) {
    if (comparing !== null) return;
    const round = nextRound(turn);
    setMove(turn, account, { role: 'receiver', phase: 'accepting', deed, sinceMs, seenBy, round });
    turn.actions.push({ kind: 'accept', round, account, epoch: deed.epoch, compared });
  } else if (turn.nowMs - sinceMs >= acceptWithinMs) decline(turn, account, move, all);
  else setMove(turn, account, { ...move, reasons: all });
}

function decline(turn: Turn, account: AccountId, move: Receiving, reasons: readonly Reason[]): void {
  const { deed, sinceMs, seenBy } = move;
  const round = nextRound(turn);
  setMove(turn, account, { role: 'receiver', phase: 'declining', deed, sinceMs, seenBy, round, reasons });
  turn.actions.push({ kind: 'decline', round, account, epoch: deed.epoch, reasons });
}

function wait(turn: Turn, account: AccountId, move: Receiving, reasons: readonly Reason[]): void {
  const { deed, sinceMs, seenBy } = move;
  setMove(turn, account, {
    role: 'receiver',
    phase: 'examining',
    deed,
    sinceMs,
    seenBy,
    comparing: null,
    compared: false,
    reasons,
    retryMs: turn.nowMs + retryEveryMs,
    askMs: turn.nowMs,
  });
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
