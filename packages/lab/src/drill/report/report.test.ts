import { expect, test } from 'vitest';
import type { History, Outcome, Verdict } from '../checker/index.ts';
import { faultLine, renderSvg, sparkline } from './chart.ts';
import { answersOf, bucketsOf, lateness, pausesOf, recoveryOf } from './figures.ts';
import { renderIndex, renderMarkdown } from './markdown.ts';
import type { DrillReport } from './result.ts';
import { renderLine, renderReport } from './text.ts';

const done: Outcome = { kind: 'acknowledged', dataCenter: 'ny', durability: null };
const refused: Outcome = { kind: 'refused', code: 'LK_NO_LEASE', dataCenter: 'ny' };

/** `a1` at home in ny, served until 2 s and again from 9 s on; `a2` at home in la, always; `a3` travels. */
const history: History = {
  homes: { a1: 'ny', a2: 'la', a3: 'ny' },
  travellers: new Set(['a3']),
  operations: [
    ...[1_000, 2_000, 9_000, 9_500].map((endMs) => one('a1', endMs, done)),
    one('a1', 3_000, refused),
    ...[1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000].map((endMs) => one('a2', endMs, done)),
    one('a3', 1_000, done),
    one('a3', 9_900, done),
  ],
};

function one(account: string, endMs: number, outcome: Outcome): History['operations'][number] {
  return {
    number: endMs,
    account,
    wanted: { kind: 'add', amount: 1 },
    attempts: [{ startMs: endMs - 20, endMs, via: 'ny', outcome }],
  };
}

const round = { at: 'ny', faultMs: 2_500, healMs: 8_000, backMs: 9_000 };
const moments = { detectedMs: 3_500, decidedMs: 7_500, promotedMs: 7_900 };

test('how long customers waited, and what that was made of', () => {
  expect(pausesOf(history, round.faultMs, 10_000)).toEqual([
    { account: 'a1', home: 'ny', fromMs: 2_000, toMs: 9_000 },
    { account: 'a2', home: 'la', fromMs: 2_000, toMs: 3_000 },
  ]);
  expect(recoveryOf(history, round, moments, 10_000)).toEqual({
    noticed: 1,
    customers: 2,
    lastClientMs: 6_500,
    firstWriteMs: 6_500,
    detectMs: 1_000,
    leaseWaitMs: 4_000,
    promoteMs: 400,
  });
  const unseen = { detectedMs: 3_500, decidedMs: null, promotedMs: null };
  expect(recoveryOf(history, round, unseen, 10_000)).toMatchObject({
    detectMs: null,
    leaseWaitMs: null,
    promoteMs: null,
  });
});

test('late is who came back after what was expected', () => {
  expect(lateness(history, round, { writesAgainMs: 7_000, after: 'fault' }, 10_000)).toBeNull();
  expect(lateness(history, round, { writesAgainMs: 6_000, after: 'fault' }, 10_000)).toMatch(/^1 customers .* 6500 ms/);
  expect(lateness(history, round, { writesAgainMs: 1_000, after: 'heal' }, 10_000)).toBeNull();
  expect(lateness(history, round, { writesAgainMs: 900, after: 'heal' }, 10_000)).toMatch(/1000 ms from healing/);
  expect(lateness(history, round, { writesAgainMs: null, after: 'fault' }, 10_000)).toBeNull();
});

test('attempts over time, and answers by how often', () => {
  const buckets = bucketsOf(history, 1_000, 10_000);
  expect(buckets).toHaveLength(10);
  expect(buckets[3]).toEqual({ fromMs: 3_000, done: 1, refused: 1, unknown: 0 });
  expect(answersOf(history)).toEqual([['refused: LK_NO_LEASE', 1]]);
});

const holds: Verdict = { kind: 'holds', looked: 'everywhere' };
const report: DrillReport = {
  name: 'dc-killed',
  group: 'processes',
  description: 'kill -9 of everything',
  needsThree: false,
  expectation: 'the other one takes over',
  passed: false,
  failures: ['1 customers were late'],
  seed: 7,
  at: 'ny',
  rounds: [round],
  verdicts: {
    W1: holds,
    D1: { kind: 'violated', violations: ['order "v1" was lost', 'order "v2" was lost'] },
    G1: holds,
    C1: holds,
    E1: { kind: 'not checked', why: 'the log went with its database' },
    X1: holds,
    A1: holds,
  },
  tally: {
    acknowledged: 15,
    acknowledgedRemote: 3,
    refused: 1,
    unknown: 0,
    lost: 2,
    lostRemote: 0,
    duplicated: 0,
    stranded: 0,
  },
  recoveries: [recoveryOf(history, round, moments, 10_000)],
  timeline: [{ atMs: 2_500, text: 'dc-killed in ny' }],
  buckets: bucketsOf(history, 1_000, 10_000),
  bucketMs: 1_000,
  answers: answersOf(history),
  said: [],
  environment: {
    commit: 'abc',
    changed: false,
    node: '20',
    postgres: '18.4',
    leases: 'PostgreSQL',
    dataCenters: 2,
    roundTripMs: 20,
    links: 'connections',
  },
  startedAtMs: 0,
  tookMs: 20_000,
};
const plain = { bold: String, dim: String, green: String, red: String };

test('the chart has a column for what was done and a band for the fault', () => {
  expect(sparkline(report.buckets)).toHaveLength(10);
  expect(faultLine(report)).toBe('  ▲▲▲▲▲▲▲');
  const svg = renderSvg({ ...report, name: 'a < b' });
  expect(svg.match(/<rect/g)?.length).toBeGreaterThan(12);
  expect(svg).toContain('a &lt; b');
});

test('a failed drill says what, and how to see it once more', () => {
  const text = renderReport(report, plain);
  expect(text).toContain('FAILED; once more with: lanekeeper drill dc-killed --seed 7');
  expect(text).toContain('order "v2" was lost');
  expect(text).toContain('1 customers were late');
  expect(text).toContain('not checked, the log went with its database');
  expect(text).toContain(
    'detect 1.00 s, lease wait 4.00 s, promote 0.40 s, first write after 6.50 s, last client after 6.50 s',
  );
  expect(renderLine(report, plain)).toMatch(/^✗ dc-killed .*15 acknowledged, 2 lost/);
});

test('a page has the commit, the seeds, the number of runs, and what failed', () => {
  const page = renderMarkdown([{ ...report, passed: true, seed: 6, failures: [] }, report], 'dc-killed.svg');
  for (const part of [
    '# Drill: dc-killed',
    '**1 of 2 runs passed**',
    'Commit abc,',
    'seeds 6, 7',
    '2 runs',
    '![Attempts of customers over time](dc-killed.svg)',
    '- 1 customers were late',
    '- D1: order "v1" was lost',
    '| E1: an epoch never falls, anywhere | 0 of 2 | 2 |',
  ])
    expect(page).toContain(part);
  expect(renderIndex([{ file: 'dc-killed.md', text: page }])).toContain(
    '| [dc-killed](dc-killed.md) | 1 of 2 | 6.50 s to 6.50 s | 30 | 4 | abc |',
  );
});
