/**
 * Rows that looked different may only be on their way, from one of the two or from a third data center. A difference
 * counts when both sides have applied everything that everybody had when it was first seen, and neither has touched the
 * row since. A row that never stands still is held for a moment (FOR SHARE) in one data center after the other: it must be
 * equal while its home holds it.
 */
import type { DataCenterName } from 'lanekeeper/model';
import { countPending } from '../merge/index.ts';
import { databaseProblem } from '../transaction.ts';
import { clockMs, countOnTheirWay } from './buffered.ts';
import type { Comparable } from './comparable.ts';
import { hasPassed, lockNamed, mark, type Parties, readNamed, reads, type Side } from './side.ts';

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
  parties: Parties,
  c: Comparable,
  suspects: readonly string[],
  options: SettleOptions,
): Promise<Settled> {
  const different: string[] = [];
  let moving = suspects;
  for (let round = 0; round < options.rounds && moving.length > 0; round += 1) {
    const before = await readBoth(parties, c, moving);
    const unequal = moving.filter((key) => before.here.get(key) !== before.there.get(key));
    if (unequal.length === 0) return { different, unsettled: [], reason: null };
    const silent = await untilPassed(parties, c, options.timeoutMs);
    const after = await readBoth(parties, c, unequal);
    const still = unequal.filter((key) => after.here.get(key) !== after.there.get(key));
    if (silent !== null) return { different, unsettled: still, reason: still.length > 0 ? silent : null };
    const stood = (key: string) =>
      before.here.get(key) === after.here.get(key) && before.there.get(key) === after.there.get(key);
    different.push(...still.filter(stood));
    moving = still.filter((key) => !stood(key));
  }
  const unsettled: string[] = [];
  for (const key of moving) {
    const verdict = await hold(parties, c, key);
    if (verdict === 'different') different.push(key);
    if (verdict === 'unknown') unsettled.push(key);
  }
  return { different, unsettled, reason: unsettled.length > 0 ? 'the rows change all the time' : null };
}

type Both = { readonly here: Map<string, string>; readonly there: Map<string, string> };

async function readBoth({ here, there }: Parties, c: Comparable, keys: readonly string[]): Promise<Both> {
  const [ours, theirs] = await Promise.all([readNamed(here, c, keys), readNamed(there, c, keys)]);
  return { here: ours, there: theirs };
}

/** Waits until both sides have applied what everybody has now. Otherwise says what does not come on. */
async function untilPassed(parties: Parties, c: Comparable, timeoutMs: number): Promise<string | null> {
  const { here, there } = parties;
  const others = await parties.others();
  for (const from of [here, there, ...others.reached]) {
    const silent = await untilBothPassed(from, parties, c, timeoutMs);
    if (silent !== null) return silent;
  }
  for (const { dc, message } of others.silent)
    if ((await mayCome(dc, here, c)) || (await mayCome(dc, there, c))) return message;
  return null;
}

async function untilBothPassed(from: Side, { here, there }: Parties, c: Comparable, timeoutMs: number) {
  for (const to of [here, there]) {
    if (from !== here && from !== there && !(await mayCome(from.dc, to, c))) continue;
    const silent = await untilOnePassed(from, to, c, timeoutMs);
    if (silent !== null) return silent;
  }
  return null;
}

/** Nothing comes from a third one whose stream is not read; what it logged for every data center waits there. */
async function mayCome(from: DataCenterName, to: Side, c: Comparable): Promise<boolean> {
  return c.stream === 'everywhere' || (await reads(to, from, c.stream));
}

async function untilOnePassed(from: Side, to: Side, c: Comparable, timeoutMs: number): Promise<string | null> {
  if (c.stream === 'everywhere') return untilNothingWaits(from, to, c, timeoutMs);
  if (from === to) return null;
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

type Verdict = 'equal' | 'different' | 'unknown';

/** Who holds a row that another one is the home of proves nothing by a difference. */
async function hold(parties: Parties, c: Comparable, key: string): Promise<Verdict> {
  const { here, there } = parties;
  for (const holder of [here, there, ...(await parties.others()).reached]) {
    const verdict = await holdIn(holder, parties, c, key);
    if (verdict !== 'different') return verdict;
  }
  return 'different';
}

async function holdIn(holder: Side, parties: Parties, c: Comparable, key: string): Promise<Verdict> {
  const { here, there } = parties;
  try {
    await holder.client.query(`BEGIN; SET LOCAL lock_timeout = ${holdMs}`);
    const held = await lockNamed(holder, c, key);
    // A row that is not there cannot be held: it might be on its way, or be deleted over there.
    if (held === null) return 'unknown';
    if ((await untilBothPassed(holder, parties, c, holdMs)) !== null) return 'unknown';
    const [ours, theirs] = await Promise.all([readNamed(here, c, [key]), readNamed(there, c, [key])]);
    return ours.get(key) === held && theirs.get(key) === held ? 'equal' : 'different';
  } catch (thrown) {
    if (databaseProblem(thrown)?.code === '55P03') return 'unknown';
    throw thrown;
  } finally {
    await holder.client.query('ROLLBACK');
  }
}
