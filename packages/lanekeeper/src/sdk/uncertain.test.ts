import { expect, test } from 'vitest';
import { leavesOutcomeOpen, mayCommit } from './uncertain.ts';

test('in a transaction only its end is in question', () => {
  for (const end of [
    'COMMIT',
    ' commit;',
    'END',
    'COMMIT AND CHAIN',
    '-- done\ncommit',
    "/* x */ PREPARE TRANSACTION 't'",
    'INSERT INTO t VALUES (1); COMMIT',
  ])
    expect(mayCommit(end, 'T'), end).toBe(true);
  for (const other of ['INSERT INTO t VALUES (1)', 'SELECT 1', 'ROLLBACK', 'SAVEPOINT s', 'committed_orders()'])
    expect(mayCommit(other, 'T'), other).toBe(false);
});

test('on its own every statement commits, except those that leave nothing behind', () => {
  for (const own of [
    'INSERT INTO t VALUES (1)',
    'WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x',
    'SELECT place_order(1)',
    'CALL p()',
  ])
    expect(mayCommit(own, 'I'), own).toBe(true);
  for (const harmless of ['BEGIN', 'start transaction', 'SET x = 1', 'SHOW x', '', 'rollback;'])
    expect(mayCommit(harmless, 'I'), harmless).toBe(false);
});

test('an error that PostgreSQL raised in the statement means that it was rolled back', () => {
  for (const code of ['23505', '40001', 'LK001', '57014', '25P03'])
    expect(leavesOutcomeOpen({ code, severity: 'ERROR' })).toBe(false);
  for (const code of ['57P01', '57P02', '08006', '40003'])
    expect(leavesOutcomeOpen({ code, severity: 'FATAL' })).toBe(true);
  expect(leavesOutcomeOpen(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))).toBe(true);
  expect(leavesOutcomeOpen(new Error('Connection terminated unexpectedly'))).toBe(true);
});
