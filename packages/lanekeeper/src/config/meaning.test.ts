// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of a configuration look like this.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { type CheckResult, checkText } from './load.ts';
import type { WrittenConfiguration } from './schema.ts';

const example = new URL('../../../../docs/reference/lanekeeper.example.yaml', import.meta.url);

// biome-ignore lint/suspicious/noExplicitAny: mistakes are what the types would forbid.
type Draft = any;

function written(): Draft {
  return parse(readFileSync(example, 'utf8')) as WrittenConfiguration;
}

function check(edit: (draft: Draft) => void): CheckResult {
  const draft = written();
  edit(draft);
  return checkText(stringify(draft, { lineWidth: 0 }), { file: 'lanekeeper.yaml', env: {}, directory: '/nowhere' });
}

function findings(result: CheckResult) {
  return result.kind === 'valid' ? result.warnings : result.diagnostics;
}

/** Every mistake that the meaning of a configuration can have: what was done, where it is reported, what is said. */
const mistakes: [string, (draft: Draft) => void, string, RegExp][] = [
  ['no root', (d) => delete d.tables.accounts.root, 'tables', /No table holds the accounts/],
  ['two roots', (d) => (d.tables.orders.root = true), 'tables.orders.root', /`accounts` is the root table already/],
  ['homed without account', (d) => delete d.tables.orders.account, 'tables.orders.account', /find its account/],
  ['root with a path', (d) => (d.tables.accounts.account = 'a.b'), 'tables.accounts.account', /names one column/],
  ['empty step', (d) => (d.tables.orders.account = 'a..b'), 'tables.orders.account', /not a path of columns/],
  [
    'a record with a policy',
    (d) => (d.tables.orders.policy = 'timestamp-weight'),
    'tables.orders.policy',
    /a record that was acknowledged must not be lost/,
  ],
  [
    'a policy where one data center writes',
    (d) => (d.tables.products.policy = 'locality-weight'),
    'tables.products.policy',
    /written in one place/,
  ],
  [
    'a reference that diverges',
    (d) => (d.tables.reviews = { class: 'system-of-reference', policy: 'last-man-standing', allowDivergence: true }),
    'tables.reviews.policy',
    /data centers stay different/,
  ],
  [
    'a cache that diverges and nobody said so',
    (d) => (d.tables.hits = { class: 'cache', policy: 'last-man-standing' }),
    'tables.hits.policy',
    /data centers stay different/,
  ],
  [
    'weights that do not count',
    (d) => (d.tables.reviews = { class: 'system-of-reference', weights: { ny: 1 } }),
    'tables.reviews.weights',
    /count for locality-weight only/,
  ],
  ['a buffered record', (d) => (d.tables.orders.writes = 'buffered'), 'tables.orders.writes', /no log/],
  [
    'a policy where nothing is merged',
    (d) => (d.tables.reviews = { class: 'system-of-reference', writes: 'direct', policy: 'timestamp-weight' }),
    'tables.reviews.policy',
    /nothing is merged/,
  ],
  [
    'a copy that nobody makes',
    (d) => (d.tables.balances = { class: 'system-of-reference', copy: { query: 'SELECT 1' } }),
    'tables.balances.feeder',
    /makes the copy/,
  ],
  [
    'a home that is not there',
    (d) => (d.tables.orders = { class: 'system-of-record', home: 'basket' }),
    'tables.orders.home',
    /no fixed home `basket`/,
  ],
  [
    'a home beside an account',
    (d) => (d.tables.orders.home = 'baskets'),
    'tables.orders.home',
    /either in the home of its account or in a fixed home/,
  ],
  [
    'a claim in a table with a fixed home',
    (d) => {
      d.fixed = { accounts: 'ny' };
      d.tables.letters = { class: 'system-of-record', home: 'accounts' };
      d.claims = { number: { table: 'letters', column: 'number' } };
    },
    'claims.number.table',
    /a unique index is enough/,
  ],
  [
    'a standby that cannot have a slot',
    (d) => (d.dataCenters.ny.standbys = [{ name: 'NY-b' }]),
    'dataCenters.ny.standbys[0].name',
    /cannot be the name of a standby/,
  ],
  [
    'a standby that looks like a stream',
    (d) => (d.dataCenters.ny.standbys = [{ name: 'lanekeeper_la_homed' }]),
    'dataCenters.ny.standbys[0].name',
    /cannot be the name/,
  ],
  [
    'a standby twice',
    (d) => (d.dataCenters.ny.standbys = [{ name: 'b' }, { name: 'b', sync: true }]),
    'dataCenters.ny.standbys[1].name',
    /same standby twice/,
  ],
  ['a fixed home nowhere', (d) => (d.fixed = { baskets: 'fra' }), 'fixed.baskets', /no data center `fra`/],
  ['another kind of homes', (d) => (d.homes = 'single'), 'homes', /means `homes: per-account`/],
  ['NATS nowhere', (d) => (d.buffer = { store: 'nats' }), 'buffer.urls', /Where is NATS/],
  ['a server of nobody', (d) => (d.buffer = { urls: ['nats://a:4222'] }), 'buffer.urls', /is for nats/],
  ['a hook of another kind', (d) => (d.hooks = { onTakeover: 'ftp://a' }), 'hooks.onTakeover', /http or https/],
  ['a roll-out without one', (d) => (d.rollout = { order: ['ny'] }), 'rollout.order', /`la` is missing/],
  ['no feeder', (d) => delete d.tables.products.feeder, 'tables.products.feeder', /written by one data center/],
  ['unknown feeder', (d) => (d.tables.products.feeder = 'fra'), 'tables.products.feeder', /no data center `fra`/],
  ['feeder of a homed table', (d) => (d.tables.orders.feeder = 'ny'), 'tables.orders.feeder', /has no feeder/],
  [
    'account of a shared table',
    (d) => (d.tables.products.account = 'a'),
    'tables.products.account',
    /belongs to no account/,
  ],
  [
    'root of a shared table',
    (d) => (d.tables.products.root = true),
    'tables.products.root',
    /cannot hold the accounts/,
  ],
  [
    'the same table twice',
    (d) => (d.tables['public.orders'] = d.tables.orders),
    'tables["public.orders"]',
    /same table/,
  ],
  [
    'a table of ours',
    (d) => (d.tables['lanekeeper.deed'] = d.tables.orders),
    'tables["lanekeeper.deed"]',
    /not a table of the application/,
  ],
  ['three names', (d) => (d.tables['a.b.c'] = d.tables.orders), 'tables["a.b.c"]', /not the name of a table/],
  ['ignored and declared', (d) => (d.ignore = ['ord*']), 'ignore[0]', /matches `public.orders`/],
  [
    'same database',
    (d) => (d.dataCenters.la.database = 'postgresql://10.1.0.5/shop'),
    'dataCenters.la.database',
    /same database/,
  ],
  ['same url', (d) => (d.dataCenters.la.url = 'https://NY.shop.example:443'), 'dataCenters.la.url', /same url/],
  ['same number', (d) => (d.dataCenters.la.number = 1), 'dataCenters.la.number', /both have number 1/],
  ['number beyond stride', (d) => (d.dataCenters.la.number = 9), 'dataCenters.la.number', /step by 8/],
  [
    'password of a database',
    (d) => (d.dataCenters.ny.database = 'postgres://:pw@h/d'),
    'dataCenters.ny.database',
    /password does not belong/,
  ],
  [
    'password in a parameter',
    (d) => (d.dataCenters.ny.database = 'postgres://h/d?password=x'),
    'dataCenters.ny.database',
    /password does not belong/,
  ],
  [
    'user of a database',
    (d) => (d.dataCenters.ny.database = 'postgres://u@h/d'),
    'dataCenters.ny.database',
    /user does not belong/,
  ],
  [
    'no database name',
    (d) => (d.dataCenters.ny.database = 'postgres://h:1'),
    'dataCenters.ny.database',
    /names no database/,
  ],
  [
    'several hosts',
    (d) => (d.dataCenters.ny.database = 'postgres://a,b/d'),
    'dataCenters.ny.database',
    /no single host/,
  ],
  [
    'another database',
    (d) => (d.dataCenters.ny.database = 'mysql://a/d'),
    'dataCenters.ny.database',
    /not the URL of a PostgreSQL/,
  ],
  [
    'path in a url',
    (d) => (d.dataCenters.ny.url = 'https://a.example/shop'),
    'dataCenters.ny.url',
    /Only scheme, host and port/,
  ],
  ['not a url', (d) => (d.dataCenters.ny.url = 'ny.shop.example'), 'dataCenters.ny.url', /not an http or https URL/],
  [
    'credentials in a url',
    (d) => (d.dataCenters.ny.url = 'https://a:b@ny.example'),
    'dataCenters.ny.url',
    /do not belong in this URL/,
  ],
  [
    'blank in a url',
    (d) => (d.dataCenters.ny.edge = 'https://a .example'),
    'dataCenters.ny.edge',
    /not an http or https URL/,
  ],
  [
    'agent twice',
    (d) => (d.dataCenters.ny.agents = ['http://a', 'http://a/']),
    'dataCenters.ny.agents[1]',
    /same address twice/,
  ],
  ['no data center', (d) => (d.dataCenters = {}), 'dataCenters', /no data center/],
  [
    'four data centers',
    (d) => {
      for (const [name, number] of [
        ['fra', 3],
        ['sgp', 4],
      ] as const)
        d.dataCenters[name] = {
          ...d.dataCenters.la,
          database: `postgres://${name}/shop`,
          url: `https://${name}.shop.example`,
          number,
        };
    },
    'dataCenters.sgp',
    /at most 3/,
  ],
  ['witness password', (d) => (d.leases = { url: 'postgres://w:pw@w/w' }), 'leases.url', /password does not belong/],
  ['no witness', (d) => (d.leases = { ttl: '6s' }), 'leases.url', /`leases.url` is missing/],
  [
    'witness in a data center, automatic failover',
    (d) => (d.leases = { url: 'postgres://10.2.0.5/witness' }),
    'leases.url',
    /PostgreSQL of `la`.* automatic failover is refused/,
  ],
  [
    'endpoints of PostgreSQL',
    (d) => (d.leases = { url: 'postgres://w/w', endpoints: ['https://a'] }),
    'leases.endpoints',
    /is for etcd/,
  ],
  [
    'tls of PostgreSQL',
    (d) => (d.leases = { url: 'postgres://w/w', tls: { ca: './ca.pem' } }),
    'leases.tls',
    /is for etcd/,
  ],
  ['url of etcd', (d) => (d.leases.url = 'postgres://w/w'), 'leases.url', /is for a store on PostgreSQL/],
  ['etcd nowhere', (d) => delete d.leases.endpoints, 'leases.endpoints', /Where is etcd/],
  [
    'an endpoint twice',
    (d) => (d.leases.endpoints = ['https://a:2379', 'https://A:2379/']),
    'leases.endpoints[1]',
    /same address twice/,
  ],
  [
    'a password in an endpoint',
    (d) => (d.leases.endpoints = ['https://u:pw@a:2379', 'https://b:2379']),
    'leases.endpoints[0]',
    /do not belong in this URL/,
  ],
  ['a certificate without key', (d) => delete d.leases.tls.key, 'leases.tls', /belong together/],
  [
    'tls without https',
    (d) => (d.leases.endpoints = ['http://127.0.0.1:1', 'http://127.0.0.1:2']),
    'leases.tls',
    /is for https endpoints/,
  ],
  [
    'a store that fails with a data center',
    (d) => (d.leases.faultDomain = 'US-west'),
    'leases.faultDomain',
    /fails together with `la`.* automatic failover is refused/,
  ],
  [
    'no witness of its own',
    (d) => (d.leases.faultDomain = 'none'),
    'leases.faultDomain',
    /cannot tell a dead peer from a cut link, so automatic failover is refused/,
  ],
  ['another mode of failover', (d) => (d.failover.mode = 'auto'), 'failover.mode', /cannot be "auto"/],
  ['a peer is never silent', (d) => (d.durability.peerTimeout = '1ms'), 'durability.peerTimeout', /too short/],
  ['a timeout without unit', (d) => (d.durability.peerTimeout = 2), 'durability.peerTimeout', /is a number/],
  ['an unknown class', (d) => (d.classes.record = {}), 'classes.record', /not known in `classes`/],
  [
    'durable where it never comes',
    (d) => (d.tables['shop.visits'].durability = 'remote'),
    'tables["shop.visits"].durability',
    /does not leave its data center/,
  ],
  [
    'durable in a stream that nobody waits for',
    (d) => (d.tables.products.durability = 'remote'),
    'tables.products.durability',
    /travels in a stream that no commit waits for/,
  ],
  [
    'a class durable where nobody waits for it',
    (d) => (d.classes.cache = { durability: 'remote' }),
    'classes.cache.durability',
    /travels in a stream that no commit waits for/,
  ],
  [
    'local, refused when alone',
    (d) => Object.assign(d.tables.orders, { durability: 'local', whenAlone: 'refuse' }),
    'tables.orders.whenAlone',
    /waits for no other data center/,
  ],
  [
    'a local class, refused when alone',
    (d) => (d.classes['read-only'].whenAlone = 'refuse'),
    'classes.read-only.whenAlone',
    /waits for no other data center/,
  ],
  [
    'stranded shared rows',
    (d) => (d.tables.products.stranded = 'merge'),
    'tables.products.stranded',
    /Only writes to homed tables/,
  ],
  ['renewed too seldom', (d) => (d.leases.renewEvery = '3s'), 'leases.renewEvery', /one lost renewal/],
  ['skew of a lease', (d) => (d.leases.skew = '6s'), 'leases.skew', /Clocks that drift/],
  [
    'a lease too short',
    (d) => Object.assign(d.leases, { ttl: '400ms', renewEvery: '100ms', skew: '0s' }),
    'leases.ttl',
    /too short/,
  ],
  [
    'a part of a millisecond',
    (d) => (d.leases.renewEvery = '0.5ms'),
    'leases.renewEvery',
    /whole number of milliseconds/,
  ],
  ['sign-in waits too long', (d) => (d.moves.signInWait = '301ms'), 'moves.signInWait', /too long/],
  [
    'one role for two',
    (d) => (d.roles.application = 'shop_owner'),
    'roles.application',
    /`owner` and `application` are the same/,
  ],
  ['a role of PostgreSQL', (d) => (d.roles.agent = 'pg_monitor'), 'roles.agent', /keeps for itself/],
  ['existing accounts nowhere', (d) => (d.accounts.existing = 'nyy'), 'accounts.existing', /no data center `nyy`/],
  ['observe with two', (d) => (d.enforce = 'observe'), 'enforce', /only safe while there is one/],
  ['claim of an unknown table', (d) => (d.claims.email.table = 'acounts'), 'claims.email.table', /not declared/],
  [
    'claim of a shared table',
    (d) => (d.claims.email.table = 'products'),
    'claims.email.table',
    /only values of system-of-record/,
  ],
  [
    'one-dc without dc',
    (d) => delete d.claims.handle.dataCenter,
    'claims.handle.dataCenter',
    /Which data center registers/,
  ],
  [
    'buckets with a dc',
    (d) => (d.claims.email.dataCenter = 'ny'),
    'claims.email.dataCenter',
    /Buckets have a home each/,
  ],
  ['leading dot', (d) => (d.sessions.domain = '.shop.example'), 'sessions.domain', /not a parent domain/],
  ['top level domain', (d) => (d.sessions.domain = 'example'), 'sessions.domain', /not a parent domain/],
  ['address as domain', (d) => (d.sessions.domain = '10.0.0.1'), 'sessions.domain', /not a parent domain/],
  ['key id', (d) => (d.sessions.keys[0].kid = '../ny-1'), 'sessions.keys[0].kid', /not a key id/],
  ['key of nobody', (d) => (d.sessions.keys[0].kid = 'fra-1'), 'sessions.keys[0].kid', /no such data center/],
  ['key twice', (d) => (d.sessions.keys[1] = d.sessions.keys[0]), 'sessions.keys[1].kid', /Two keys/],
  ['private key', (d) => (d.sessions.keys[0].d = 'c2VjcmV0'), 'sessions.keys[0]', /is a private key/],
  [
    'point off the curve',
    (d) => (d.sessions.keys[0].x = d.sessions.keys[1].x),
    'sessions.keys[0]',
    /not an ES256 public key/,
  ],
  [
    'key for another algorithm',
    (d) => (d.sessions.keys[0].alg = 'none'),
    'sessions.keys[0]',
    /not an ES256 public key/,
  ],
  ['key file', (d) => (d.sessions.keys = './keys.json'), 'sessions.keys', /cannot be read \(ENOENT\)/],
  ['unknown key', (d) => (d.leases.renewEvry = '2s'), 'leases.renewEvry', /not known in `leases`/],
  ['misplaced key', (d) => (d.ttl = '2s'), 'ttl', /not known here/],
  ['missing key', (d) => delete d.leases, 'leases', /`leases` is missing/],
  ['no unit', (d) => (d.leases.ttl = 6), 'leases.ttl', /is a number/],
  ['wrong unit', (d) => (d.leases.ttl = '6 sec'), 'leases.ttl', /cannot be "6 sec"/],
  ['unknown class', (d) => (d.tables.orders.class = 'record'), 'tables.orders.class', /cannot be "record"/],
  ['text for a list', (d) => (d.dataCenters.ny.agents = 'http://a'), 'dataCenters.ny.agents', /is text/],
  ['nothing', (d) => (d.tables.orders = null), 'tables.orders', /is empty/],
  [
    'name of a data center',
    (d) => (d.dataCenters['new-york'] = d.dataCenters.la),
    'dataCenters.new-york',
    /not a name that can be used/,
  ],
  ['stride', (d) => (d.stride = 1), 'stride', /too small/],
  [
    'conflict policies',
    (d) => (d.tables.orders.conflicts = 'timestamp-weight'),
    'tables.orders.conflicts',
    /not known in `tables.orders`/,
  ],
];

describe('every mistake is found at its place', () => {
  test.each(mistakes)('%s', (_name, edit, path, message) => {
    const result = check(edit);
    expect(result.kind).toBe('invalid');
    const errors = findings(result).filter(({ severity }) => severity === 'error');
    expect(errors.map((error) => `${error.path}: ${error.message}`)).toEqual(
      expect.arrayContaining([expect.stringMatching(new RegExp(`^${literally(path)}: .*${message.source}`))]),
    );
    for (const { line, column, length } of errors) expect([line, column, length].every((n) => n >= 1)).toBe(true);
  });
});

function literally(text: string): string {
  return text.replaceAll(/[[\]().*+?^$|\\]/g, String.raw`\$&`);
}

test('one mistake brings one finding, not several', () => {
  const alone = [
    'same database',
    'no root',
    'renewed too seldom',
    'unknown class',
    'text for a list',
    'missing key',
    'key file',
  ];
  for (const [name, edit] of mistakes.filter(([name]) => alone.includes(name))) {
    expect([name, findings(check(edit)).map(({ path, message }) => `${path}: ${message}`)]).toEqual([
      name,
      [expect.any(String)],
    ]);
  }
});

test('mistakes of shape, of meaning and of the environment are reported in one run', () => {
  const result = check((draft) => {
    draft.leases.renewEvry = '2s';
    draft.tables.orders.class = 'recrod';
    draft.dataCenters.la.database = draft.dataCenters.ny.database;
    draft.dataCenters.ny.place = '${NOT_SET}';
    draft.accounts.existing = 'nyc';
  });
  expect(findings(result).map(({ path }) => path)).toEqual([
    'dataCenters.ny.place',
    'dataCenters.la.database',
    'leases.renewEvry',
    'accounts.existing',
    'tables.orders.class',
  ]);
});

test.each<[string, (draft: Draft) => void, string, RegExp]>([
  [
    'one fault domain',
    (d) => (d.dataCenters.la.faultDomain = 'US-east'),
    'dataCenters.la.faultDomain',
    /same fault domain/,
  ],
  ['plain http', (d) => (d.dataCenters.la.url = 'http://la.shop.example'), 'dataCenters.la.url', /in the clear/],
  [
    'witness in a data center',
    (d) => Object.assign(d, { leases: { url: 'postgres://10.2.0.5/witness' }, failover: { mode: 'manual' } }),
    'leases.url',
    /PostgreSQL of `la`/,
  ],
  ['one endpoint', (d) => (d.leases.endpoints = ['https://a:2379']), 'leases.endpoints', /With one endpoint/],
  [
    'etcd in the clear',
    (d) => Object.assign(d.leases, { endpoints: ['http://a:2379', 'http://b:2379'], tls: {} }),
    'leases.endpoints[0]',
    /could say who may write/,
  ],
  [
    'a host outside the domain',
    (d) => (d.dataCenters.la.url = 'https://other.example'),
    'sessions.domain',
    /not under shop.example/,
  ],
  ['a data center without key', (d) => d.sessions.keys.pop(), 'sessions.keys', /no public key of `la`/],
  [
    'claim with one home for all',
    (d) => Object.assign(d, { approach: 'active-passive', homes: 'single' }),
    'claims.email',
    /unique index is enough/,
  ],
])('a risk is a warning: %s', (_name, edit, path, message) => {
  const result = check(edit);
  expect(result.kind).toBe('valid');
  expect(findings(result)).toContainEqual(
    expect.objectContaining({ severity: 'warning', path, message: expect.stringMatching(message) }),
  );
});

test('with one home for all accounts no table needs an account', () => {
  const result = check((draft) => {
    draft.approach = 'active-passive';
    delete draft.homes;
    draft.claims = {};
    for (const table of Object.values<Draft>(draft.tables))
      for (const key of ['account', 'root', 'nullAccount']) delete table[key];
  });
  if (result.kind !== 'valid') throw new Error('refused');
  expect(result.configuration.homes).toBe('single');
  expect(Object.values(result.configuration.tables).every(({ account, root }) => account === null && !root)).toBe(true);
});

test.each([
  ['a store that fails with a data center', 'us-east'],
  ['no store of its own', 'none'],
])('a person may decide with %s', (_name, faultDomain) => {
  const result = check((draft) => {
    draft.leases.faultDomain = faultDomain;
    draft.failover.mode = 'manual';
  });
  expect(result).toMatchObject({ kind: 'valid', configuration: { failover: { mode: 'manual' } } });
});

test('a table is as safe as it says, else as its class says, else as its class is', () => {
  const safety = (edit: (draft: Draft) => void, table: string) => {
    const result = check(edit);
    if (result.kind !== 'valid') throw new Error(JSON.stringify(result.diagnostics));
    const { durability, whenAlone, stranded } = result.configuration.tables[table]!;
    return [durability, whenAlone, stranded];
  };
  const refused = (d: Draft) =>
    Object.assign(d.classes['system-of-record'], { whenAlone: 'refuse', stranded: 'merge' });
  expect(safety((d) => delete d.classes, 'public.orders')).toEqual(['remote', 'accept', 'keep']);
  expect(safety(refused, 'public.orders')).toEqual(['remote', 'refuse', 'merge']);
  expect(safety(refused, 'public.carts')).toEqual(['local', 'accept', 'merge']);
  expect(safety((d) => (d.classes['system-of-record'] = { durability: 'local' }), 'public.orders')[0]).toBe('local');
  expect(safety(() => {}, 'shop.visits')).toEqual(['local', 'accept', 'keep']);
});

test('one data center may observe', () => {
  const result = check((draft) => {
    draft.enforce = 'observe';
    delete draft.dataCenters.la;
    delete draft.merge;
    delete draft.rollout;
    draft.sessions.keys.pop();
  });
  expect(result.kind).toBe('valid');
});

test('names are looked up without inheriting anything', () => {
  const result = check(() => {});
  if (result.kind !== 'valid') throw new Error('refused');
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    expect(result.configuration.dataCenters[name]).toBeUndefined();
    expect(result.configuration.tables[name]).toBeUndefined();
    expect(result.configuration.claims[name]).toBeUndefined();
  }
});
