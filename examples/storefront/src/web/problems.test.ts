import { type ErrorCode, errors, LanekeeperError } from 'lanekeeper';
import { expect, test } from 'vitest';
import { problemOf } from './problems.ts';

const place = (dc: string) => ({ la: 'Los Angeles' })[dc] ?? dc;

test('each refusal is told in words, keeps its code and status, and says where and when', () => {
  for (const code of Object.keys(errors) as ErrorCode[]) {
    const told = problemOf(new LanekeeperError(code, 'deed of acc_1', { home: 'la', requestId: 'r1' }), 500, place);
    expect(told).toMatchObject({ code, status: errors[code].status, home: 'la', retryAfterMs: 500, requestId: 'r1' });
    expect(told.title, code).toMatch(/^[A-Z]/);
    expect(told.message, code).toMatch(/[.]$/);
    // Our words are for customers: no deeds, no leases, no accounts by their ids.
    expect(`${told.title} ${told.message}`, code).not.toMatch(/\bdeed|\blease|acc_1|undefined/);
  }
});

test('where the home is known, it is called by its city', () => {
  const told = problemOf(new LanekeeperError('LK_WRONG_HOME', undefined, { home: 'la' }), 100, place);
  expect(told.title).toBe('Your account is kept in Los Angeles');
  expect(problemOf(new LanekeeperError('LK_WRONG_HOME'), 100, place).title).not.toContain('null');
});
