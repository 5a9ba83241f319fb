/** The rules of merging under thousands of schedules; and that a hole in them would be seen. */
import { describe, expect, it } from 'vitest';
import { hunt, mutants, shrink } from './mutants.ts';
import { type Step, scheduleOf } from './schedule.ts';
import { run, World } from './world.ts';

const schedules = 4_000;
const seedsMax = 3_000;

/** Schedules that show what chance seldom does. */
const shownBy: Readonly<Record<string, number>> = {
  'a number used twice': 4843,
  'the floor forgets the era before': 6198,
};

describe('shared rows converge', () => {
  it(`in ${schedules} schedules of all policies, in two and three data centers`, { timeout: 60_000 }, () => {
    const total = { writes: 0, conflicts: 0, purges: 0, waits: 0, eras: 0, refusals: 0 };
    for (let seed = 1; seed <= schedules; seed++) {
      const outcome = run(scheduleOf(seed));
      expect(outcome.violation, `npm run sim -- --merge --from ${seed} --seeds 1`).toBeNull();
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += outcome[name];
    }
    // They are about something.
    expect(total.writes).toBeGreaterThan(8 * schedules);
    for (const name of ['conflicts', 'purges', 'waits', 'eras'] as const)
      expect(total[name], name).toBeGreaterThan(schedules / 20);
  });
});

describe('mutants', () => {
  it('have names of their own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))('caught: %s', { timeout: 60_000 }, (_, mutant) => {
    const known = shownBy[mutant.name];
    const caught = (known === undefined ? null : hunt(mutant, 1, known).caught) ?? hunt(mutant, seedsMax).caught;
    expect(caught).not.toBeNull();
  });

  it('leave a schedule that is smaller and fails alike', () => {
    const mutant = mutants.find(({ name }) => name === 'vectors joined on merge') ?? null;
    const { caught } = hunt(mutant as NonNullable<typeof mutant>, seedsMax);
    const schedule = scheduleOf(caught?.seed ?? 0);
    const small = shrink(schedule, caught?.property ?? '', mutant);
    expect(run(small, mutant).violation?.property).toBe(caught?.property);
    expect(small.steps.length).toBeLessThan(schedule.steps.length / 2);
    expect(run(small).violation).toBeNull();
  });
});

/**
 * The example that the policies come from: weights 300, 200 and 100; each data center changes one value of its own copy at the
 * same time, to 1, 2 and 3; the heaviest is the one that writes 2.
 */
describe('three data centers change one value at the same time', () => {
  const shape = { dcs: [2, 1, 3], applications: [0] };
  const write = (dc: number): Step => ({
    do: 'write',
    dc,
    operation: dc === 1 ? 'insert' : 'upsert',
    key: 1,
    application: 0,
  });
  const orders = (dcs: readonly number[]): number[][] =>
    dcs.length === 0 ? [[]] : dcs.flatMap((dc) => orders(dcs.filter((one) => one !== dc)).map((rest) => [dc, ...rest]));
  const arrivals = (order: readonly number[]): Step[] =>
    order.flatMap((from) =>
      [1, 2, 3].filter((to) => to !== from).map((to) => ({ do: 'deliver', from, to, count: 9 }) as const),
    );

  function ending(policy: 'locality-weight' | 'last-man-standing', order: readonly number[]) {
    const world = new World({ seed: 0, policy, dcs: 3, shapes: [shape], steps: [] });
    const all = [write(1), write(2), write(3), ...arrivals(order)];
    for (const step of all) world.step(step);
    return world;
  }

  it.each(orders([1, 2, 3]))('locality-weight: it becomes 2 everywhere, when they arrive as %i, %i, %i', (...order) => {
    const world = ending('locality-weight', order);
    expect(world.dcs.map((dc) => dc.value(1))).toEqual([2, 2, 2]);
    world.judge();
    const logged = world.dcs.map((dc) => dc.conflicts.map(({ winner, loser }) => [winner.value, loser.value]));
    expect(logged[1]?.sort()).toEqual([
      [2, 1],
      [2, 3],
    ]);
  });

  it('last-man-standing: they stay different', () => {
    const seen = orders([1, 2, 3]).map((order) => ending('last-man-standing', order).dcs.map((dc) => dc.value(1)));
    expect(seen.every((values) => new Set(values).size > 1)).toBe(true);
  });
});
