import { expect, test } from 'vitest';
import { type ApproachNeeds, adviseApproach } from './approach.ts';

const needs: ApproachNeeds = {
  rtoMs: 30_000,
  rpoMs: 0,
  distanceMs: 60,
  statementsPerPage: 12,
  writesPerPage: 3,
  ability: 'medium',
  sessionsShared: false,
};

test.each<[string, Partial<ApproachNeeds>, string | null]>([
  ['half an hour is time enough to wake a passive one', { rtoMs: 1_800_000, ability: 'low' }, 'active-passive'],
  ['also for those who could do more', { rtoMs: 1_800_000, ability: 'high' }, 'active-passive'],
  ['at full size already, it is quick', { scaleOutMs: 0, ability: 'low' }, 'active-passive'],
  ['close, few statements, no change', { distanceMs: 2, ability: 'low' }, 'active-active-apps'],
  ['at the rule itself', { distanceMs: 25, ability: 'low' }, 'active-active-apps'],
  ['just beyond the rule', { distanceMs: 25.1, ability: 'low' }, null],
  ['close, but a page with a hundred statements', { distanceMs: 5, statementsPerPage: 100, ability: 'low' }, null],
  ['the same, for those who adopt an SDK', { distanceMs: 5, statementsPerPage: 100 }, 'mostly-active-active'],
  ['an ocean apart from the next coast', {}, 'mostly-active-active'],
  ['shared accounts: 180 ms is within the budget of many', { sessionsShared: true }, 'mostly-active-active'],
  ['shared accounts, further: 3 × 150 ms is not', { sessionsShared: true, distanceMs: 150 }, 'stateless-frontends'],
  ['few customers bear 3 × 150 ms', { distanceMs: 150 }, 'mostly-active-active'],
  ['nobody bears 8 × 150 ms', { distanceMs: 150, writesPerPage: 8 }, 'stateless-frontends'],
  ['one call is too far as well', { distanceMs: 400, writesPerPage: 8 }, null],
  [
    'who routes customers, is not bound by distance',
    { distanceMs: 400, writesPerPage: 8, ability: 'high' },
    'full-active-active',
  ],
  ['who can, saves 180 ms a page', { ability: 'high' }, 'full-active-active'],
  [
    'who can, does not for 30 ms a page',
    { ability: 'high', distanceMs: 10, statementsPerPage: 3 },
    'active-active-apps',
  ],
  ['no lease runs out that soon', { rtoMs: 5_000, ability: 'high' }, null],
])('%s', (_why, change, chosen) => {
  const advice = adviseApproach({ ...needs, ...change });
  expect(advice.chosen).toBe(chosen);
  expect(advice.verdicts).toHaveLength(5);
  // Every one that is not fit says why not, and nobody is chosen who is not fit.
  for (const one of advice.verdicts) expect(one.reasons.length).toBeGreaterThan(0);
  expect(advice.verdicts.filter(({ fits }) => fits).map(({ approach }) => approach)).toEqual(
    chosen === null ? [] : expect.arrayContaining([chosen]),
  );
  expect(advice.nearest === null).toBe(chosen !== null);
});

test('the sums are shown', () => {
  const { verdicts, notes } = adviseApproach(needs);
  const of = (name: string) => verdicts.find(({ approach }) => approach === name);
  expect(of('active-passive')).toMatchObject({
    fits: false,
    reasons: [
      'writing stands still for up to 309 s, and 30 s is the most (9 s with passive applications at full size: --scale-out 0s)',
    ],
    rtoMs: 309_000,
  });
  expect(of('active-active-apps')?.reasons).toEqual([
    '60 ms apart is not close: the rule is 25 ms',
    'half of the customers would wait 720 ms more for a page that writes (300 ms is the most)',
  ]);
  expect(of('mostly-active-active')?.arithmetic.join()).toContain('3 writes × 60 ms = 180 ms');
  expect(of('mostly-active-active')?.arithmetic[0]).toBe(
    'takeover: lease 6 s + skew 1 s + last renewal 2 s = at most 9 s',
  );
  expect(of('full-active-active')?.reasons.join()).toContain('it asks for high ability');
  expect(notes[0]).toContain('1 × 60 ms when the 3 writes of a page are one transaction, 3 × 60 = 180 ms');
  expect(adviseApproach({ ...needs, rpoMs: 5_000 }).notes[0]).toContain('durability: local');
});

test('when none fits, what would have to give is said', () => {
  const { nearest, why } = adviseApproach({ ...needs, rtoMs: 5_000, ability: 'high' });
  expect(why).toContain('none');
  expect(nearest?.gives).toEqual(['writing stands still for up to 9 s, and 5 s is the most']);
  // Servers can be bought sooner than ability.
  expect(adviseApproach({ ...needs, ability: 'low' }).nearest).toEqual({
    approach: 'active-passive',
    gives: [expect.stringContaining('--scale-out 0s')],
  });
});
