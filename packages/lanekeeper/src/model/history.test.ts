import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isNewerHistory, readHistory } from './history.ts';
import type { Succession } from './succession.ts';

const take: Succession = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null };
const back: Succession = { term: 3, kind: 'return', from: 'la', to: 'ny', undoes: 2 };

test("an agent's answer is read, and what it says besides is left out", () => {
  expect(readHistory({ term: 1, successions: [] })).toEqual([]);
  expect(readHistory({ term: 3, successions: [{ ...take, cuts: {} }, back] })).toEqual([take, back]);
  const { undoes: _, ...without } = take;
  expect(readHistory({ successions: [without] })).toEqual([take]);
});

test.each([
  null,
  7,
  [],
  {},
  { successions: 'all' },
  { successions: [null] },
  { successions: [{ ...take, term: 1 }] },
  { successions: [{ ...take, term: '2' }] },
  { successions: [{ ...take, kind: 'rob' }] },
  { successions: [{ ...take, to: 'ny' }] },
  { successions: [{ ...take, to: '../la' }] },
  { successions: [back, take] },
  { successions: [take, take] },
])('nonsense is no history: %j', (answer) => {
  expect(readHistory(answer)).toBeNull();
});

test('a history only grows', () => {
  const terms = fc
    .uniqueArray(fc.integer({ min: 2, max: 99 }), { maxLength: 8 })
    .map((some) => some.sort((a, b) => a - b));
  const history = terms.map((some) => some.map((term) => ({ ...take, term })));
  fc.assert(
    fc.property(history, history, (a, b) => {
      expect(isNewerHistory(a, a)).toBe(false);
      expect(isNewerHistory(a, b) && isNewerHistory(b, a)).toBe(false);
      if (isNewerHistory(a, b)) expect(a.slice(0, b.length)).toEqual(b);
    }),
    { seed: 5 },
  );
  expect(isNewerHistory([take, back], [take])).toBe(true);
  expect(isNewerHistory([{ ...take, to: 'fra' }, back], [take])).toBe(false);
});
