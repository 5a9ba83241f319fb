/**
 * The log of a dc that was taken over, as far as it came here (T2). Everybody ends its streams from there, whoever takes over,
 * says in the store how far they had come, and fetches what another one of the living has and it has not.
 *
 *   unknown ── freezing ──▶ known, reported with the next renewal ── another has more: mending ──▶ known
 *
 * What is reported is where the last transaction ends that left something; what is known here may be more, since a worker comes past log
 * that holds nothing for it. So nobody has to fetch what is nothing, and whoever has come past a report has all of it.
 *
 * Only reports of the same takeover are compared, and only of those that were not taken over themselves: what nobody alive has
 * is stranded.
 */
import { comparePositions, type DataCenterName, type Tail } from 'lanekeeper/model';
import type { OwnershipEvent } from './events.ts';
import type { Cut, TailState } from './handover-state.ts';
import type { Ownership } from './state.ts';
import { nextRound, type Turn } from './turn.ts';

const againMs = 250;
/** Freezing ends a worker and waits for it. */
const freezeWithinMs = 10_000;
/** As long as there is something to fetch it goes on, and says so by an answer. */
const mendWithinMs = 60_000;

export function onTailsTick(turn: Turn): void {
  const { view, tails } = turn.state;
  for (const of of tails.keys()) if (view.peers.get(of)?.record.takenOver === null) set(turn, of, null);
  for (const [of, { record }] of view.peers) {
    const term = record.takenOver;
    if (term === null) continue;
    const known = tails.get(of);
    if (known?.term !== term)
      set(turn, of, {
        term,
        cut: null,
        fetched: null,
        attempt: { step: 'idle', nextMs: turn.nowMs },
        problem: null,
      });
    const tail = turn.state.tails.get(of) as TailState;
    const dueMs = tail.attempt.step === 'idle' ? tail.attempt.nextMs : tail.attempt.deadlineMs;
    if (turn.nowMs >= dueMs) attempt(turn, of, tail);
  }
}

function attempt(turn: Turn, of: DataCenterName, tail: TailState): void {
  const { term, cut } = tail;
  const { nowMs } = turn;
  if (cut === null || tail.attempt.step === 'mending') {
    const round = nextRound(turn);
    set(turn, of, { ...tail, cut: null, attempt: { step: 'freezing', round, deadlineMs: nowMs + freezeWithinMs } });
    turn.actions.push({ kind: 'freeze', round, from: of, term });
    return;
  }
  const source = mostAdvanced(turn.state, of, term, cut);
  if (source === null) return;
  const round = nextRound(turn);
  set(turn, of, {
    ...tail,
    attempt: { step: 'mending', round, deadlineMs: nowMs + mendWithinMs, upTo: beyond(source.upTo, cut) },
  });
  turn.actions.push({ kind: 'mend', round, of, term, ...source });
}

export function onFrozen(turn: Turn, event: Extract<OwnershipEvent, { kind: 'frozen' }>): void {
  const found = waiting(turn.state, event.round);
  if (found === null) return;
  const [of, tail] = found;
  const nextMs = turn.nowMs + (event.cut === null ? againMs : 0);
  set(turn, of, { ...tail, cut: event.cut, attempt: { step: 'idle', nextMs } });
}

export function onMended(turn: Turn, event: Extract<OwnershipEvent, { kind: 'mended' }>): void {
  const found = waiting(turn.state, event.round);
  if (found === null) return;
  const [of, tail] = found;
  const { result } = event;
  if (result.kind === 'reached') {
    const attempt = { step: 'idle', nextMs: turn.nowMs } as const;
    const fetched = tail.attempt.step === 'mending' ? tail.attempt.upTo : tail.fetched;
    return set(turn, of, { ...tail, cut: result.cut, fetched, attempt, problem: null });
  }
  // Some of it may be here all the same: how far it is now has to be asked.
  const nextMs = turn.nowMs + (result.kind === 'lost' ? mendWithinMs : againMs);
  set(turn, of, { ...tail, cut: null, attempt: { step: 'idle', nextMs }, problem: result.problem });
}

/** What is known here of one that was taken over in `term`; null before its streams have ended. */
export function tailOf({ tails }: Ownership, of: DataCenterName, term: number): Cut | null {
  const tail = tails.get(of);
  return tail?.term === term ? tail.cut : null;
}

/** Those in the view that have not said yet how far they had come in the log of `of`, which was taken over in `term`. */
export function unreported({ view }: Ownership, of: DataCenterName, term: number): readonly DataCenterName[] {
  return [...view.peers].flatMap(([peer, { record }]) =>
    peer === of || record.takenOver !== null || record.positions.frozen?.[of]?.term === term ? [] : [peer],
  );
}

/** Whether some of the living has more of it than `cut`. */
export function isBehind(state: Ownership, of: DataCenterName, term: number, cut: Cut): boolean {
  return mostAdvanced(state, of, term, cut) !== null;
}

/** Something is known here that the store was not told yet. */
export function wantsReport({ view, tails, lease }: Ownership): boolean {
  if (lease.phase !== 'held') return false;
  const reported = view.own?.positions.frozen ?? {};
  return [...tails].some(([of, { term, cut, fetched }]) => cut !== null && !isTold(reported[of], term, fetched));
}

/** Of a stream of which we have more there is nothing to fetch. */
function beyond(upTo: Cut, cut: Cut): Cut {
  const of = (stream: keyof Cut) => (comparePositions(upTo[stream], cut[stream]) > 0 ? upTo[stream] : '0/0');
  return { homed: of('homed'), rest: of('rest') };
}

function isTold(reported: Tail | undefined, term: number, fetched: Cut | null): boolean {
  return reported?.term === term && (fetched === null || covers(reported, fetched));
}

/** Whether the one comes up to the other, in both streams. */
export function covers(tail: Cut, other: Cut): boolean {
  return comparePositions(tail.homed, other.homed) >= 0 && comparePositions(tail.rest, other.rest) >= 0;
}

function mostAdvanced(
  { view }: Ownership,
  of: DataCenterName,
  term: number,
  cut: Cut,
): { readonly from: DataCenterName; readonly upTo: Cut } | null {
  for (const stream of ['homed', 'rest'] as const) {
    let best: { readonly from: DataCenterName; readonly upTo: Cut } | null = null;
    for (const [from, { record }] of view.peers) {
      const { positions, takenOver } = record;
      const theirs = positions.frozen?.[of];
      if (takenOver !== null || theirs?.term !== term) continue;
      if (comparePositions(theirs[stream], best?.upTo[stream] ?? cut[stream]) <= 0) continue;
      // As it was said: of the other stream we may have more ourselves.
      best = { from, upTo: { homed: theirs.homed, rest: theirs.rest } };
    }
    if (best !== null) return best;
  }
  return null;
}

function waiting({ tails }: Ownership, round: number): readonly [DataCenterName, TailState] | null {
  for (const [of, tail] of tails) if (tail.attempt.step !== 'idle' && tail.attempt.round === round) return [of, tail];
  return null;
}

function set(turn: Turn, of: DataCenterName, tail: TailState | null): void {
  const tails = new Map(turn.state.tails);
  if (tail === null) tails.delete(of);
  else tails.set(of, tail);
  turn.state = { ...turn.state, tails };
}
