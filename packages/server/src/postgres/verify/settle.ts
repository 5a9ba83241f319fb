/**
 * Rows that looked different may only be on their way. A difference counts when both sides have applied everything that
 * the other had when it was first seen, and neither has touched the row since. A row that never stands still is held for
 * a moment (FOR SHARE) in one data center and then in the other: it must be equal while its home holds it.
 */
import { countPending } from '../merge/index.ts';
import { databaseProblem } from '../transaction.ts';
import { clockMs, countOnTheirWay } from './buffered.ts';
import type { Comparable } from './comparable.ts';
import { hasPassed, lockNamed, mark, readNamed, type Side } from './side.ts';

export type Settled = {
  /** Keys (JSON) whose rows differ for good. */
  readonly different: readonly string[];
  /** Keys that could not be decided, and why. */
  readonly unsettled: readonly string[];
  readonly reason: string | null;
};

export type SettleOptions = {
  /** How long the streams get to come past a position. */
  readonly timeoutMs: number;
  /** How often a row that changes under our eyes is looked at again before it is held. */
  readonly rounds: number;
};

/** One row is held at most about this long. */
const holdMs = 500;

export async function settle(
  here: Side,
  there: Side,
  c: Comparable,
  suspects: readonly string[],
  options: SettleOptions,
): Promise<Settled> {
  const different: string[] = [];
  let moving = suspects;
  for (let round = 0; round < options.rounds && moving.length > 0; round += 1) {
    const before = await readBoth(here, there, c, moving);
    const unequal = moving.filter((key) => before.here.get(key) !== before.there.get(key));
    if (unequal.length === 0) return { different, unsettled: [], reason: null };
    const silent = await untilPassed(here, there, c, options.timeoutMs);
    if (silent !== null) return { different, unsettled: unequal, reason: silent };
    const after = await readBoth(here, there, c, unequal);
    const still = unequal.filter((key) => after.here.get(key) !== after.there.get(key));
    const stood = (key: string) =>
      before.here.get(key) === after.here.get(key) && before.there.get(key) === after.there.get(key);
    different.push(...still.filter(stood));
    moving = still.filter((key) => !stood(key));
  }
  const unsettled: string[] = [];
  for (const key of moving) {
    const verdict = await hold(here, there, c, key);
    if (verdict === 'different') different.push(key);
    if (verdict === 'unknown') unsettled.push(key);
  }
  return { different, unsettled, reason: unsettled.length > 0 ? 'the rows change all the time' : null };
}

type Both = { readonly here: Map<string, string>; readonly there: Map<string, string> };

async function readBoth(here: Side, there: Side, c: Comparable, keys: readonly string[]): Promise<Both> {
  const [ours, theirs] = await Promise.all([readNamed(here, c, keys), readNamed(there, c, keys)]);
  return { here: ours, there: theirs };
}

/** Waits until each side has applied what the other has now. Otherwise says which stream does not come on. */
async function untilPassed(here: Side, there: Side, c: Comparable, timeoutMs: number): Promise<string | null> {
  const [ours, theirs] = await Promise.all([
    untilOnePassed(here, there, c, timeoutMs),
    untilOnePassed(there, here, c, timeoutMs),
  ]);
  return ours ?? theirs;
}

async function untilOnePassed(from: Side, to: Side, c: Comparable, timeoutMs: number): Promise<string | null> {
  if (c.stream === 'everywhere') return untilNothingWaits(from, to, c, timeoutMs);
  const lsn = await mark(from);
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const passed = await hasPassed(from, to.dc, c.stream, lsn);
    const pending = passed === true && c.stream === 'rest' ? await countPending(to.marker, c.table) : 0;
    if (passed === true && pending === 0) return null;
    if (passed === null) return `${to.dc} does not read the ${c.stream} stream of ${from.dc}`;
    if (Date.now() > deadline && pending > 0) return `${pending} changes of ${c.table} wait to be merged in ${to.dc}`;
    if (Date.now() > deadline) return `the ${c.stream} stream from ${from.dc} to ${to.dc} does not come on`;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function untilNothingWaits(from: Side, to: Side, c: Comparable, timeoutMs: number): Promise<string | null> {
  const sinceMs = await clockMs(from.marker);
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const waiting = await countOnTheirWay(from.marker, to.dc, c.table, sinceMs);
    if (waiting === 0) return null;
    if (Date.now() > deadline) return `${waiting} writes of ${c.table} wait in ${from.dc} for ${to.dc}`;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function hold(here: Side, there: Side, c: Comparable, key: string): Promise<'equal' | 'different' | 'unknown'> {
  const first = await holdIn(here, there, c, key);
  if (first === 'equal' || first === 'unknown') return first;
  return holdIn(there, here, c, key);
}

async function holdIn(
  holder: Side,
  other: Side,
  c: Comparable,
  key: string,
): Promise<'equal' | 'different' | 'unknown'> {
  try {
    await holder.client.query(`BEGIN; SET LOCAL lock_timeout = ${holdMs}`);
    const held = await lockNamed(holder, c, key);
    // A row that is not there cannot be held: it might be on its way, or be deleted over there.
    if (held === null) return 'unknown';
    const silent = await untilOnePassed(holder, other, c, holdMs);
    if (silent !== null) return 'unknown';
    const seen = await readNamed(other, c, [key]);
    return seen.get(key) === held ? 'equal' : 'different';
  } catch (thrown) {
    if (databaseProblem(thrown)?.code === '55P03') return 'unknown';
    throw thrown;
  } finally {
    await holder.client.query('ROLLBACK');
  }
}
