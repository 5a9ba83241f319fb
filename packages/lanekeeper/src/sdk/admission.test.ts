import { expect, test } from 'vitest';
import { type AdmissionQuestion, admit, enterWhenOpen, judge } from './admission.ts';
import type { Whereabouts } from './api.ts';
import { Deeds } from './deeds.ts';
import { DrainGate } from './gate.ts';

const epoch = (counter: number) => ({ term: 1, counter });
const here = (fields: Partial<Whereabouts> = {}): Whereabouts => ({
  home: 'ny',
  epoch: epoch(2),
  accepted: true,
  draining: false,
  ...fields,
});
const there = here({ home: 'la' });

test('the deed wins over an older token, the token over an older deed', () => {
  expect(judge('ny', here(), { home: 'la', epoch: epoch(1) }, 0)).toEqual({ kind: 'here' });
  expect(judge('ny', there, { home: 'ny', epoch: epoch(2) }, 0)).toEqual({ kind: 'elsewhere', home: 'la', term: 1 });
  expect(judge('ny', here(), { home: 'la', epoch: epoch(3) }, 0)).toEqual({ kind: 'elsewhere', home: 'la', term: 1 });
  expect(judge('ny', there, { home: 'ny', epoch: epoch(3) }, 0)).toEqual({ kind: 'arriving' });
});

test('not accepted yet, about to leave, unknown', () => {
  expect(judge('ny', here({ accepted: false }), null, 0)).toEqual({ kind: 'arriving' });
  expect(judge('ny', here({ draining: true }), null, 0)).toEqual({ kind: 'moving' });
  expect(judge('ny', null, null, 0)).toEqual({ kind: 'unknown' });
  expect(judge('ny', null, { home: 'la', epoch: epoch(0) }, 0)).toEqual({ kind: 'elsewhere', home: 'la', term: 1 });
});

test('who was sent here by another dc waits for the deed that it has seen', () => {
  expect(judge('ny', there, null, 1)).toEqual({ kind: 'arriving' });
  expect(judge('ny', there, { home: 'la', epoch: epoch(2) }, 1)).toEqual({ kind: 'arriving' });
  expect(judge('ny', there, { home: 'ny', epoch: epoch(1) }, 2)).toEqual({ kind: 'arriving' });
});

test('but an edge that followed an old cookie is corrected at once', () => {
  expect(judge('ny', there, { home: 'ny', epoch: epoch(1) }, 1)).toEqual({ kind: 'elsewhere', home: 'la', term: 1 });
});

/** A database whose answer changes when the test says so. */
function setUp(first: Whereabouts | null) {
  const database = { now: first, asked: 0 };
  const deeds = new Deeds(async () => {
    database.asked += 1;
    if (database.now === null) return [];
    const { home, epoch: at, accepted, draining } = database.now;
    return [{ home, term: String(at.term), counter: String(at.counter), accepted, draining }];
  });
  deeds.live = true;
  const gate = new DrainGate(() => {});
  const ask = (question: Partial<AdmissionQuestion> = {}) =>
    admit({ here: 'ny', gate, deeds }, { account: 'a1', hint: null, hops: 0, waitMs: 2_000, ...question });
  return { database, deeds, gate, ask };
}

test('the answer is remembered until the database announces a change', async () => {
  const { database, deeds, ask } = setUp(here());
  const first = await ask();
  expect(first.kind).toBe('here');
  database.now = there;
  expect((await ask()).kind).toBe('here');
  deeds.changed('a1');
  expect(await ask()).toMatchObject({ kind: 'elsewhere', home: 'la' });
});

test('without announcements nothing is remembered', async () => {
  const { database, deeds, ask } = setUp(here());
  deeds.live = false;
  await ask();
  database.now = there;
  expect((await ask()).kind).toBe('elsewhere');
});

test('work waits out a drain and follows the account', async () => {
  const { database, deeds, gate, ask } = setUp(here());
  const before = await ask();
  if (before.kind === 'here') before.leave();
  gate.drain({ move: 1, account: 'a1', to: 'la', remainingMs: 60_000 });
  const waiting = ask();
  await new Promise((resolve) => setTimeout(resolve, 20));
  database.now = here({ home: 'la', epoch: epoch(3) });
  gate.open('a1');
  deeds.changed('a1');
  expect(await waiting).toMatchObject({ kind: 'elsewhere', home: 'la' });
  expect(gate.size).toBe(0);
});

test('while everything drains there is nowhere else to go: the wait is bounded by the drain, and then follows the succession', async () => {
  const { database, deeds, gate, ask } = setUp(here());
  const before = await ask();
  gate.drain({ move: 7, account: '*', to: 'la', remainingMs: 60_000 });
  database.now = here({ draining: true });
  const waiting = ask({ waitMs: 30 });
  // What is in flight already may do more, for other accounts as well: the drain waits for it.
  const more = await ask({ account: 'a2', within: true, waitMs: 30 });
  expect(more.kind).toBe('here');
  await new Promise((resolve) => setTimeout(resolve, 80));
  for (const each of [before, more]) if (each.kind === 'here') each.leave();
  database.now = here({ home: 'la', epoch: { term: 2, counter: 2 } });
  deeds.allChanged();
  gate.open('*');
  expect(await waiting).toMatchObject({ kind: 'elsewhere', home: 'la', term: 2 });
  expect(gate.size).toBe(0);
});

test('a drain of everything ends by itself, and the wait with it', async () => {
  const { gate, ask } = setUp(here());
  gate.drain({ move: 7, account: '*', to: 'la', remainingMs: 40 });
  expect((await ask({ waitMs: 0 })).kind).toBe('here');
  gate.drain({ move: 8, account: '*', to: 'la', remainingMs: 40 });
  const leave = await enterWhenOpen(gate, null);
  expect(leave).not.toBeNull();
  leave?.();
});

test('but not for longer than it was given', async () => {
  const { gate, ask } = setUp(here());
  gate.drain({ move: 1, account: 'a1', to: 'la', remainingMs: 60_000 });
  expect(await ask({ waitMs: 20 })).toMatchObject({ kind: 'moving', where: { home: 'ny' } });
});

test('data on the way are waited for, and counted as in flight only when they are here', async () => {
  const { database, deeds, gate, ask } = setUp(here({ accepted: false }));
  const waiting = ask();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(gate.size).toBe(0);
  database.now = here();
  deeds.changed('a1');
  const admitted = await waiting;
  expect(admitted.kind).toBe('here');
  expect(gate.size).toBe(1);
  if (admitted.kind === 'here') admitted.leave();
  expect(gate.size).toBe(0);
});

test('passed on by mistake: after the wait the database here is believed', async () => {
  const { ask } = setUp(there);
  expect(await ask({ hops: 1, waitMs: 30 })).toMatchObject({ kind: 'elsewhere', home: 'la' });
});

test('a token from the future of this database is waited for, then said to be on its way', async () => {
  const { ask } = setUp(there);
  expect(await ask({ hint: { home: 'ny', epoch: epoch(9) }, waitMs: 30 })).toMatchObject({ kind: 'arriving' });
});

test('questions asked at the same time share one answer; one overtaken by a change is not kept', async () => {
  const { database, deeds } = setUp(here());
  await Promise.all([deeds.whereIsNow('a1'), deeds.whereIsNow('a1'), deeds.whereIs('a1')]);
  expect(database.asked).toBe(1);
  deeds.changed('a1');
  const overtaken = deeds.whereIs('a1');
  deeds.changed('a1');
  await overtaken;
  await deeds.whereIs('a1');
  expect(database.asked).toBe(3);
});

test('a database that fails is an error, and the next question is asked again', async () => {
  let fail = true;
  const deeds = new Deeds(async () => {
    if (fail) throw new Error('away');
    return [];
  });
  deeds.live = true;
  await expect(deeds.whereIs('a1')).rejects.toThrow('away');
  fail = false;
  expect(await deeds.whereIs('a1')).toBeNull();
});

test('a succession wakes everybody who waits, and nothing asked before it is remembered', async () => {
  const { database, deeds, ask } = setUp(here({ accepted: false }));
  const waiting = ['a1', 'a2', 'a3'].map((account) => ask({ account, waitMs: 10_000 }));
  await new Promise((resolve) => setTimeout(resolve, 10));
  database.now = here({ home: 'la', epoch: { term: 2, counter: 2 } });
  deeds.allChanged();
  for (const each of await Promise.all(waiting)) expect(each).toMatchObject({ kind: 'elsewhere', home: 'la' });
});

test('one that arrives before the row of the succession waits for it', async () => {
  const { database, deeds, ask } = setUp(there);
  const waiting = ask({ hops: 1, hint: { home: 'la', epoch: epoch(2) } });
  await new Promise((resolve) => setTimeout(resolve, 20));
  database.now = here({ epoch: { term: 2, counter: 2 } });
  deeds.allChanged();
  expect((await waiting).kind).toBe('here');
});
