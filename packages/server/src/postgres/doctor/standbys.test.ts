import { expect, test } from 'vitest';
import type { StandbyFacts } from '../standbys/read.ts';
import { judgeStandbys } from './standbys.ts';

const slot = { name: 'ny_b', active: true, feedback: true, keepsSlots: true };
const well: StandbyFacts = {
  version: 180_000,
  name: 'ny_a',
  slots: [slot],
  synchronized: ['ny_b'],
  withoutFailover: [],
};
const standbys = [{ name: 'ny_b', sync: false }];
const codes = (changes: Partial<StandbyFacts> = {}, declared = standbys) =>
  judgeStandbys({ ...well, ...changes }, 'ny', declared).map(({ code }) => code);

test('a standby that can be promoted is not spoken of, nor is a data center without any', () => {
  expect(codes()).toEqual([]);
  expect(codes({ slots: [], synchronized: [] }, [])).toEqual([]);
});

test.each([
  ['is older than 17', { version: 160_009, synchronized: [], withoutFailover: ['a'] }, ['standbys-need-17']],
  ['has no slot', { slots: [], synchronized: [] }, ['standby-without-slot']],
  ['is away', { slots: [{ ...slot, active: false }], synchronized: [] }, ['standby-away']],
  ['gives no feedback', { slots: [{ ...slot, feedback: false, keepsSlots: false }] }, ['standby-without-feedback']],
  ['keeps no slots', { slots: [{ ...slot, keepsSlots: false }] }, ['standby-without-slots']],
  ['is not waited for by those who send', { synchronized: [] }, ['standby-may-be-behind']],
  ['finds slots that it may not copy', { withoutFailover: ['lanekeeper_la_homed'] }, ['slots-without-failover']],
  [
    'is away and waited for, so that nothing is sent',
    { slots: [{ ...slot, active: false }] },
    ['synchronized-standby-away', 'standby-away'],
  ],
  [
    'was replaced, and the one before is still waited for',
    { synchronized: ['ny_b', 'ny_a'] },
    ['synchronized-standby-away'],
  ],
  ['has a neighbour that nobody has declared', { slots: [slot, { ...slot, name: 'ny_x' }] }, ['standby-undeclared']],
])('one that %s is', (_, changes, expected) => {
  expect(codes(changes)).toEqual(expected);
});

test('the one that was promoted is no standby of itself', () => {
  expect(codes({ name: 'ny_b', slots: [], synchronized: [] })).toEqual([]);
});

test('what is waited for in vain is taken out of the setting, and what should be waited for is put in', () => {
  const [away] = judgeStandbys({ ...well, synchronized: ['ny_a', 'ny_b'] }, 'ny', standbys);
  expect(away?.mend).toContain("synchronized_standby_slots = 'ny_b'");
  const [behind] = judgeStandbys({ ...well, synchronized: [] }, 'ny', standbys);
  expect(behind?.mend).toContain("synchronized_standby_slots = 'ny_b'");
});
