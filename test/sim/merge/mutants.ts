/** Holes in the rules of merging, opened one at a time, and which property notices. */
import { compareStamps, countersAt, eraOf, rules } from './rules.ts';
import { type Schedule, scheduleOf } from './schedule.ts';
import { type Mutant, run } from './world.ts';

export const mutants: readonly Mutant[] = [
  {
    name: 'vectors joined on merge',
    rules: {
      replaced: (present, arriving) =>
        present === null || eraOf(present) !== eraOf(arriving)
          ? arriving
          : arriving.map((element, i) => (i === arriving.length - 1 ? element : Math.max(element, present[i] ?? 0))),
    },
  },
  { name: 'no floor after a purge', rules: { raiseFloor: () => [] } },
  { name: 'the floor is what was purged last', rules: { raiseFloor: (_, purged) => [purged] } },
  {
    name: 'the floor is the largest that was purged',
    rules: {
      raiseFloor: ([floor], purged) => [floor !== undefined && compareStamps(floor, purged) > 0 ? floor : purged],
    },
  },
  {
    name: 'the floor forgets the era before',
    rules: { raiseFloor: (floors, purged) => rules.raiseFloor(floors, purged).slice(0, 1) },
  },
  { name: 'purged before every data center has it', purgesEarly: true },
  { name: 'eras ignored', rules: { inForce: (present) => present, knows: () => true } },
  { name: 'a new era has no root', rules: { root: () => null } },
  {
    name: 'a tie of the clocks goes to what arrives',
    rules: {
      stays: (policy, present, arriving) =>
        policy === 'timestamp-weight'
          ? compareStamps(present.stamp.slice(0, 2), arriving.stamp.slice(0, 2)) > 0
          : rules.stays(policy, present, arriving),
    },
  },
  { name: 'what arrives wins', rules: { stays: () => false } },
  { name: 'what is there stays', rules: { stays: () => true } },
  {
    name: 'the clock does not advance beyond the version',
    rules: {
      next: (policy, layout, base, used, writer, nowMs) => {
        const stamp = rules.next(policy, layout, base, used, writer, nowMs);
        return policy === 'timestamp-weight' ? stamp.with(1, nowMs) : stamp;
      },
    },
  },
  {
    name: 'a write raises the clock only',
    rules: {
      next: (policy, layout, base, used, writer, nowMs) => {
        const stamp = rules.next(policy, layout, base, used, writer, nowMs);
        if (policy !== 'timestamp-weight' || base === null || eraOf(base) !== layout.era) return stamp;
        return [...stamp.slice(0, 2), ...base.slice(2, -1), writer.dc];
      },
    },
  },
  {
    name: 'a number used twice',
    rules: { next: (policy, layout, base, _used, writer, nowMs) => rules.next(policy, layout, base, 0, writer, nowMs) },
  },
  {
    name: 'counters of an older era go on',
    rules: {
      next: (policy, layout, base, used, writer, nowMs) => {
        const length = countersAt(policy, layout) + layout.dcs.length + 1;
        const same = base !== null && base.length === length ? base.with(0, layout.era) : base;
        return rules.next(policy, layout, same, used, writer, nowMs);
      },
    },
  },
  {
    name: 'the lightest first',
    rules: {
      next: (policy, layout, base, used, writer, nowMs) => {
        const turned = { ...layout, dcs: layout.dcs.toReversed(), applications: layout.applications.toReversed() };
        return rules.next(policy, turned, base, used, writer, nowMs);
      },
    },
  },
  {
    name: 'an application counts, its data center does not',
    rules: {
      next: (policy, layout, base, used, writer, nowMs) => {
        const stamp = rules.next(policy, layout, base, used, writer, nowMs);
        if (policy !== 'application-weight') return stamp;
        const first = countersAt(policy, layout);
        return stamp.map((element, i) => (i >= first && i < stamp.length - 1 ? 0 : element));
      },
    },
  },
  { name: 'of two that wait, the later is kept', rules: { keep: (_, arriving) => [arriving] } },
  {
    name: 'of two that wait, the earlier is kept',
    rules: { keep: (waiting, arriving) => (waiting.length > 0 ? waiting : [arriving]) },
  },
  { name: 'what waits is forgotten by a rollback', forgetsWaiting: true },
  { name: 'every difference is a conflict', rules: { covers: () => false } },
  { name: 'the larger covers the smaller', rules: { covers: (a, b) => compareStamps(a.stamp, b.stamp) >= 0 } },
];

export type Kill = {
  readonly mutant: Mutant;
  readonly caught: { readonly property: string; readonly message: string; readonly seed: number } | null;
};

export function hunt(mutant: Mutant, seeds: number, from = 1): Kill {
  for (let seed = from; seed < from + seeds; seed++) {
    const { violation } = run(scheduleOf(seed), mutant);
    if (violation !== null) return { mutant, caught: { ...violation, seed } };
  }
  return { mutant, caught: null };
}

const runsMax = 2_000;

/** A smaller schedule that fails in the same way. */
export function shrink(schedule: Schedule, property: string, mutant: Mutant | null = null): Schedule {
  let runs = 0;
  let present = schedule;
  for (let size = present.steps.length; size >= 1; size = Math.floor(size / 2))
    for (let at = 0; at < present.steps.length; ) {
      const smaller = { ...present, steps: present.steps.toSpliced(at, size) };
      if (runs++ < runsMax && run(smaller, mutant).violation?.property === property) present = smaller;
      else at += size;
    }
  return present;
}
