import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nextNumber, type SequenceUse, strideSequence } from './sequences.ts';

const use = (change: Partial<SequenceUse>): SequenceUse => ({
  lastValue: 1n,
  called: false,
  largest: null,
  largestOwn: null,
  ...change,
});

test('a new sequence begins at the number of its data center', () => {
  const fresh = { increment: 1n, startValue: 1n };
  expect(strideSequence(fresh, use({}), 3, 8)).toEqual({ increment: 8n, start: 3n, next: 3n });
  expect(strideSequence(fresh, use({}), 8, 8)).toEqual({ increment: 8n, start: 8n, next: 8n });
});

test('beyond what was drawn and what is stored, whichever is larger', () => {
  const fresh = { increment: 1n, startValue: 1n };
  expect(strideSequence(fresh, use({ lastValue: 77n, called: true }), 1, 8)?.next).toBe(81n);
  expect(strideSequence(fresh, use({ lastValue: 77n, called: true, largest: 1000n }), 1, 8)?.next).toBe(1001n);
  expect(strideSequence(fresh, use({ lastValue: 77n, called: true, largest: 5n }), 1, 8)?.next).toBe(81n);
});

test('numbers of others do not push a strided sequence on, its own do', () => {
  const strided = { increment: 8n, startValue: 1n };
  const drawn = { lastValue: 81n, called: true };
  expect(strideSequence(strided, use({ ...drawn, largest: 5002n, largestOwn: 81n }), 1, 8)).toBeNull();
  expect(strideSequence(strided, use({ ...drawn, largest: 5001n, largestOwn: 5001n }), 1, 8)?.next).toBe(5009n);
});

const positive = fc.bigInt({ min: 1n, max: 10n ** 15n });

test('whatever it was before: never back, never what is stored, its own remainder, and right ever after', () => {
  fc.assert(
    fc.property(
      fc.record({
        increment: fc.bigInt({ min: 1n, max: 100n }),
        startValue: positive,
        lastValue: positive,
        called: fc.boolean(),
        largest: fc.option(positive, { nil: null }),
        stride: fc.integer({ min: 2, max: 64 }),
        dc: fc.integer({ min: 1, max: 64 }),
      }),
      ({ increment, startValue, lastValue, called, largest, stride, dc }) => {
        const number = ((dc - 1) % stride) + 1;
        const own = (value: bigint) => (value - BigInt(number)) % BigInt(stride) === 0n;
        const largestOwn = largest !== null && own(largest) ? largest : null;
        const present = { lastValue, called, largest, largestOwn };
        const target = strideSequence({ increment, startValue }, present, number, stride);
        if (target === null) {
          expect(own(called ? lastValue + increment : lastValue)).toBe(true);
          return;
        }
        expect(target.next).toBeGreaterThanOrEqual(called ? lastValue + 1n : lastValue);
        if (increment !== BigInt(stride) && largest !== null) expect(target.next).toBeGreaterThan(largest);
        if (largestOwn !== null) expect(target.next).toBeGreaterThan(largestOwn);
        expect(own(target.next) && own(target.start)).toBe(true);
        const after = { lastValue: target.next, called: false, largest, largestOwn };
        expect(
          strideSequence({ increment: target.increment, startValue: target.start }, after, number, stride),
        ).toBeNull();
      },
    ),
  );
});

test('the next number is the first that fits', () => {
  fc.assert(
    fc.property(positive, fc.integer({ min: 1, max: 8 }), (from, number) => {
      const next = nextNumber(from, null, number, 8);
      expect(next - from).toBeLessThan(8n);
      expect(next).toBeGreaterThanOrEqual(from);
    }),
  );
});
