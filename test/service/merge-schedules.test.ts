/** Dozens of seeded schedules of shared rows, on real PostgreSQL and on the model: the same rows, stamps and conflicts in both. */
import { describe, expect, it } from 'vitest';
import { mutants } from '../sim/merge/mutants.ts';
import type { MergePolicy, Shape } from '../sim/merge/rules.ts';
import type { Step } from '../sim/merge/schedule.ts';
import { run, World } from '../sim/merge/world.ts';
import { type Lane, lanesOf, RealLanes } from '../support/merge-lanes.ts';
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

/** In dc 2 a write loses, and its next one comes to stand beside a line that grew from the lost one. */
const twice: readonly Step[] = [
  write(1, 'insert'),
  { do: 'deliver', from: 1, to: 2, count: 9 },
  { do: 'deliver', from: 1, to: 3, count: 9 },
  write(2, 'update'),
  { do: 'deliver', from: 2, to: 3, count: 9 },
  write(1, 'update'),
  { do: 'deliver', from: 1, to: 2, count: 9 },
  write(2, 'update'),
  write(3, 'update'),
  { do: 'deliver', from: 3, to: 1, count: 9 },
  write(1, 'update'),
];

function write(dc: number, operation: 'insert' | 'update'): Step {
  return { do: 'write', dc, operation, key: 1, application: 0 };
}

/** No number that a lost write has used is used again: else the last write here would pass for one that knew of the one before. */
async function numbersAreUsedOnce(real: RealLanes, shape: Shape): Promise<void> {
  const schedule = { seed: 0, policy: 'timestamp-weight', dcs: 3, shapes: [shape], steps: twice } as const;
  const mutant = mutants.find(({ name }) => name === 'a number used twice') ?? null;
  expect(run(schedule, mutant).violation?.property).toBe('silent loss');
  const lane: Lane = { ...schedule, table: 'twice', world: new World(schedule) };
  await real.play(lane);
  await real.compare([lane]);
  lane.world.judge();
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
      schema: [...names, 'twice'].map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY, value int);`).join('\n'),
      tables: Object.fromEntries(
        [...names, 'twice'].map((name) => [
          name,
          { class: 'system-of-reference', policy: policyOf[name] ?? 'timestamp-weight' },
        ]),
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
        if (size === 3) await numbersAreUsedOnce(real, shapeOf('timestamp-weight'));
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
        pending,
        conflicts: conflicts / 10,
        eras: eras / 2,
      }))
        expect(times, what).toBeGreaterThan(1);
    } finally {
      await trio.stop();
    }
  });
});
