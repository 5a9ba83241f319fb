import { expect, test } from 'vitest';
import { isAlone, isOpening } from './second-try.ts';

test.each([
  'BEGIN',
  'begin;',
  ' START TRANSACTION ISOLATION LEVEL SERIALIZABLE',
  'begin isolation level read committed ;',
])('%s begins a transaction and does nothing else', (text) => expect(isOpening(text, true)).toBe(true));
test.each(['BEGIN; INSERT INTO t VALUES (1)', 'SET search_path = a', 'SELECT 1', 'beginning', ''])(
  '%s does not',
  (text) => expect(isOpening(text, true)).toBe(false),
);
test('in a transaction that has just begun, settings may follow', () => {
  expect(isOpening('SET TRANSACTION READ WRITE', false)).toBe(true);
  expect(isOpening('set local statement_timeout = 1;', false)).toBe(true);
  expect(isOpening("SELECT set_config('a', 'b', true)", false)).toBe(false);
});

test('one statement is one: with parameters always, as text without another one behind it', () => {
  expect(isAlone({ text: 'INSERT INTO t VALUES ($1)', values: [';'] })).toBe(true);
  expect(isAlone({ text: "INSERT INTO t VALUES ('a');" })).toBe(true);
  expect(isAlone({ text: "INSERT INTO t VALUES ('a'); COMMIT" })).toBe(false);
  // Not worth a parser: it is refused as it would be without a second try.
  expect(isAlone({ text: "INSERT INTO t VALUES (';')" })).toBe(false);
});
