import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { DrainGate } from './gate.ts';

const drain = { move: 1, account: 'a1', to: 'la', remainingMs: 60_000 };

test('work in flight goes on, new work does not start, and the last one to leave says so', () => {
  const drained: number[] = [];
  const gate = new DrainGate((move) => drained.push(move));
  const first = gate.enter('a1');
  const second = gate.enter('a1');
  gate.drain(drain);
  expect(gate.enter('a1')).toBeNull();
  expect(gate.enter('a2')).not.toBeNull();
  first?.();
  first?.();
  expect(drained).toEqual([]);
  second?.();
  expect(drained).toEqual([1]);
});

test('an account without work is drained at once, and once', () => {
  const drained: number[] = [];
  const gate = new DrainGate((move) => drained.push(move));
  gate.drain(drain);
  gate.drain(drain);
  expect(drained).toEqual([1]);
});

test('the wait ends with the drain, with a newer one, and by itself', async () => {
  vi.useFakeTimers();
  try {
    const gate = new DrainGate(() => {});
    gate.drain(drain);
    let opened = 0;
    const wait = () => gate.opened('a1').then(() => opened++);
    const waiting = [wait()];
    gate.open('a1', 2);
    await vi.advanceTimersByTimeAsync(0);
    expect(opened).toBe(0);
    gate.open('a1', 1);
    await Promise.all(waiting);
    gate.drain({ ...drain, move: 2, remainingMs: 500 });
    waiting.push(wait());
    gate.drain({ ...drain, move: 3, remainingMs: 1_000 });
    await waiting[1];
    waiting.push(wait());
    await vi.advanceTimersByTimeAsync(999);
    expect(opened).toBe(2);
    await vi.advanceTimersByTimeAsync(1);
    await waiting[2];
    expect(gate.enter('a1')).not.toBeNull();
  } finally {
    vi.useRealTimers();
  }
});

test('nothing is kept of accounts that are done', () => {
  const gate = new DrainGate(() => {});
  gate.enter('a1')?.();
  gate.drain(drain);
  gate.open('a1');
  expect(gate.size).toBe(0);
});

test('a drain of everything holds whoever comes, waits for whoever is there, and is reported once', async () => {
  const drained: number[] = [];
  const gate = new DrainGate((move) => drained.push(move));
  const leaves = [gate.enter('a1'), gate.enter('a2'), gate.enter(null)];
  gate.drain({ ...drain, account: '*', move: 9 });
  for (const account of ['a1', 'a3', '*', null]) expect(gate.enter(account)).toBeNull();
  expect(gate.everythingHeldMs).toBeGreaterThan(59_000);
  leaves.push(gate.enter('a3', { within: true }));
  for (const leave of leaves) {
    expect(drained).toEqual([]);
    leave?.();
  }
  expect(drained).toEqual([9]);
  const waiting = Promise.all([gate.opened('a1'), gate.opened(null)]);
  gate.open('*', 8);
  expect(gate.enter('a1')).toBeNull();
  gate.open('*', 9);
  await waiting;
  gate.enter('a1')?.();
  expect([drained, gate.everythingHeldMs, gate.size]).toEqual([[9], 0, 0]);
});

test('an account that drains is held for work inside work, too; nothing is held by another one', () => {
  const gate = new DrainGate(() => {});
  gate.drain(drain);
  gate.drain({ ...drain, account: '*', move: 9 });
  expect(gate.enter('a1', { within: true })).toBeNull();
  gate.openAll();
  expect(gate.enter('a1')).not.toBeNull();
});

test('whatever the order: never reported while work is in flight, always when none is left', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('enter' as const) }),
    fc.record({ kind: fc.constant('leave' as const), which: fc.nat(5) }),
    fc.record({ kind: fc.constant('drain' as const) }),
    fc.record({ kind: fc.constant('open' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const reports: number[] = [];
      let inFlight = 0;
      let move = 0;
      let draining = false;
      const leaves: (() => void)[] = [];
      const gate = new DrainGate((number) => {
        expect(inFlight).toBe(0);
        expect(number).toBe(move);
        reports.push(number);
      });
      for (const each of steps) {
        if (each.kind === 'enter') {
          const leave = gate.enter('a');
          expect(leave === null).toBe(draining);
          if (leave !== null) {
            inFlight += 1;
            leaves.push(leave);
          }
        } else if (each.kind === 'leave') {
          const leave = leaves.splice(each.which, 1)[0];
          if (leave !== undefined) {
            inFlight -= 1;
            leave();
            leave();
          }
        } else if (each.kind === 'drain') {
          move += 1;
          draining = true;
          gate.drain({ move, account: 'a', to: 'la', remainingMs: 60_000 });
        } else {
          draining = false;
          gate.open('a');
        }
        if (draining && inFlight === 0) expect(reports.at(-1)).toBe(move);
      }
      expect(new Set(reports).size).toBe(reports.length);
      gate.openAll();
    }),
  );
});
