import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createIds, formatId, nextId, noIds, parseId } from './ids.ts';

const zeros = new Uint8Array(10);
const ones = new Uint8Array(10).fill(255);

test('says where it was born, what it is of, and when', () => {
  const id = formatId('ny', 'acc', nextId(noIds, 1_469_918_176_385, zeros));
  // The time part is the example of the ULID specification.
  expect(id).toBe('ny_acc_01ARYZ6S410000000000000000');
  expect(parseId(id)).toEqual({ dataCenter: 'ny', kind: 'acc', timeMs: 1_469_918_176_385 });
  expect(formatId('la', 'order', nextId(noIds, 2 ** 48 - 1, ones))).toBe('la_order_7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
});

test('rises within a millisecond, when the clock is set back, and when the random part is used up', () => {
  const first = nextId(noIds, 1000, ones);
  const second = nextId(first, 1000, zeros);
  expect(second).toEqual({ timeMs: 1001, random: 0n });
  const third = nextId(second, 500, ones);
  expect(third).toEqual({ timeMs: 1001, random: 1n });
  expect(nextId(third, 2000, zeros)).toEqual({ timeMs: 2000, random: 0n });
});

test('sorts as it was drawn, whatever the clock does, and no two are alike', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { minLength: 2, maxLength: 40 }), (times) => {
      const clock = times.values();
      const draw = createIds('ny', { nowMs: () => 1_700_000_000_000 + clock.next().value!, randomBytes });
      const ids = times.map(() => draw('acc'));
      expect(ids).toEqual([...ids].sort());
      expect(new Set(ids).size).toBe(ids.length);
    }),
  );
});

test('is read back, or not at all', () => {
  const kinds = fc.stringMatching(/^[a-z][a-z0-9]{0,15}$/);
  fc.assert(
    fc.property(kinds, fc.nat(2 ** 48 - 1), fc.uint8Array({ minLength: 10, maxLength: 10 }), (kind, timeMs, random) => {
      expect(parseId(formatId('ny', kind, nextId(noIds, timeMs, random)))).toEqual({ dataCenter: 'ny', kind, timeMs });
    }),
  );
  for (const text of [
    '',
    'ny_acc_',
    'ny_acc_01ARYZ6S41000000000000000U',
    'ny_acc_81ARYZ6S410000000000000000',
    'NY_acc_01ARYZ6S410000000000000000',
    'ny_acc_01aryz6s410000000000000000',
    'ny_acc_01ARYZ6S410000000000000000 ',
  ]) {
    expect([text, parseId(text)]).toEqual([text, null]);
  }
  expect(() => formatId('ny', 'a_b', noIds)).toThrow(TypeError);
  expect(() => nextId(noIds, Number.NaN, zeros)).toThrow(RangeError);
  expect(() => nextId(noIds, 2 ** 48, zeros)).toThrow(RangeError);
  expect(() => nextId(noIds, 1, new Uint8Array(9))).toThrow(RangeError);
});
