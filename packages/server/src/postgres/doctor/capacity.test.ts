import { expect, test } from 'vitest';
import { judgeCapacity } from './capacity.ts';

const of = (capacities: Record<string, { limit: number; peak: number } | null>) =>
  judgeCapacity({
    dataCenters: Object.fromEntries(Object.entries(capacities).map(([name, capacity]) => [name, { name, capacity }])),
  } as never);

test('nothing is said where nobody said anything, or there is nobody to take over', () => {
  expect(of({ ny: null, la: null })).toEqual([]);
  expect(of({ ny: { limit: 1, peak: 100 } })).toEqual([]);
});

test('one that is not known makes it unknown', () => {
  expect(of({ ny: { limit: 100, peak: 1 }, la: null })).toMatchObject([{ code: 'capacity-unknown', subject: 'la' }]);
});

test('each failure is looked at by itself', () => {
  expect(of({ ny: { limit: 1000, peak: 600 }, la: { limit: 900, peak: 300 } })).toEqual([]);
  const found = of({ ny: { limit: 1000, peak: 600 }, la: { limit: 700, peak: 300 } });
  expect(found).toMatchObject([{ severity: 'warning', code: 'capacity', subject: 'ny' }]);
  expect(found[0]?.what).toBe(
    'without ny, la can serve 700 requests a second of the 900 that come at the busiest time',
  );
});
