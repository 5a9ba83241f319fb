/**
 * The rules by which shared rows converge, as pure functions: what stamp a write gets, which of two versions stays, whether two
 * writes are in conflict. `sql/000008.sql` says the same in SQL; `test/service/merge-schedules.test.ts` compares the two.
 *
 * 1. A stamp is `[era, policy part…, dc]`; the larger one wins, element by element from the left.
 * 2. A write raises counters of the version that it was written on, so what has seen another is larger (max respects causality);
 *    its data center's counter becomes a number that this has never used for the key before.
 * 3. A merge puts the winner in place as it is. Nothing is joined.
 * 4. Neither covers the other, counter by counter: they are in conflict. The loser is logged.
 * 5. A key that was purged starts from the floor, with that of the era before as its root. A write on a version of an older era starts from zeros and remembers that version
 *    as its root.
 */

import { createHash } from 'node:crypto';

export type Stamp = readonly number[];

export type MergePolicy = 'timestamp-weight' | 'locality-weight' | 'application-weight' | 'last-man-standing';

export type Writer = {
  /** Its number in the configuration, 1 … */
  readonly dc: number;
  /** Its number among those that the configuration weighs; 0: none of them. */
  readonly application: number;
};

/** What the counters of one era stand for, heaviest first. */
export type Layout = {
  readonly era: number;
  readonly dcs: readonly number[];
  readonly applications: readonly number[];
};

/** What a configuration says of it. */
export type Shape = Omit<Layout, 'era'>;

export type Version = {
  readonly stamp: Stamp;
  /** The version of an earlier era on which the first write of this one was made. */
  readonly root: Stamp | null;
  /** Which write made it: for whoever watches, no rule looks at it. */
  readonly write: number;
  /** Null: deleted. */
  readonly value: number | null;
};

export type Rules = {
  /** `used`: the highest number that the writing data center has used for this key in this era. */
  next(policy: MergePolicy, layout: Layout, base: Stamp | null, used: number, writer: Writer, nowMs: number): Stamp;
  /** Whether the version there stays when another one arrives. */
  stays(policy: MergePolicy, present: Version, arriving: Version): boolean;
  /** Whether whoever wrote `a` knew of `b`. */
  covers(a: Version, b: Version): boolean;
  /** The root of a write on this base. */
  root(layout: Layout, base: Stamp | null, baseRoot: Stamp | null): Stamp | null;
  /** The stamp of a version that another one has just taken the place of. */
  replaced(present: Stamp | null, arriving: Stamp): Stamp;
  /** What writes of a purged key start from: of each era, beginning with the present one. */
  raiseFloor(floors: readonly Stamp[], purged: Stamp): readonly Stamp[];
  /** The layout by which a data center stamps, when one has come in the stream. */
  inForce(present: Layout, arriving: Layout): Layout;
  /** Whether a write on this base may be stamped in this era. */
  knows(layout: Layout, base: Stamp | null): boolean;
  /** What waits for a locked row when one more arrives. */
  keep(waiting: readonly Version[], arriving: Version): readonly Version[];
};

/**
 * Where the counters of data centers begin: behind the era, and behind the clock, or the counters of applications. What is
 * between decides first; the counters of data centers say who knew of whom.
 */
export function countersAt(policy: MergePolicy, layout: Layout): number {
  if (policy === 'timestamp-weight') return 2;
  return policy === 'application-weight' ? 1 + layout.applications.length : 1;
}

/** As the database has it. */
export function shapeText(policy: MergePolicy, { dcs, applications }: Shape): string {
  const named = policy === 'application-weight' ? applications.filter((one) => one !== 0) : [];
  return `${policy}|{${dcs.join(',')}}|{${named.map((one) => `"a${one}"`).join(',')}}`;
}

/** The era that begins with a shape: one higher, and the same wherever it is declared. */
export function eraAfter(era: number, shape: string): number {
  const hash = Number.parseInt(createHash('md5').update(shape).digest('hex').slice(0, 8), 16);
  return (Math.floor(era / 2 ** 32) + 1) * 2 ** 32 + hash;
}

export function eraOf(stamp: Stamp): number {
  return stamp[0] ?? 0;
}

export function compareStamps(a: Stamp, b: Stamp): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** A data center's number for its latest write, in a stamp of this layout's era. */
export function numberOf(policy: MergePolicy, layout: Layout, stamp: Stamp, dc: number): number {
  return stamp[countersAt(policy, layout) + layout.dcs.indexOf(dc)] ?? 0;
}

export const rules: Rules = {
  next(policy, layout, base, used, writer, nowMs) {
    const first = countersAt(policy, layout);
    const builds = base !== null && eraOf(base) === layout.era;
    const stamp = builds ? [...base] : [layout.era, ...Array.from({ length: first + layout.dcs.length }, () => 0)];
    if (policy === 'timestamp-weight') stamp[1] = Math.max(nowMs, (stamp[1] as number) + 1);
    if (policy === 'application-weight') {
      const place = 1 + layout.applications.indexOf(writer.application);
      stamp[place] = (stamp[place] as number) + 1;
    }
    const own = first + layout.dcs.indexOf(writer.dc);
    // A version of this data center that lost has used its number: the same one twice would say of either that the other is known.
    stamp[own] = Math.max(stamp[own] as number, used) + 1;
    stamp[stamp.length - 1] = writer.dc;
    return stamp;
  },
  stays(policy, present, arriving) {
    return policy === 'last-man-standing'
      ? rules.covers(present, arriving)
      : compareStamps(present.stamp, arriving.stamp) >= 0;
  },
  covers(a, b) {
    const eraOfA = eraOf(a.stamp);
    const eraOfB = eraOf(b.stamp);
    if (eraOfA === eraOfB) return isNowhereSmaller(a.stamp, b.stamp);
    if (eraOfA < eraOfB || a.root === null) return false;
    // Of an era before the root's nothing is known any more, and a conflict that is none helps nobody.
    return eraOf(a.root) === eraOfB ? isNowhereSmaller(a.root, b.stamp) : eraOf(a.root) > eraOfB;
  },
  root(layout, base, baseRoot) {
    return base !== null && eraOf(base) < layout.era ? base : baseRoot;
  },
  replaced(_present, arriving) {
    return arriving;
  },
  raiseFloor(floors, purged) {
    const same = floors.find((floor) => eraOf(floor) === eraOf(purged)) ?? purged;
    // Of each element the larger one: it is not smaller than any that was purged, and covers all of them.
    const raised = same.map((element, i) => Math.max(element, purged[i] as number));
    return [...floors.filter((floor) => floor !== same), raised].sort((a, b) => eraOf(b) - eraOf(a));
  },
  inForce(present, arriving) {
    return arriving.era > present.era ? arriving : present;
  },
  knows(layout, base) {
    return base === null || eraOf(base) <= layout.era;
  },
  keep(waiting, arriving) {
    if (waiting.some((one) => rules.covers(one, arriving))) return waiting;
    return [...waiting.filter((one) => !rules.covers(arriving, one)), arriving];
  },
};

/** All but the data center at the end. */
function isNowhereSmaller(a: Stamp, b: Stamp): boolean {
  return b.slice(0, -1).every((element, i) => (a[i] ?? 0) >= element);
}
