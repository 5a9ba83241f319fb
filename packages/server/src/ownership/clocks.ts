/** The database's clocks against the agent's own. The agent's wall clock is never asked: it may be another machine's. */
import type { ClockSample, Settings } from './state.ts';

/**
 * Whether the database server's wall clock moved against ours by more than half the skew since `then` (faults.md, remedy
 * 3). A reading is only known to lie between its two ends, so what a slow answer could explain is no step.
 */
export function stepped(then: ClockSample, now: ClockSample, settings: Settings): boolean {
  const atLeastMs = now.wallMs - now.receivedMs - (then.wallMs - then.sentMs);
  const atMostMs = now.wallMs - now.sentMs - (then.wallMs - then.receivedMs);
  return atLeastMs > settings.skewMs / 2 || atMostMs < -settings.skewMs / 2;
}

/**
 * What the database's clocks will show at `atMs` of ours, at the latest: the reading is taken to be as old as it can be
 * young, so that a lease written by it ends rather too early than too late.
 */
export function translate(
  clock: ClockSample,
  atMs: number,
): { readonly wallMs: number; readonly uptimeMs: number | null } {
  const passedMs = atMs - clock.receivedMs;
  return {
    wallMs: Math.floor(clock.wallMs + passedMs),
    uptimeMs: clock.uptimeMs === null ? null : Math.floor(clock.uptimeMs + passedMs),
  };
}
