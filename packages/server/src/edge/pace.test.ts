import { expect, test } from 'vitest';
import { isTooSlow } from './pace.ts';

const limits = { graceMs: 10_000, minBytesPerSecond: 1_000 };
const slow = (bytes: number, afterMs: number) => isTooSlow({ sinceMs: 50_000, bytes }, limits, 50_000 + afterMs);

test('a while is free; beyond it, every byte buys its time', () => {
  expect(slow(0, 10_000)).toBe(false);
  expect(slow(0, 10_001)).toBe(true);
  expect(slow(5_000, 15_000)).toBe(false);
  expect(slow(5_000, 15_001)).toBe(true);
});

test('one byte now and then does not buy for ever', () => {
  // A byte every nine seconds: each within the free time, together far too slow.
  expect(slow(10, 90_000)).toBe(true);
});
