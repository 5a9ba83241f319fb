import { expect, test } from 'vitest';
import { Attempts } from './attempts.ts';

const limits = { windowMs: 60_000, perEmail: 3, perAddress: 5 };

test('failures count per e-mail, until the window is over', () => {
  const attempts = new Attempts(limits);
  for (let i = 0; i < 3; i++) {
    expect(attempts.waitMs('a', '::1', 1000)).toBe(0);
    attempts.failed('a', '::1', 1000 + i);
  }
  expect(attempts.waitMs('a', '::2', 11_000)).toBe(50_000);
  expect(attempts.waitMs('b', '::2', 11_000)).toBe(0);
  expect(attempts.waitMs('a', '::2', 61_000)).toBe(0);
  attempts.failed('a', '::1', 61_000);
  expect(attempts.waitMs('a', '::1', 61_001)).toBe(0);
});

test('and per address, whatever the e-mail; success clears only the e-mail', () => {
  const attempts = new Attempts(limits);
  for (let i = 0; i < 5; i++) attempts.failed(`a${i}`, '::1', 0);
  expect(attempts.waitMs('other', '::1', 1)).toBeGreaterThan(0);
  attempts.succeeded('other');
  expect(attempts.waitMs('other', '::1', 1)).toBeGreaterThan(0);
  for (let i = 0; i < 3; i++) attempts.failed('b', '::2', 0);
  attempts.succeeded('b');
  expect(attempts.waitMs('b', '::2', 1)).toBe(0);
});
