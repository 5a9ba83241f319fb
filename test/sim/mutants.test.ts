/** Every hole that the protocol closes, opened: a simulation that cannot see one of them proves nothing by finding nothing. */
import { describe, expect, it } from 'vitest';
import { hunt, mutants } from './mutants.ts';

/** Schedules known to show a mutant; others are tried when the protocol or the models have changed. */
const shownBy: Readonly<Record<string, number>> = {};
const seedsMax = 300;

describe('mutants', () => {
  it('are many, and each has a name of its own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
    expect(mutants.length).toBeGreaterThanOrEqual(20);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
    'caught: %s',
    { timeout: 60_000 },
    (name, mutant) => {
      const known = shownBy[name];
      const seeds = Array.from({ length: seedsMax }, (_, index) => index + 1);
      const { caught } = hunt(mutant, known === undefined ? seeds : [known, ...seeds]);
      expect(caught).not.toBeNull();
      // Not a fault of the models themselves.
      expect(caught?.invariant, caught?.message).not.toBe('failure');
    },
  );
});
