import { expect, test } from 'vitest';
import { LanekeeperError } from '../model/index.ts';
import { findLanekeeperError, translateRefusal } from './refusal.ts';

const raised = Object.assign(new Error('account a1 is written in la, not in ny'), {
  code: 'LK001',
  detail: '{"account":"a1","home":"la","term":1,"counter":3,"dc":"ny","table":"public.orders"}',
});

test('what the fence raised, with what it knows, over what the work knows', () => {
  const refusal = translateRefusal(raised, { account: 'other', requestId: 'r1' });
  expect(refusal).toMatchObject({
    code: 'LK_WRONG_HOME',
    status: 409,
    details: { account: 'a1', home: 'la', dataCenter: 'ny', table: 'public.orders', requestId: 'r1' },
  });
  expect(refusal?.cause).toBe(raised);
  expect(translateRefusal(Object.assign(new Error('dup'), { code: '23505' }))).toBeUndefined();
  expect(translateRefusal(Object.assign(new Error('?'), { code: 'LK999' }))).toBeUndefined();
  expect(translateRefusal({ code: 'LK003', detail: '{broken' })).toMatchObject({ code: 'LK_NO_LEASE', details: {} });
});

test('found in whatever it was wrapped', () => {
  const refusal = new LanekeeperError('LK_MOVING');
  const wrappers: unknown[] = [
    refusal,
    new Error('drizzle', { cause: refusal }),
    { driverError: refusal },
    { parent: refusal, original: refusal },
    { meta: { driverAdapterError: { cause: { originalCode: 'LK009', originalMessage: 'moving' } } } },
    { code: 'LK_MOVING', meta: {} },
    new AggregateError([new Error('another'), refusal]),
    new Error('outer', { cause: new Error('inner', { cause: { previous: refusal } }) }),
  ];
  for (const wrapper of wrappers) expect(findLanekeeperError(wrapper)).toMatchObject({ code: 'LK_MOVING' });
});

test('nothing is found in anything else, and loops end', () => {
  const loop: { cause?: unknown } = {};
  loop.cause = { cause: loop };
  for (const other of [null, undefined, 'LK001', 42, loop, new Error('x'), { code: 'ECONNREFUSED' }])
    expect(findLanekeeperError(other)).toBeUndefined();
});

test('what a library kept of it is enough', () => {
  const thrown = translateRefusal(raised, { requestId: 'r1' });
  const kept = { cause: { originalCode: thrown?.code, originalMessage: thrown?.message, detail: thrown?.detail } };
  expect(findLanekeeperError(kept)).toMatchObject({
    code: 'LK_WRONG_HOME',
    message: raised.message,
    details: { account: 'a1', home: 'la', dataCenter: 'ny', table: 'public.orders', requestId: 'r1' },
  });
  expect(thrown).toMatchObject({ severity: 'ERROR', hint: undefined });
});

test("another copy of this package's errors count", () => {
  const foreign = Object.assign(new Error('x'), { name: 'LanekeeperError', code: 'LK_NO_LEASE', details: {} });
  expect(findLanekeeperError({ cause: foreign })).toBe(foreign);
});
