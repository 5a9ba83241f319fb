import { expect, test } from 'vitest';
import { RateLimit } from './rate-limit.ts';

test('so many in a window, each address for itself', () => {
  const limit = new RateLimit({ max: 2, windowMs: 1_000 });
  const at = (nowMs: number, address = 'a') => {
    const exceeded = limit.isExceeded(address, nowMs);
    if (!exceeded) limit.count(address, nowMs);
    return exceeded;
  };
  expect([at(0), at(10), at(20), at(999), at(999, 'b'), at(1_000), at(1_001), at(1_002)]).toEqual([
    false,
    false,
    true,
    true,
    false,
    false,
    false,
    true,
  ]);
});

test('memory is bounded', () => {
  const limit = new RateLimit({ max: 1, windowMs: 1_000 });
  for (let i = 0; i < 10_001; i += 1) limit.count(`a${i}`, 0);
  expect(limit.isExceeded('a0', 1)).toBe(false);
  expect(limit.isExceeded('a10000', 1)).toBe(true);
});
