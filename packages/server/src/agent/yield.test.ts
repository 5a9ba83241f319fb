import { expect, test } from 'vitest';
import { judgeFailure } from './yield.ts';

const refused = (address: string) => Object.assign(new Error('refused'), { code: 'ECONNREFUSED', address });

test('only a kernel of our own, or the server itself, says that the server is gone', () => {
  expect(judgeFailure(refused('127.0.1.1'))).toBe('gone');
  expect(judgeFailure(refused('::1'))).toBe('gone');
  expect(judgeFailure(Object.assign(new Error('starting up'), { code: '57P03' }))).toBe('gone');
  // A proxy in front of it, or a firewall.
  expect(judgeFailure(refused('203.0.113.7'))).toBe('silent');
  expect(judgeFailure(Object.assign(new Error('late'), { code: 'ETIMEDOUT' }))).toBe('silent');
  expect(judgeFailure(Object.assign(new Error('full'), { code: '53300' }))).toBe('silent');
});

test('of several addresses all have to say so', () => {
  expect(judgeFailure(new AggregateError([refused('::1'), refused('127.0.0.1')]))).toBe('gone');
  expect(judgeFailure(new AggregateError([refused('::1'), refused('203.0.113.7')]))).toBe('silent');
});
