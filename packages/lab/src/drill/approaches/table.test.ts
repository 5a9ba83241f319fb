import { expect, test } from 'vitest';
import type { ApproachResult, Way } from './measure.ts';
import { fitLine, linesOf, median, renderApproachesMarkdown, rowOf } from './table.ts';

const around = (ms: number) => [ms - 1, ms, ms + 1];

/** A customer's write costs `writes` round trips and a read `reads`, on top of 10 ms. */
function result(
  approach: ApproachResult['approach'],
  trips: Record<Way, { readonly writes: number; readonly reads: number }>,
  writers: readonly string[],
): ApproachResult {
  const at = (roundTripMs: number) => {
    const latencies = (way: Way) => ({
      writesMs: around(10 + trips[way].writes * roundTripMs),
      readsMs: around(10 + trips[way].reads * roundTripMs),
      refused: [],
    });
    return { roundTripMs, ways: { first: latencies('first'), second: latencies('second'), away: latencies('away') } };
  };
  return {
    approach,
    distances: [2, 20, 60].map(at),
    dataCenters: ['ny', 'la'],
    writers,
    failure: { roundTripMs: 20, recoveryMs: 6_300, acknowledged: 120, lost: 0, stranded: 1, violated: [] },
  };
}

const remote = result(
  'active-active-apps',
  { first: { writes: 1, reads: 0 }, second: { writes: 5, reads: 0 }, away: { writes: 5, reads: 0 } },
  ['ny'],
);
const local = result(
  'full-active-active',
  { first: { writes: 0, reads: 0 }, second: { writes: 0, reads: 0 }, away: { writes: 0.1, reads: 0 } },
  ['ny', 'la'],
);

test('round trips are the slope over the distances', () => {
  expect(fitLine([[0, 4], [10, 24], [20, 44]])).toEqual({ perRoundTrip: 2, baseMs: 4 }); // biome-ignore format: points
  expect(fitLine([[10, 24]]).perRoundTrip).toBeNaN();
  expect(rowOf(remote, 200).fits.second.writes.perRoundTrip).toBeCloseTo(5);
  expect([median([1, 2, 3]), median([1, 3]), median([])]).toEqual([2, 2, Number.NaN]);
});

test('the largest useful distance is that of whoever is worst off', () => {
  expect(rowOf(remote, 210).usefulRoundTripMs).toBeCloseTo(40);
  expect(rowOf(local, 210).usefulRoundTripMs).toBeNull();
});

test('the table says what was measured', () => {
  const table = renderApproachesMarkdown([remote, local], { budgetMs: 210, roundTripsMs: [2, 20, 60] });
  expect(table).toContain('| databases that customers write | 1 | 2 |');
  expect(table).toContain('| replication in use | one way | both ways |');
  expect(table).toContain('0 of 120, 1 in the ledger');
  expect(table).toContain('| 6.3 s | 6.3 s |');
  expect(table).toContain('| write in the second data center | 20 / 110 / 310 | 10 / 10 / 10 |');
  expect(table).toContain('within 210 ms | 40 ms | any |');
  expect(
    new Set(linesOf([rowOf(remote, 210)], { budgetMs: 210, roundTripsMs: [2] }).map(([title]) => title)).size,
  ).toBe(15);
});
