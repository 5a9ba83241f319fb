import fc from 'fast-check';
import { expect, test } from 'vitest';
import { databaseUrl, witnessUrl } from './database-url.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { createConfiguration } from './load.ts';
import { moduleSource } from './module-places.ts';
import { nearest } from './nearest.ts';
import { matchesPattern, qualifiedName } from './resolve-tables.ts';

test('durations', () => {
  expect(['500ms', '6s', '30m', '12h', '30d', '1.5s', '0.3s', '0s', '2 h'].map(parseDuration)).toEqual([
    500, 6000, 1_800_000, 43_200_000, 2_592_000_000, 1500, 300, 0, 7_200_000,
  ]);
  expect(
    ['', '6', '-1s', '1e3s', 's', '1.2345s', '0.5ms', '1w', ' 1s', '1s ', '٣s', '99999999999s']
      .map(parseDuration)
      .filter((ms) => ms !== null),
  ).toEqual([]);
  fc.assert(fc.property(fc.nat(2 ** 31), (ms) => ms > 999_999_999 || parseDuration(formatDuration(ms)) === ms));
});

test('did you mean', () => {
  const known = ['renewEvery', 'ttl', 'skew', 'url', 'dataCenters'];
  expect(
    ['renewEvry', 'renew_every', 'RENEWEVERY', 'tlt', 'urls', 'datacenters', 'data-centers'].map((word) =>
      nearest(word, known),
    ),
  ).toEqual(['renewEvery', 'renewEvery', 'renewEvery', 'ttl', 'url', 'dataCenters', 'dataCenters']);
  expect(['password', 'x', '', 'x'.repeat(10_000)].map((word) => nearest(word, known))).toEqual([
    null,
    null,
    null,
    null,
  ]);
});

test('table names and patterns', () => {
  expect(['orders', 'shop.orders', 'a.b.c', '', '.a', 'a.', ' a', 'x'.repeat(64)].map(qualifiedName)).toEqual([
    'public.orders',
    'shop.orders',
    null,
    null,
    null,
    null,
    null,
    null,
  ]);
  const matching: [string, string, boolean][] = [
    ['public.kysely_*', 'public.kysely_migration', true],
    ['public.kysely_*', 'other.kysely_migration', false],
    ['public.*', 'public.a', true],
    ['*.log', 'audit.log', true],
    ['public.a*b*c', 'public.axbxc', true],
    ['public.a*b*c', 'public.ac', false],
    ['public.ab*ba', 'public.aba', false],
    ['public.*aa*aa', 'public.aaa', false],
    ['public.a', 'public.ab', false],
    ['public.(a+)+$', 'public.aaaaaaaa', false],
  ];
  for (const [pattern, table, expected] of matching)
    expect([pattern, table, matchesPattern(pattern, table)]).toEqual([pattern, table, expected]);
});

test('a pattern without stars matches itself only, and with stars what its pieces allow', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', 'b', '_'), maxLength: 3 });
  fc.assert(
    fc.property(
      fc.array(piece, { minLength: 1, maxLength: 4 }),
      fc.string({ unit: fc.constantFrom('a', 'b', '_'), maxLength: 8 }),
      (pieces, name) => {
        const expected = new RegExp(`^${pieces.join('.*')}$`).test(name);
        expect(matchesPattern(`s.${pieces.join('*')}`, `s.${name}`)).toBe(expected);
      },
    ),
  );
});

const configuration = createConfiguration(
  {
    cluster: 'shop',
    approach: 'active-passive',
    dataCenters: {
      ny: {
        place: 'New York',
        faultDomain: 'us-east',
        database: 'postgresql://[fd00::1]:5433/my%20shop?sslmode=require',
        url: 'https://ny.example',
      },
    },
    leases: { url: 'postgres://witness/w' },
    roles: { owner: 'shop owner@x' },
    tables: {},
  },
  { here: 'ny' },
);

test('database URLs get user and password from roles and environment, encoded', () => {
  const env = {
    LANEKEEPER_OWNER_PASSWORD: 'p@s%41/:#?',
    LANEKEEPER_AGENT_PASSWORD: 'all',
    LANEKEEPER_NY_AGENT_PASSWORD: 'ny',
  };
  const owner = new URL(databaseUrl(configuration, 'ny', 'owner', env));
  expect(decodeURIComponent(owner.username)).toBe('shop owner@x');
  expect(decodeURIComponent(owner.password)).toBe('p@s%41/:#?');
  expect(owner.host).toBe('[fd00::1]:5433');
  expect(owner.searchParams.get('sslmode')).toBe('require');
  expect(databaseUrl(configuration, 'ny', 'agent', env)).toBe(
    'postgres://lanekeeper_agent:ny@[fd00::1]:5433/my%20shop?sslmode=require',
  );
  expect(databaseUrl(configuration, 'ny', 'replication', env)).not.toMatch(/:[^:/]*@/);
  expect(() => databaseUrl(configuration, 'la', 'agent', env)).toThrow(/no data center `la`/);
});

test('the witness is asked as the agent, unless its URL names a user', () => {
  expect(witnessUrl(configuration, {})).toBe('postgres://lanekeeper_agent@witness/w');
  expect(witnessUrl(configuration, { LANEKEEPER_WITNESS_PASSWORD: 'x' }, 'ny')).toBe(
    'postgres://lanekeeper_agent:x@witness/w',
  );
  expect(
    witnessUrl(configuration, { LANEKEEPER_WITNESS_PASSWORD: 'x', LANEKEEPER_NY_WITNESS_PASSWORD: 'y' }, 'ny'),
  ).toBe('postgres://lanekeeper_agent:y@witness/w');
  const other = { ...configuration, leases: { ...configuration.leases, url: 'postgres://w@witness/w' } };
  expect(witnessUrl(other, {})).toBe('postgres://w@witness/w');
});

test('places in any text are places, found in bounded time', () => {
  const unit = fc.oneof(
    fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '(',
      ')',
      ',',
      ';',
      ':',
      '"',
      "'",
      '`',
      '\\',
      '/',
      '*',
      '\n',
      'cluster',
      'tables',
      ' ',
    ),
    fc.string({ maxLength: 2, unit: 'binary' }),
  );
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 60 }), (parts) => {
      const text = `{ cluster: 1, ${parts.join('')}`;
      const range = moduleSource('f', text).locate(['tables', 'a', 0], 'value');
      if (range !== null) expect(range.start >= 0 && range.start <= range.end && range.end <= text.length).toBe(true);
    }),
    { numRuns: 500 },
  );
  expect(moduleSource('f', '['.repeat(100_000)).locate(['cluster'], 'key')).toBe(null);
  expect(moduleSource('f', `{cluster:${'{a:'.repeat(100_000)}`).locate(['cluster'], 'key')).not.toBe(null);
});
