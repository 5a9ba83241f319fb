/** Every hole that the protocol closes, opened: a simulation that cannot see one of them proves nothing by finding nothing. */
import { describe, expect, it } from 'vitest';
import { hunt, mutants } from './mutants.ts';

/** Schedules known to show a mutant; others are tried when the protocol or the models have changed. */
const shownBy: Readonly<Record<string, number>> = {
  'no check at commit': 11,
  'a vanished lease is permission': 35,
  'the lease survives a crash': 90,
  'a lease for one who was taken over': 321,
  'disabled, the worker not terminated': 48,
  'cut read before the freeze': 24,
  'the next agent does not go on with a takeover': 89,
  'succession without the earlier ones': 145,
  'given away before the store decided': 98,
  'given away while somebody writes': 33,
  'no comparison of views with an old snapshot': 47,
  'recorded as in sync before the database waits': 4,
  'a cancelled wait is success': 12,
  'accepted without the digest': 18,
  'arrived means accepted': 18,
  'stranded by slot position, not by commit end': 4,
  'stranded while somebody writes': 163,
  'undone before the ledger is durable': 7,
  'one of the sync set is enough': 10,
  'recorded before the others have said how far they came': 21,
  'recorded without what another one has': 21,
  'read on without the tail': 52,
  'what is not kept is taken for nothing': 1237,
  'the acceptance before the deed': 3,
  'a deed before the succession of its term': 2427,
  'an adoption before what it goes by': 23,
  'marks put down without a lease': 98,
  'only the own log is stranded': 36,
  'nothing fetched in coming back': 53,
  'two that are back never read each other': 24,
  'slots for those who are gone': 2551,
  'a row tells only of those who were gone in its term': 34_392,
  'set aside once and for all': 139,
};
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
