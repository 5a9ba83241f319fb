import { expect, test } from 'vitest';
import { membersIn, ownName, padName, readStandbyNames, standbyNames, standbysIn } from './names.ts';

test('a list is never empty and waits for all of its members', () => {
  expect(standbyNames([], '')).toBe(`FIRST 1 (${padName})`);
  expect(standbyNames(['lanekeeper_la_homed'], 'FIRST 1 (lanekeeper_pad)')).toBe(
    'FIRST 1 (lanekeeper_pad, "lanekeeper_la_homed")',
  );
  expect(standbyNames(['a', 'b'], '')).toBe('FIRST 2 (lanekeeper_pad, "a", "b")');
});

test('nobody keeps his place from one list to the next, whatever joins or leaves', () => {
  const steps = [[], ['a'], ['a', 'b'], ['b', 'a'], ['b'], ['b', 'c'], ['b', 'c', 'a'], ['c'], [], ['c']];
  let present = '';
  for (const members of steps) {
    const next = standbyNames(members, present);
    const [before, after] = [readStandbyNames(present)?.names ?? [], readStandbyNames(next)?.names ?? []];
    for (const one of members) expect(after.indexOf(one), `${one}: ${present}, ${next}`).not.toBe(before.indexOf(one));
    expect(membersIn(next)).toEqual(members);
    present = next;
  }
});

test('names of any kind come back as they were', () => {
  const members = ['lanekeeper_la_homed', 'With "quotes"', 'a, b) c'];
  expect(membersIn(standbyNames(members, ''))).toEqual(members);
});

test('a list that somebody else wrote is known as such', () => {
  for (const foreign of ['', '*', 'ANY 1 (a, b)', 'FIRST 1 (a)', 'a, b']) expect(membersIn(foreign)).toBeNull();
});

test('own standbys stand behind the members, are waited for as well, and keep no place either', () => {
  const steps: [string[], string[]][] = [
    [['a'], []],
    [['a'], ['s']],
    [['a'], ['s', 't']],
    [
      ['a', 'b'],
      ['s', 't'],
    ],
    [['a', 'b'], ['t']],
    [['b'], ['t']],
    [[], ['t']],
    [['b'], ['t']],
  ];
  let present = '';
  for (const [members, standbys] of steps) {
    const next = standbyNames(members, present, standbys);
    const [before, after] = [readStandbyNames(present)?.names ?? [], readStandbyNames(next)?.names ?? []];
    for (const one of members.length === 0 ? [] : [...members, ...standbys])
      expect(after.indexOf(one), `${one}: ${present}, ${next}`).not.toBe(before.indexOf(one));
    expect(membersIn(next)).toEqual(members);
    expect(standbysIn(next)).toEqual(members.length === 0 ? [] : standbys);
    expect(readStandbyNames(next)?.count).toBe(Math.max(1, members.length && members.length + standbys.length));
    present = next;
  }
  expect(standbyNames(['a'], '', ['s'])).toBe(`FIRST 2 (${padName}, "a", ${ownName}, "s")`);
});
