/** Numbers out of a history: rates, pauses, and the parts of the time until customers write again. Pure. */
import type { History, Operation } from '../checker/index.ts';
import type { Bucket, Moments, Recovery, Round } from './result.ts';

/** Shorter gaps are what shopping looks like. */
const noticeableMs = 1_500;

export type Pause = { readonly account: string; readonly home: string; readonly fromMs: number; readonly toMs: number };

/** The longest time that each customer waited between two things that were done, around and after `sinceMs`. */
export function pausesOf(history: History, sinceMs: number, untilMs: number): readonly Pause[] {
  const pauses: Pause[] = [];
  for (const [account, home] of Object.entries(history.homes)) {
    if (history.travellers.has(account)) continue;
    const dones = history.operations
      .filter((operation) => operation.account === account)
      .flatMap(doneAt)
      .sort((a, b) => a - b);
    let longest: Pause | null = null;
    let lastMs = dones.findLast((ms) => ms <= sinceMs) ?? sinceMs;
    for (const ms of dones.filter((one) => one > sinceMs && one <= untilMs)) {
      if (longest === null || ms - lastMs > longest.toMs - longest.fromMs)
        longest = { account, home, fromMs: lastMs, toMs: ms };
      lastMs = ms;
    }
    if (longest !== null) pauses.push(longest);
  }
  return pauses;
}

function doneAt({ attempts }: Operation): readonly number[] {
  const done = attempts.find(({ outcome }) => outcome.kind === 'acknowledged');
  return done === undefined ? [] : [done.endMs];
}

export function recoveryOf(history: History, round: Round, moments: Moments, endMs: number): Recovery {
  const { faultMs } = round;
  const pauses = pausesOf(history, faultMs, endMs);
  const long = pauses.filter(({ fromMs, toMs }) => toMs - fromMs > noticeableMs);
  const backs = long.map(({ toMs }) => toMs - faultMs);
  // Others may have waited for a moment as well, for a peer that does not confirm any more.
  const hit = long.filter(({ home }) => home === round.at);
  const first = (hit.length > 0 ? hit : long).map(({ toMs }) => toMs - faultMs);
  const { detectedMs, decidedMs, promotedMs } = moments;
  return {
    noticed: long.length,
    customers: pauses.length,
    lastClientMs: backs.length === 0 ? null : Math.max(...backs),
    firstWriteMs: first.length === 0 ? null : Math.min(...first),
    detectMs: promotedMs === null || detectedMs === null ? null : detectedMs - faultMs,
    leaseWaitMs: promotedMs === null || detectedMs === null || decidedMs === null ? null : decidedMs - detectedMs,
    promoteMs: promotedMs === null || decidedMs === null ? null : promotedMs - decidedMs,
  };
}

/** Null when customers were back in time; otherwise by how much they were late. */
export function lateness(
  history: History,
  round: Round,
  expectation: { readonly writesAgainMs: number | null; readonly after: 'fault' | 'heal' },
  endMs: number,
): string | null {
  const { writesAgainMs, after } = expectation;
  if (writesAgainMs === null) return null;
  const fromMs = after === 'fault' ? round.faultMs : round.healMs;
  const late = pausesOf(history, round.faultMs, endMs).filter(
    (pause) =>
      pause.toMs - pause.fromMs > noticeableMs && pause.toMs - fromMs > writesAgainMs && pause.fromMs < round.healMs,
  );
  if (late.length === 0) return null;
  const worst = Math.max(...late.map(({ toMs }) => toMs - fromMs));
  const from = after === 'fault' ? 'the fault' : 'healing';
  return `${late.length} customers were served again only after up to ${Math.round(worst)} ms from ${from} on; ${writesAgainMs} ms were expected`;
}

/** Attempts by when they ended. */
export function bucketsOf(history: History, bucketMs: number, endMs: number): readonly Bucket[] {
  const count = Math.max(1, Math.ceil(endMs / bucketMs));
  const buckets = Array.from({ length: count }, (_, index) => ({
    fromMs: index * bucketMs,
    done: 0,
    refused: 0,
    unknown: 0,
  }));
  for (const { attempts } of history.operations) {
    for (const { endMs: at, outcome } of attempts) {
      const bucket = buckets[Math.floor(at / bucketMs)];
      if (bucket === undefined) continue;
      if (outcome.kind === 'acknowledged') bucket.done += 1;
      else bucket[outcome.kind] += 1;
    }
  }
  return buckets;
}

/** Attempts that ended otherwise than done, by what was said, the most frequent first. */
export function answersOf(history: History): readonly (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const { attempts } of history.operations) {
    for (const { outcome } of attempts) {
      const name =
        outcome.kind === 'acknowledged'
          ? null
          : outcome.kind === 'refused'
            ? `refused: ${outcome.code}`
            : `unknown: ${outcome.why}`;
      if (name !== null) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  return [...counts].sort(([, a], [, b]) => b - a);
}
