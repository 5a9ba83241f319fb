import type { OwnershipEvent } from './events.ts';
import { rejoinStages } from './handover-state.ts';
import { nextRound, type Turn } from './turn.ts';
import { effectiveTakeover } from './views.ts';

const againMs = 1_000;

export function onRejoinTick(turn: Turn): void {
  const { view, rejoin, leaving, settings, lease } = turn.state;
  const takenOver = view.own?.takenOver ?? null;
  if (takenOver === null) {
    if (rejoin !== null && rejoin.attempt.step === 'idle') turn.state = { ...turn.state, rejoin: null };
    return;
  }
  const effective = effectiveTakeover(view.history, takenOver);
  if (effective === null) return;
  const { term: from, to: successor } = effective;
  if (rejoin?.term !== from) {
    // J2: a stage of the earlier one that is still being carried out must not go on beside the first of this one.
    if (rejoin?.attempt.step === 'working') return;
    // J2: the successor was taken over itself, and what it had of us need not be what the next one has: all over again.
    const attempt = { step: 'idle', nextMs: turn.nowMs } as const;
    const asked = rejoin?.takenOver === takenOver && rejoin.asked;
    turn.state = {
      ...turn.state,
      rejoin: { takenOver, term: from, successor, asked, next: 'frozen', attempt, problem: null },
    };
    return onRejoinTick(turn);
  }
  if (rejoin.attempt.step !== 'idle' || turn.nowMs < rejoin.attempt.nextMs || leaving !== 'no') return;
  // J1: freezing is not coming back, it is staying away: that is done at once in any case.
  if (rejoin.next !== 'frozen') {
    if (!settings.automaticRejoin && !rejoin.asked) return;
    // J1: what could be written now would be neither stranded nor undone. `taken-over` takes the lease back.
    if (lease.phase !== 'without' || !lease.cleared) return;
  }
  const round = nextRound(turn);
  turn.state = { ...turn.state, rejoin: { ...rejoin, attempt: { step: 'working', round } } };
  const { term, next: stage } = rejoin;
  turn.actions.push({ kind: 'rejoin', round, term, takenOver, successor, stage });
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
