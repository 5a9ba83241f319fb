/** The checker is fed with histories that were falsified in one place: it must find each, and nothing where nothing is. */
import { describe, expect, test } from 'vitest';
import { judgeAcknowledged } from './acknowledged.ts';
import type { AccountRows, Attempt, Found, History, Operation, Outcome, Wanted } from './history.ts';

const done = (durability: 'local' | 'remote' | null = null): Outcome => ({
  kind: 'acknowledged',
  dataCenter: 'ny',
  durability,
});
const refused: Outcome = { kind: 'refused', code: 'LK_NO_LEASE', dataCenter: 'ny' };
const unknown: Outcome = { kind: 'unknown', why: 'ECONNRESET' };

function operation(number: number, wanted: Wanted, ...outcomes: readonly Outcome[]): Operation {
  const attempts = outcomes.map(
    (outcome, index): Attempt => ({
      startMs: number * 100 + index,
      endMs: number * 100 + index + 1,
      via: 'ny',
      outcome,
    }),
  );
  return { number, account: 'a1', wanted, attempts };
}

const append = (number: number, ...outcomes: readonly Outcome[]): Operation =>
  operation(number, { kind: 'append', value: `v${number}`, requestId: `r${number}` }, ...outcomes);
const add = (number: number, ...outcomes: readonly Outcome[]): Operation =>
  operation(number, { kind: 'add', amount: 1 }, ...outcomes);
const set = (number: number, amount: number, ...outcomes: readonly Outcome[]): Operation =>
  operation(number, { kind: 'set', key: 'cup', amount }, ...outcomes);

const history = (...operations: readonly Operation[]): History => ({
  homes: { a1: 'ny' },
  travellers: new Set(),
  operations,
});

function rows(values: readonly string[], more: { pieces?: number; cart?: Record<string, number> } = {}): AccountRows {
  const orders = values.map((value, index) => ({
    id: `o-${value}-${index}`,
    value,
    pieces: more.pieces ?? 0,
    placedAt: `2026-01-01 00:00:${String(index).padStart(2, '0')}`,
  }));
  return { orders, cart: more.cart ?? {} };
}

function found(here: AccountRows, options: { there?: AccountRows; stranded?: Record<string, number> } = {}): Found {
  const values = new Map(Object.entries(options.stranded ?? {}));
  return {
    rows: { ny: { a1: here }, la: { a1: options.there ?? here } },
    strandedValues: options.stranded === undefined ? null : values,
    strandedAccounts: new Set(values.size > 0 ? ['a1'] : []),
    strandedOrders: new Map(),
    strandedTransactions: values.size,
  };
}

const whole = history(append(1, done()), append(2, unknown, done('remote')), append(3, refused), append(4, unknown));

describe('orders', () => {
  test('a true history is left in peace, whichever way the unknown one went', () => {
    for (const values of [
      ['v1', 'v2'],
      ['v1', 'v2', 'v4'],
    ]) {
      const { violations, tally } = judgeAcknowledged(whole, found(rows(values)));
      expect(violations).toEqual([]);
      expect(tally).toMatchObject({ acknowledged: 2, refused: 1, unknown: 1, lost: 0, duplicated: 0 });
    }
  });

  test('lost', () => {
    const { violations, tally } = judgeAcknowledged(whole, found(rows(['v2'])));
    expect(violations).toEqual([
      'order "v1" of a1 in ny was acknowledged and is not there',
      'order "v1" of a1 in la was acknowledged and is not there',
    ]);
    expect(tally).toMatchObject({ lost: 1, lostRemote: 0 });
  });

  test('lost in one data center only', () => {
    const { violations } = judgeAcknowledged(whole, found(rows(['v1', 'v2']), { there: rows(['v2']) }));
    expect(violations).toEqual(['order "v1" of a1 in la was acknowledged and is not there']);
  });

  test('the account itself lost', () => {
    const nothing: Found = {
      rows: { ny: {} },
      strandedValues: null,
      strandedAccounts: new Set(),
      strandedOrders: new Map(),
      strandedTransactions: 0,
    };
    expect(judgeAcknowledged(whole, nothing)).toMatchObject({
      violations: ['a1 is not in ny at all'],
      tally: { lost: 2, lostRemote: 1 },
    });
  });

  test('doubled', () => {
    const { violations, tally } = judgeAcknowledged(whole, found(rows(['v1', 'v2', 'v2'])));
    expect(violations).toContain('order "v2" of a1 in ny is there 2 times');
    expect(tally.duplicated).toBe(1);
  });

  test('an unknown one doubled', () => {
    expect(judgeAcknowledged(whole, found(rows(['v1', 'v2', 'v4', 'v4']))).violations).toContain(
      'order "v4" of a1 in ny is there 2 times',
    );
  });

  test('reordered', () => {
    expect(judgeAcknowledged(whole, found(rows(['v2', 'v1']))).violations).toContain(
      'order "v2" of a1 in ny stands before "v1", which was acknowledged earlier',
    );
    expect(judgeAcknowledged(whole, found(rows(['v2', 'v1'])), { orderByTime: false }).violations).toEqual([]);
  });

  test('refused, and there all the same', () => {
    expect(judgeAcknowledged(whole, found(rows(['v1', 'v2', 'v3']))).violations).toContain(
      'order "v3" of a1 in ny was refused, and is there all the same',
    );
  });

  test('sent by nobody', () => {
    expect(judgeAcknowledged(whole, found(rows(['v1', 'v2', 'ghost']))).violations).toContain(
      'order "ghost" of a1 in ny was sent by nobody',
    );
  });
});

describe('the stranded ledger', () => {
  test('a local one may wait there, once', () => {
    const { violations, tally } = judgeAcknowledged(whole, found(rows(['v2']), { stranded: { v1: 1 } }));
    expect(violations).toEqual([]);
    expect(tally).toMatchObject({ stranded: 1, lost: 0 });
  });

  test('one acknowledged as stored remotely may not', () => {
    expect(judgeAcknowledged(whole, found(rows(['v1']), { stranded: { v2: 1 } }))).toMatchObject({
      tally: { lost: 1, lostRemote: 1 },
    });
  });

  test('not there twice', () => {
    expect(judgeAcknowledged(whole, found(rows(['v2']), { stranded: { v1: 2 } })).violations).toContain(
      'order "v1" of a1 in ny was acknowledged and is not there, and is in the stranded ledger 2 times',
    );
  });

  test('not there and in the final state as well', () => {
    expect(judgeAcknowledged(whole, found(rows(['v1', 'v2']), { stranded: { v1: 1 } })).violations).toContain(
      'order "v1" of a1 in ny is there, and waits in the stranded ledger as well',
    );
    // But a first attempt of unknown outcome may be stranded, while the second one was done elsewhere.
    expect(judgeAcknowledged(whole, found(rows(['v1', 'v2']), { stranded: { v2: 1 } })).violations).toEqual([]);
  });
});

describe('pieces', () => {
  const shopping = history(add(1, done()), add(2, unknown), add(3, done()), add(4, refused));

  test.each([[2], [3]])('%i are right', (pieces) => {
    expect(judgeAcknowledged(shopping, found(rows([], { cart: { cup: pieces } }))).violations).toEqual([]);
  });

  test('one too few is lost', () => {
    expect(judgeAcknowledged(shopping, found(rows([], { cart: { cup: 1 } })))).toMatchObject({
      violations: [
        'a1 in ny has 1 pieces in cart and orders, and 2 were acknowledged',
        'a1 in la has 1 pieces in cart and orders, and 2 were acknowledged',
      ],
      tally: { lost: 1 },
    });
  });

  test('one too many was done twice', () => {
    expect(judgeAcknowledged(shopping, found(rows([], { cart: { cup: 4 } })))).toMatchObject({
      violations: [
        'a1 in ny has 4 pieces in cart and orders, and only 2 were acknowledged and 1 may have been',
        'a1 in la has 4 pieces in cart and orders, and only 2 were acknowledged and 1 may have been',
      ],
      tally: { duplicated: 2 },
    });
  });

  test('what was ordered counts', () => {
    const bought = history(add(1, done()), add(2, done()), append(3, done()));
    expect(judgeAcknowledged(bought, found(rows(['v3'], { pieces: 2 }))).violations).toEqual([]);
    expect(judgeAcknowledged(bought, found(rows(['v3'], { pieces: 2, cart: { cup: 2 } }))).violations).not.toEqual([]);
  });
});

describe('lines', () => {
  const keeping = history(set(1, 5, done()), set(2, 0, done()), set(3, 7, done()));

  test('the last one counts', () => {
    expect(judgeAcknowledged(keeping, found(rows([], { cart: { cup: 7 } }))).violations).toEqual([]);
  });

  test('an older write has won', () => {
    expect(judgeAcknowledged(keeping, found(rows([], { cart: { cup: 5 } }))).violations).toContain(
      'line cup of a1 in ny has 5 and was set to 7 last: an older write has won',
    );
  });

  test('raised from the dead', () => {
    const removed = history(set(1, 5, done()), set(2, 0, done()));
    expect(judgeAcknowledged(removed, found(rows([]))).violations).toEqual([]);
    expect(judgeAcknowledged(removed, found(rows([], { cart: { cup: 5 } })))).toMatchObject({
      violations: [
        'line cup of a1 in ny has 5 and was set to 0 last: what was removed is there again',
        'line cup of a1 in la has 5 and was set to 0 last: what was removed is there again',
      ],
      tally: { lost: 1 },
    });
  });

  test('one whose outcome is unknown may come late, but not another one', () => {
    const late = history(set(1, 5, unknown), set(2, 7, done()));
    expect(judgeAcknowledged(late, found(rows([], { cart: { cup: 5 } }))).violations).toEqual([]);
    expect(judgeAcknowledged(late, found(rows([], { cart: { cup: 6 } }))).violations).not.toEqual([]);
  });
});
