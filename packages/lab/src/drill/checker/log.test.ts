/** Logs with one lie each. */
import { describe, expect, test } from 'vitest';
import { compareLogs, type LogStart, type LogTransaction, parseChange, readThrough } from './log.ts';

const customers = new Set(['a1']);
const nothing: LogStart = { deeds: [], successions: [], owners: new Map() };
const born: LogStart = {
  ...nothing,
  deeds: [{ account: 'a1', home: 'ny', term: 1, counter: 0, accepted: true }],
};

function transaction(local: boolean, ...lines: readonly string[]): LogTransaction {
  return {
    local,
    changes: lines.map((line) => parseChange(`table ${line}`) as NonNullable<ReturnType<typeof parseChange>>),
  };
}
const order = (note: string): string =>
  `public.orders: INSERT: id[text]:'o-${note}' account_id[text]:'a1' note[text]:'${note}'`;
const deed = (home: string, term: number, counter: number, giver = "'ny'"): string =>
  `lanekeeper.deed: UPDATE: account[text]:'a1' home[text]:'${home}' term[bigint]:${term} counter[bigint]:${counter} giver[text]:${giver}`;
const accepted = (term: number, counter: number): string =>
  `lanekeeper.acceptance: INSERT: account[text]:'a1' term[bigint]:${term} counter[bigint]:${counter} dc[text]:'la'`;
const taken = (term: number, from: string, to: string, kind = 'take', undoes = 'null'): string =>
  `lanekeeper.succession: INSERT: term[bigint]:${term} kind[text]:'${kind}' from_dc[text]:'${from}' to_dc[text]:'${to}' undoes[bigint]:${undoes}`;

const read = (dataCenter: string, ...transactions: readonly LogTransaction[]) =>
  readThrough(dataCenter, transactions, born, customers);
const what = (violations: readonly { invariant: string; what: string }[]): string[] =>
  violations.map((one) => `${one.invariant} ${one.what}`);

test('reads a change as test_decoding writes it', () => {
  const change = parseChange(
    `table public.orders: UPDATE: old-key: id[text]:'x' new-tuple: id[text]:'o1' note[text]:'it''s' total[integer]:12 "strange name"[text[]]:null`,
  );
  expect(change?.kind).toBe('UPDATE');
  expect(Object.fromEntries(change?.row ?? [])).toEqual({
    id: 'o1',
    note: "it's",
    total: '12',
    'strange name': 'null',
  });
});

describe('W1', () => {
  test('at home: nothing to say; where it is not at home: a violation', () => {
    expect(read('ny', transaction(true, order('v1'))).violations).toEqual([]);
    expect(what(read('la', transaction(true, order('v1'))).violations)).toEqual([
      'W1 la: INSERT of public.orders/o-v1 of a1, which is written in ny (epoch 1.0)',
    ]);
  });

  test('accounts of nobody are not judged', () => {
    expect(readThrough('la', [transaction(true, order('v1'))], born, new Set())).toMatchObject({
      violations: [],
      localWrites: 0,
    });
  });

  test('what came by replication is nobody’s write here', () => {
    expect(read('la', transaction(false, order('v1')))).toMatchObject({ violations: [], localWrites: 0 });
  });

  test('after a move only the new home, and only when it has accepted', () => {
    const arrived = transaction(false, deed('la', 1, 1));
    expect(what(read('la', arrived, transaction(true, order('v1'))).violations)).toEqual([
      'W1 la: INSERT of public.orders/o-v1 of a1 before it was accepted here (epoch 1.1)',
    ]);
    expect(read('la', arrived, transaction(true, accepted(1, 1)), transaction(true, order('v1'))).violations).toEqual(
      [],
    );
    expect(what(read('ny', transaction(true, deed('la', 1, 1)), transaction(true, order('v1'))).violations)).toEqual([
      'W1 ny: INSERT of public.orders/o-v1 of a1, which is written in la (epoch 1.1)',
    ]);
  });

  test('after a takeover only the successor', () => {
    expect(read('la', transaction(true, taken(2, 'ny', 'la')), transaction(true, order('v1'))).violations).toEqual([]);
    expect(
      what(read('ny', transaction(false, taken(2, 'ny', 'la')), transaction(true, order('v1'))).violations),
    ).toEqual(['W1 ny: INSERT of public.orders/o-v1 of a1, which is written in la (epoch 2.0)']);
  });

  test('a return gives back what the succession had moved, and nothing else', () => {
    const both = [transaction(false, taken(2, 'ny', 'la')), transaction(false, taken(3, 'la', 'ny', 'return', '2'))];
    expect(read('ny', ...both, transaction(true, order('v1'))).violations).toEqual([]);
    const other = [transaction(false, taken(2, 'ny', 'la')), transaction(false, taken(3, 'la', 'ny', 'return', '1'))];
    expect(read('ny', ...other, transaction(true, order('v1'))).violations).toHaveLength(1);
  });

  test('two writers in one epoch', () => {
    const ny = read('ny', transaction(true, order('v1')));
    const la = readThrough(
      'la',
      [transaction(true, order('v2'))],
      {
        ...born,
        deeds: [{ account: 'a1', home: 'la', term: 1, counter: 0, accepted: true }],
      },
      customers,
    );
    expect(la.violations).toEqual([]);
    expect(what(compareLogs({ ny, la }, new Map()))).toEqual(['W1 a1 in epoch 1.0 was written in ny and in la']);
  });
});

describe('E1', () => {
  test('a deed that falls', () => {
    const log = read('ny', transaction(true, deed('la', 2, 0)), transaction(false, deed('ny', 1, 3)));
    expect(what(log.violations)).toEqual(['E1 ny: the deed of a1 fell from 2.0 to 1.3']);
  });

  test('not a succession that is sent again to one that comes back, but another one of that term', () => {
    const again = (line: string) =>
      what(
        read('fra', transaction(false, taken(2, 'ny', 'la'), taken(3, 'la', 'fra')), transaction(false, line))
          .violations,
      );
    expect(again(taken(2, 'ny', 'la'))).toEqual([]);
    expect(again(taken(2, 'ny', 'fra'))).toEqual(['E1 fra: a succession of term 2 came after one of term 3']);
  });

  test('a succession that comes after a later one', () => {
    const log = read('la', transaction(true, taken(3, 'ny', 'la')), transaction(false, taken(2, 'la', 'ny')));
    expect(what(log.violations)).toEqual(['E1 la: a succession of term 2 came after one of term 3']);
  });
});

describe('G1', () => {
  const ny = read(
    'ny',
    transaction(true, order('v1')),
    transaction(true, order('v2')),
    transaction(true, deed('la', 1, 1)),
  );
  const move = [transaction(false, deed('la', 1, 1)), transaction(true, accepted(1, 1))];

  test('everything was here before the first write', () => {
    const la = read(
      'la',
      transaction(false, order('v1')),
      transaction(false, order('v2')),
      ...move,
      transaction(true, order('v3')),
    );
    expect(compareLogs({ ny, la }, new Map())).toEqual([]);
  });

  test('something came after it', () => {
    const la = read(
      'la',
      transaction(false, order('v1')),
      ...move,
      transaction(true, order('v3')),
      transaction(false, order('v2')),
    );
    expect(what(compareLogs({ ny, la }, new Map()))).toEqual([
      'G1 la wrote a1 in epoch 1.1 before order "v2", written in ny in epoch 1.0, had arrived',
    ]);
    // But what is stranded was never to arrive.
    expect(compareLogs({ ny, la }, new Map([['v2', 1]]))).toEqual([]);
  });
});
