import { expect, test } from 'vitest';
import { chooseInstance, isHealthy, newInstance, noteAnswer, noteFailure } from './instances.ts';

const nowMs = 5_000_000;

test('the least busy one; equally busy ones in turn', () => {
  const instances = ['a', 'b', 'c'].map(newInstance);
  const [a, b, c] = instances as [(typeof instances)[0], (typeof instances)[0], (typeof instances)[0]];
  a.busy = 2;
  expect([0, 1, 2].map((turn) => chooseInstance(instances, nowMs, turn, [], 9))).toEqual([b, b, c]);
  expect(chooseInstance(instances, nowMs, 0, [b, c], 9)).toBe(a);
  expect(chooseInstance(instances, nowMs, 0, [a, b, c], 9)).toBeNull();
});

test('a refused connection ejects at once, a broken one when it happens again and again; an answer forgives', () => {
  const instance = newInstance('a');
  expect(noteFailure(instance, 'broken', nowMs)).toBe(0);
  expect(noteFailure(instance, 'broken', nowMs)).toBe(0);
  expect(noteFailure(instance, 'broken', nowMs)).toBe(1_000);
  expect(isHealthy(instance, nowMs)).toBe(false);
  expect(isHealthy(instance, nowMs + 1_000)).toBe(true);
  noteAnswer(instance);
  expect(isHealthy(instance, nowMs)).toBe(true);
  expect(noteFailure(instance, 'unreachable', nowMs)).toBe(1_000);
});

test('ejections grow to ten seconds and no further', () => {
  const instance = newInstance('a');
  const times = Array.from({ length: 40 }, () => noteFailure(instance, 'unreachable', nowMs));
  expect(times.slice(0, 6)).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  expect(Math.max(...times)).toBe(10_000);
});

test('an ejected instance is used only when there is no other', () => {
  const instances = ['a', 'b'].map(newInstance);
  const [a, b] = instances as [(typeof instances)[0], (typeof instances)[0]];
  noteFailure(a, 'unreachable', nowMs);
  b.busy = 50;
  expect(chooseInstance(instances, nowMs, 0, [], 99)).toBe(b);
  b.checked = false;
  expect(chooseInstance(instances, nowMs, 0, [b], 99)).toBe(a);
});
