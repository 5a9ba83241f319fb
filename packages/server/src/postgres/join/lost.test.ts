import { expect, test } from 'vitest';
import { lostDatabase } from './lost.ts';

const said = (severity: string, code: string, message: string): Error =>
  Object.assign(new Error(message), { severity, code });

test.each([
  [
    'a statement that is refused',
    said('ERROR', '42501', 'permission denied'),
    'a database refused: permission denied [42501]',
  ],
  ['a server that is shut down', said('FATAL', '57P01', 'terminating connection due to administrator command'), 'lost'],
  [
    'a server that was killed',
    said('FATAL', '57P01', 'terminating connection due to unexpected postmaster exit'),
    'lost',
  ],
  ['a server that starts', said('FATAL', '57P03', 'the database system is starting up'), 'lost'],
  ['a socket', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), 'lost'],
  [
    'a client that was told so before',
    new Error('Client has encountered a connection error and is not queryable'),
    'lost',
  ],
])('%s ends a join, and it is said why', (_what, thrown, expected) => {
  const why = expected === 'lost' ? `the connection to a database was lost (${thrown.message})` : expected;
  expect(lostDatabase(thrown)).toBe(why);
});

test('a mistake of our own is none of these', () => {
  expect(lostDatabase(new TypeError('x is undefined'))).toBeNull();
});
