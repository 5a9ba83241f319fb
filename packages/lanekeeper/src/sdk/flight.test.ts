import { expect, test } from 'vitest';
import { Flight } from './flight.ts';

test('in flight until it has landed and its last transaction has ended', () => {
  let left = 0;
  const flight = new Flight();
  flight.add('a1', () => left++);
  const release = flight.hold();
  flight.land();
  flight.land();
  expect([left, flight.covers('a1')]).toEqual([0, true]);
  release();
  release();
  expect([left, flight.covers('a1')]).toEqual([1, false]);
});

test('nothing can be added to a flight that is over, nor twice', () => {
  let left = 0;
  const flight = new Flight();
  flight.add('a1', () => left++);
  flight.add('a1', () => left++);
  expect(left).toBe(1);
  flight.land();
  expect(left).toBe(2);
  flight.add('a2', () => left++);
  flight.hold()();
  expect(left).toBe(3);
});
