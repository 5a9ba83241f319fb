import { describe, expect, test } from 'vitest';
import { type Change, changesOf, DecodeError, keyOf, type Relation, relationOf } from './change.ts';
import { type ChangeMessage, type RelationMessage, type ReplicaIdentity, type Tuple, unchanged } from './messages.ts';

/** Columns that are part of the identity have a star. */
function described(identity: ReplicaIdentity, ...columns: readonly string[]): RelationMessage {
  return {
    kind: 'relation',
    xid: null,
    oid: 7,
    schema: 'public',
    name: 't',
    identity,
    columns: columns.map((name) => ({
      name: name.replace('*', ''),
      typeOid: 25,
      typeModifier: -1,
      inIdentity: name.endsWith('*'),
    })),
  };
}

function changeOf(relation: Relation, message: { kind: string; [field: string]: unknown }): Change {
  const [change] = changesOf({ xid: null, oid: 7, ...message } as ChangeMessage, 0, new Map([[7, relation]]));
  return change as Change;
}

const composite = relationOf(described('default', 'b*', 'v', 'a*'), ['a', 'b']);

describe('the key', () => {
  test('is in the order of its index, not of the table', () => {
    const change = changeOf(composite, { kind: 'insert', new: ['B', 'x', 'A'] });
    expect(keyOf(change)).toEqual({ columns: ['a', 'b'], old: null, new: ['A', 'B'] });
  });

  test('of an update without an old tuple is the same before and after; with one it was changed', () => {
    const after = { kind: 'update', new: ['B', 'x', 'A'] };
    expect(keyOf(changeOf(composite, { ...after, old: null }))).toMatchObject({ old: ['A', 'B'], new: ['A', 'B'] });
    const old = { is: 'key', tuple: ['B0', null, 'A'] };
    const moved = changeOf(composite, { ...after, old });
    expect(keyOf(moved)).toMatchObject({ old: ['A', 'B0'], new: ['A', 'B'] });
    expect(moved.kind === 'update' && [...(moved.old ?? [])]).toEqual([
      ['b', 'B0'],
      ['a', 'A'],
    ]);
  });

  test('is what the message flags, where the catalog has a newer key', () => {
    expect(relationOf(described('default', 'b*', 'v', 'a*'), ['v']).key).toEqual(['b', 'a']);
    expect(relationOf(described('default', 'b*', 'v', 'a*'), null).key).toEqual(['b', 'a']);
    expect(relationOf(described('full', 'a*', 'b*'), ['gone']).key).toEqual([]);
  });

  test('with identity full is the primary key; without one there is none', () => {
    const deleted = { kind: 'delete', old: { is: 'row', tuple: ['A', 'B'] } };
    expect(keyOf(changeOf(relationOf(described('full', 'a*', 'b*'), ['b']), deleted))).toMatchObject({ old: ['B'] });
    expect(keyOf(changeOf(relationOf(described('full', 'a*', 'b*'), null), deleted))).toBeNull();
  });

  test('that is stored out of line comes with the old tuple', () => {
    const change = changeOf(composite, {
      kind: 'update',
      old: { is: 'key', tuple: ['B', null, 'A'] },
      new: [unchanged, unchanged, 'A2'],
    });
    expect(keyOf(change)).toMatchObject({ old: ['A', 'B'], new: ['A2', 'B'] });
    expect(change.kind === 'update' && change.new.get('v')).toBe(unchanged);
  });
});

test('TRUNCATE is one change for each table, numbered like the others', () => {
  const message: ChangeMessage = { kind: 'truncate', xid: null, oids: [7, 7], cascade: true, restartIdentity: false };
  const changes = changesOf(message, 3, new Map([[7, composite]]));
  expect(changes.map((change) => change.sequence)).toEqual([3, 4]);
  expect(changes.map(keyOf)).toEqual([null, null]);
});

describe('a log that contradicts itself is not read on', () => {
  const wrong = (oid: number, tuple: Tuple) => () =>
    changesOf({ kind: 'insert', xid: null, oid, new: tuple }, 0, new Map([[7, composite]]));

  test.each([
    ['a relation that was not described', wrong(8, ['B', 'x', 'A'])],
    ['too few values', wrong(7, ['B', 'x'])],
    ['too many values', wrong(7, ['B', 'x', 'A', 'C'])],
    ['a binary value', wrong(7, ['B', Buffer.from('x'), 'A'])],
  ])('%s', (_what, read) => {
    expect(read).toThrow(DecodeError);
    expect(read).toThrow(expect.objectContaining({ code: 'DECODE' }));
  });

  test('a key without a value', () => {
    const change = changeOf(composite, { kind: 'insert', new: ['B', 'x', null] });
    expect(() => keyOf(change)).toThrow(DecodeError);
  });
});
