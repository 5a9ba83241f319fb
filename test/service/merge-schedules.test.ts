/** Dozens of seeded schedules of shared rows, on real PostgreSQL and on the model: the same rows, stamps and conflicts in both. */
import { describe, expect, it } from 'vitest';
import type { MergePolicy, Shape } from '../sim/merge/rules.ts';
import { lanesOf, RealLanes } from '../support/merge-lanes.ts';
import { testTrio } from '../support/trio.ts';

const policies = ['timestamp-weight', 'locality-weight', 'application-weight'] as const;
const weights = { ny: 200, la: 300, fra: 100 };
const applications = { a1: 100, a2: 300 };
/** Others are tried with another number. */
const seed = Number(process.env.MERGE_SCHEDULES_SEED ?? 1);

function tablesOf(count: number): Record<string, MergePolicy> {
  const names = Array.from({ length: count }, (_, index) => `lane_${index}`);
  return Object.fromEntries(names.map((name, index) => [name, policies[index % policies.length] as MergePolicy]));
}

describe.each([
  [2, 18, 8],
  [3, 18, 8],
] as const)('in %i data centers', (size, count, phases) => {
  it(`${count} schedules end as the rules say`, { timeout: 300_000 }, async () => {
    const policyOf = tablesOf(count);
    const names = Object.keys(policyOf);
    const trio = await testTrio({
      size,
      schema: names.map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY, value int);`).join('\n'),
      tables: Object.fromEntries(
        names.map((name) => [name, { class: 'system-of-reference', policy: policyOf[name] as MergePolicy }]),
      ),
      weights,
      applications,
    });
    try {
      const shapeOf = (policy: MergePolicy): Shape => ({
        dcs: (policy === 'locality-weight' ? [2, 1, 3] : [1, 2, 3]).filter((dc) => dc <= size),
        applications: [2, 1, 0],
      });
      const lanes = lanesOf(seed, policyOf, size, phases, shapeOf);
      const real = await RealLanes.open(trio);
      try {
        await real.run(seed, lanes, phases);
        await real.compare(lanes);
      } finally {
        await real.close();
      }
      expect(real.differences.slice(0, 3)).toEqual([]);
      // The model itself holds what must hold: causality, false conflicts and policy on the way, the rest now.
      for (const { world } of lanes) world.judge();
      const { writes, held, pending, conflicts, eras } = real.written;
      for (const [what, times] of Object.entries({
        writes: writes / 60,
        held: held / 3,
        pending: pending,
        conflicts: conflicts / 10,
        eras: eras / 2,
      }))
        expect(times, what).toBeGreaterThan(1);
    } finally {
      await trio.stop();
    }
  });
});
