/**
 * This dc was taken over and comes back (J1, J2): one stage after the other, each safe to repeat, each remembered in the
 * database, so that an agent that starts anew goes on where the last one stopped. Nothing is written by applications until
 * the end, since the store gives no lease before `readmitted`.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import { nextRound, type Turn } from './turn.ts';

/** In this order. `rejoinStages[0]` is where a dc begins that has just learned of it. */
export const rejoinStages = [
  /** Reads nothing from the successor. */
  'frozen',
  /** What was written here beyond the cut is in the successor's ledger, durably. */
  'stranded',
  /** And is gone from here: every row that it touched. */
  'undone',
  /** The successor's stream is applied, and the rows that it sent again. */
  'caught-up',
  /** The successor reads from here again, from new slots. */
  'streaming',
  /** Both hold the same. */
  'verified',
  /** A new generation, and the store knows it. */
  'readmitted',
] as const;
export type RejoinStage = (typeof rejoinStages)[number];

export type Rejoin = {
  /** The term in which this dc was taken over, and by whom. */
  readonly term: number;
  readonly successor: DataCenterName;
  /** Asked for by a person, where it is not automatic. */
  readonly asked: boolean;
  /** The next stage to reach. */
  readonly next: RejoinStage;
  readonly attempt:
    | { readonly step: 'idle'; readonly nextMs: number }
    | { readonly step: 'working'; readonly round: number };
  /** Why the present stage is not reached yet, for a person; null while nothing is known to be wrong. */
  readonly problem: string | null;
};

const againMs = 1_000;

export function onRejoinTick(turn: Turn): void {
  const { view, rejoin, leaving, settings } = turn.state;
  const takenOver = view.own?.takenOver ?? null;
  if (takenOver === null) {
    if (rejoin !== null && rejoin.attempt.step === 'idle') turn.state = { ...turn.state, rejoin: null };
    return;
  }
  const successor = view.history.find(({ term }) => term === takenOver)?.to;
  if (successor === undefined) return;
  if (rejoin?.term !== takenOver) {
    const attempt = { step: 'idle', nextMs: turn.nowMs } as const;
    turn.state = {
      ...turn.state,
      rejoin: { term: takenOver, successor, asked: false, next: 'frozen', attempt, problem: null },
    };
    return onRejoinTick(turn);
  }
  if (rejoin.attempt.step !== 'idle' || turn.nowMs < rejoin.attempt.nextMs || leaving !== 'no') return;
  // J1: freezing is not coming back, it is staying away: that is done at once in any case.
  if (rejoin.next !== 'frozen' && !settings.automaticRejoin && !rejoin.asked) return;
  const round = nextRound(turn);
  turn.state = { ...turn.state, rejoin: { ...rejoin, attempt: { step: 'working', round } } };
  const { term, next: stage } = rejoin;
  turn.actions.push({ kind: 'rejoin', round, term, successor, stage });
}

export function onRejoinAsked(turn: Turn): void {
  const { rejoin } = turn.state;
  if (rejoin !== null) turn.state = { ...turn.state, rejoin: { ...rejoin, asked: true } };
}

export function onRejoined(turn: Turn, event: Extract<OwnershipEvent, { kind: 'rejoined' }>): void {
  const { rejoin } = turn.state;
  if (rejoin?.attempt.step !== 'working' || rejoin.attempt.round !== event.round) return;
  const { result } = event;
  if (result.kind !== 'reached') {
    const attempt = { step: 'idle', nextMs: turn.nowMs + againMs } as const;
    turn.state = { ...turn.state, rejoin: { ...rejoin, attempt, problem: result.problem } };
    return;
  }
  // J2: the database says how far it is; a stage that was reached in an earlier life is not done again.
  const next = rejoinStages[rejoinStages.indexOf(result.stage) + 1];
  const attempt = { step: 'idle', nextMs: turn.nowMs } as const;
  turn.state = { ...turn.state, rejoin: { ...rejoin, attempt, problem: null, next: next ?? 'readmitted' } };
}
