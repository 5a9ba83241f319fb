/** C1, X1, A1, the ledger and the user's own assertions. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadAssertion, runAssertion } from './assertions.ts';
import { judgeCharges } from './charges.ts';
import type { History, Outcome } from './history.ts';
import { judgeOthers } from './others.ts';
import { differing, ledgerOf } from './rows.ts';
import { judgeSilence, newTrouble } from './trouble.ts';

describe('C1', () => {
  test('the same rows in another order are equal; one more, one less, one other are not', () => {
    expect(
      differing('t', [
        ['ny', ['a', 'b']],
        ['la', ['b', 'a']],
      ]),
    ).toEqual([]);
    expect(
      differing('t', [
        ['ny', ['a', 'a']],
        ['la', ['a']],
      ]),
    ).toHaveLength(1);
    expect(
      differing('t', [
        ['ny', ['a']],
        ['la', ['a', 'b']],
      ]),
    ).toHaveLength(1);
    expect(
      differing('t', [
        ['ny', ['h1:(1,x)']],
        ['la', ['h2:(1,y)']],
      ]),
    ).toEqual(['t: 2 rows differ between ny and la (only in ny: (1,x); only in la: (1,y))']);
  });
});

describe('X1', () => {
  const conflict = { counters: { 'la lanekeeper_ny_homed confl_update_missing': 2 }, incidents: {} };

  test('a conflict or a difference that nobody has spoken of', () => {
    expect(judgeSilence(conflict, [], [])).toHaveLength(1);
    expect(judgeSilence({ counters: {}, incidents: {} }, ['t differs'], [])).toHaveLength(1);
    expect(judgeSilence(conflict, ['t differs'], ['la: 1 incident within a day: conflict'])).toEqual([]);
    expect(judgeSilence({ ...conflict, incidents: { 'la conflict': 1 } }, [], [])).toEqual([]);
  });

  test('an error is tried again and skips nothing', () => {
    expect(
      judgeSilence({ counters: { 'la lanekeeper_ny_homed apply_error_count': 9 }, incidents: {} }, [], []),
    ).toEqual([]);
  });

  test('only what came on top counts', () => {
    expect(newTrouble(conflict, conflict)).toEqual({ counters: {}, incidents: {} });
    expect(newTrouble({ counters: {}, incidents: {} }, conflict).counters).toEqual(conflict.counters);
  });
});

describe('A1', () => {
  const done: Outcome = { kind: 'acknowledged', dataCenter: 'la', durability: null };
  const at = (...ms: readonly number[]): History => ({
    homes: { a1: 'la', a2: 'ny' },
    travellers: new Set(),
    operations: ms.map((endMs, number) => ({
      number,
      account: 'a1',
      wanted: { kind: 'add', amount: 1 },
      attempts: [{ startMs: endMs - 10, endMs, via: 'la', outcome: done }],
    })),
  });
  const limit = { at: 'ny', pauseMs: 3_000, fromMs: 1_000, toMs: 10_000 };

  test('short pauses are allowed, long ones are not', () => {
    expect(judgeOthers(at(900, 1_500, 4_000, 6_000), limit)).toEqual({ accounts: 1, violations: [] });
    expect(judgeOthers(at(900, 1_500, 5_000), limit).violations).toEqual([
      'a1 (home la) waited 3500 ms from 1500 ms on; 3000 ms is the limit',
    ]);
  });

  test('who came in by the broken edge, and who travels, is not asked', () => {
    const history = at(900, 9_000);
    const travelling = { ...history, travellers: new Set(['a1']) };
    expect(judgeOthers(travelling, limit)).toEqual({ accounts: 0, violations: [] });
    const [first] = history.operations;
    const attempts = (first?.attempts ?? []).map((one) => ({ ...one, via: 'ny' }));
    const byTheOther = { ...history, operations: [{ ...first, attempts } as History['operations'][number]] };
    expect(judgeOthers(byTheOther, limit)).toEqual({ accounts: 0, violations: [] });
  });
});

test('of the ledger, open entries of orders count, by what they hold', () => {
  const entry = (account: string, note: string, more: object = {}) => ({
    account,
    relation: 'public.orders',
    kind: 'insert',
    state: 'open',
    image_columns: ['id', 'note'],
    image: [`o-${note}`, note],
    ...more,
  });
  const ledger = ledgerOf(
    [
      entry('a1', 'v1', { end_lsn: '0/1' }),
      entry('a1', 'v1', { end_lsn: '0/2' }),
      entry('a2', 'v2', { state: 'merged' }),
      entry('a3', 'v3', { relation: 'public.carts' }),
      entry('a4', 'v4', { kind: 'update' }),
      entry('a5', 'v5'),
    ],
    new Set(['a1', 'a2', 'a3', 'a4']),
  );
  expect([...ledger.values]).toEqual([['v1', 2]]);
  expect([...ledger.accounts]).toEqual(['a1', 'a3', 'a4']);
  expect(ledger.transactions).toBe(3);
});

test('one order, one charge', () => {
  const charge = (order: string) => ({ kind: 'charge', order, account: 'a1' });
  const a1 = new Set(['a1']);
  const orders = new Map([
    ['o1', 'v1'],
    ['o2', 'v2'],
  ]);
  const stranded = new Map([
    ['s2', 'v2'],
    ['s3', 'v3'],
  ]);
  expect(judgeCharges([charge('o1'), charge('o2'), charge('s3')], a1, orders, stranded)).toEqual([]);
  expect(judgeCharges([charge('o1'), charge('o1')], a1, orders, stranded)).toEqual(['order o1 was charged twice']);
  expect(judgeCharges([charge('o9')], a1, orders, stranded)).toEqual([
    'order o9 was charged, and there is no such order',
  ]);
  expect(judgeCharges([charge('s2')], a1, orders, stranded)).toHaveLength(1);
  // Others' charges, and what was given back, are no matter of this drill.
  const others = [
    { ...charge('o9'), account: 'a2' },
    { ...charge('o8'), kind: 'refund' },
  ];
  expect(judgeCharges(others, a1, orders, stranded)).toEqual([]);
});

test('assertions of the user’s own: what they return and what they throw is a finding', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lanekeeper-assert-'));
  try {
    const write = async (name: string, text: string) => {
      await writeFile(join(folder, name), text);
      return loadAssertion(folder, name);
    };
    const input = {
      history: { homes: {}, travellers: new Set<string>(), operations: [] },
      found: {
        rows: {},
        strandedValues: null,
        strandedAccounts: new Set<string>(),
        strandedOrders: new Map<string, string>(),
        strandedTransactions: 0,
      },
      databases: {},
      drill: { name: 'link-cut', seed: 1 },
    };
    expect(await runAssertion(await write('a.mjs', 'export default () => {}'), input)).toEqual([]);
    expect(await runAssertion(await write('b.mjs', 'export default ({ drill }) => [drill.name]'), input)).toEqual([
      'link-cut',
    ]);
    expect(
      await runAssertion(await write('c.mjs', "export default async () => { throw new Error('too few') }"), input),
    ).toEqual(['too few']);
    await expect(write('d.mjs', 'export const x = 1')).rejects.toThrow('no function');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
