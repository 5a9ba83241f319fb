/** What is not etcd, is another etcd, or does not answer: nothing is derived from it, in bounded time. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { etcdLeaseStore } from './etcd.ts';

type Answer = { readonly status?: number; readonly body: unknown };
type Responder = (path: string, body: Record<string, unknown>) => Answer | 'silence';

const servers: Server[] = [];
const stores: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function serve(respond: Responder): Promise<string> {
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const answer = respond(request.url ?? '', JSON.parse(text));
    if (answer === 'silence') return;
    const body = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' }).end(body);
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function store(
  endpoints: readonly string[],
  timeoutMs = 1000,
  login: { user: string; password: string } | null = null,
) {
  const made = etcdLeaseStore({ endpoints, login, tls: {}, cluster: 'shop', timeoutMs });
  stores.push(made);
  return made;
}

const header = { cluster_id: '1', member_id: '2', revision: '3' };
const empty: Responder = () => ({ body: { header } });
const base64 = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
const pair = (key: string, value: unknown, modRevision: unknown = '5') => ({
  key: base64(key),
  value: base64(value),
  mod_revision: modRevision,
});
const record = {
  format: 1,
  dataCenter: 'ny',
  incarnation: { systemIdentifier: '7', timeline: 1, generation: 1 },
  positions: { log: '0/1', received: {}, applied: {} },
  holder: 'ny-1',
  revision: 4,
  ttlMs: 6000,
  inSync: ['la'],
  takenOver: null,
  ended: null,
  mark: 'm',
};
const view = { format: 1, term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null, mark: 'm' };
const [recordKey, aliveKey, viewKey] = [
  'lanekeeper/shop/lease/ny',
  'lanekeeper/shop/alive/ny',
  'lanekeeper/shop/view/000000000002',
] as const;
const holding =
  (...kvs: readonly unknown[]): Responder =>
  () => ({ body: { header, kvs } });

test('what is kept in etcd is read as it is', async () => {
  const one = store([await serve(holding(pair(recordKey, record), pair(aliveKey, '4'), pair(viewKey, view)))]);
  const { format: _, mark: __, ended: ___, ...lease } = record;
  expect(await one.read()).toEqual({
    term: 2,
    leases: [{ ...lease, state: 'held' }],
    successions: [{ term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null }],
  });
});

describe('nonsense is refused, with what to do', () => {
  const cases: [string, Responder, RegExp][] = [
    [
      'a page',
      () => ({ body: '<html>It works!</html>' }),
      /nonsense: what http.* sent \(HTTP 200\) .*leads to the right store/,
    ],
    ['no etcd at all', () => ({ status: 404, body: 'Not found' }), /has no \/v3 API.*etcd 3\.4 or newer/],
    [
      'an etcd without these calls',
      () => ({ status: 501, body: { code: 12, error: 'unimplemented' } }),
      /has no \/v3 API/,
    ],
    ['a list', () => ({ body: [1] }), /nonsense/],
    ['a mistake without code', () => ({ status: 500, body: { oops: true } }), /nonsense: what .* \(HTTP 500\)/],
    ['nobody knows whose', () => ({ body: { kvs: [] } }), /nonsense: the cluster id/],
    ['half of the keys', () => ({ body: { header, more: true } }), /nonsense: the range/],
    ['no list of keys', () => ({ body: { header, kvs: 'x' } }), /nonsense: the range/],
    ['a foreign key', holding(pair('lanekeeper/shop/x', '')), /nonsense: a key/],
    ['a key of another prefix', holding(pair('lanekeeper/other/lease/ny', record)), /nonsense: a key/],
    ['no revision', holding(pair(recordKey, record, 5)), /nonsense: mod_revision/],
    ['a record that is no JSON', holding(pair(recordKey, '{')), /nonsense: lanekeeper\/shop\/lease\/ny/],
    ['the record of another', holding(pair(recordKey, { ...record, dataCenter: 'la' })), /nonsense: the record of ny/],
    ['a newer format', holding(pair(recordKey, { ...record, format: 2 })), /a newer version/],
    ['a holder of no name', holding(pair(recordKey, { ...record, holder: '' })), /nonsense: holder/],
    ['an end that is none', holding(pair(recordKey, { ...record, ended: 'maybe' })), /nonsense: ended/],
    ['a time before now', holding(pair(recordKey, { ...record, ttlMs: -1 })), /nonsense: ttlMs/],
    ['a history with a gap', holding(pair('lanekeeper/shop/view/000000000003', { ...view, term: 3 })), /nonsense/],
    ['a view under another term', holding(pair(viewKey, { ...view, term: 3 })), /nonsense/],
    ['to itself', holding(pair(viewKey, { ...view, to: 'ny' })), /nonsense: a succession/],
    [
      'a full disk',
      () => ({ status: 429, body: { code: 8, error: 'etcdserver: mvcc: database space exceeded' } }),
      /Compact/,
    ],
    [
      'wants a user',
      () => ({ status: 400, body: { code: 3, error: 'etcdserver: user name is empty' } }),
      /Set leases\.user/,
    ],
    ['forbids', () => ({ status: 403, body: { code: 7, error: 'etcdserver: permission denied' } }), /Set leases\.user/],
  ];
  test.each(cases)('%s', async (_, respond, message) => {
    await expect(store([await serve(respond)]).read()).rejects.toThrow(message);
  });

  test('a lease that ends before it should', async () => {
    const short: Responder = (path) =>
      path === '/v3/lease/grant' ? { body: { header, ID: '9', TTL: '1' } } : { body: { header } };
    const { format: _, mark: __, ended: ___, takenOver: ____, revision: _____, ...claim } = record;
    await expect(store([await serve(short)]).acquire(claim)).rejects.toThrow(/nonsense: the TTL/);
  });

  test('a lease that was granted to somebody else', async () => {
    const other = { ...record, holder: 'ny-2' };
    const wrong: Responder = (path) => {
      if (path === '/v3/lease/grant') return { body: { header, ID: '9', TTL: '6' } };
      if (path === '/v3/kv/range') return { body: { header } };
      const range = { response_range: { kvs: [pair(recordKey, other), pair(aliveKey, '4')] } };
      return { body: { header, succeeded: true, responses: [{}, {}, range] } };
    };
    const { format: _, mark: __, ended: ___, takenOver: ____, revision: _____, ...claim } = record;
    await expect(store([await serve(wrong)]).acquire(claim)).rejects.toThrow(/nonsense: the granted lease/);
  });

  test('a store that goes back to an earlier view', async () => {
    let kvs: unknown[] = [pair(viewKey, view)];
    const one = store([await serve(() => ({ body: { header, kvs } }))]);
    expect((await one.read()).term).toBe(2);
    kvs = [];
    await expect(one.read()).rejects.toThrow(/was the store restored from a copy/);
  });

  test('members of two etcds', async () => {
    let first: Responder = empty;
    const other: Responder = () => ({ body: { header: { ...header, cluster_id: '2' } } });
    const one = store([await serve((...asked) => first(...asked)), await serve(other)]);
    await one.read();
    first = () => ({ status: 503, body: { code: 14, error: 'etcdserver: no leader' } });
    await expect(one.read()).rejects.toThrow(/another etcd cluster \(2\).*must name members of one cluster/);
  });

  test.each([
    [
      'a wrong password',
      { code: 3, error: 'etcdserver: authentication failed, invalid user ID or password' },
      /refuses/,
    ],
    [
      'a password that nobody wants',
      { code: 9, error: 'etcdserver: authentication is not enabled' },
      /remove leases\.user/,
    ],
  ])('%s', async (_, body, message) => {
    const url = await serve(() => ({ status: 400, body }));
    await expect(store([url], 1000, { user: 'u', password: 'secret!' }).read()).rejects.toThrow(message);
    await expect(store([url], 1000, { user: 'u', password: 'secret!' }).read()).rejects.not.toThrow(/secret!/);
  });
});

/** Every part of a true answer, replaced by anything: it is refused, or what is read is still a view that can be. */
test('whatever etcd holds, a view that cannot be is never read', async () => {
  const history = [2, 3].map((term) =>
    pair(`lanekeeper/shop/view/${String(term).padStart(12, '0')}`, {
      ...view,
      term,
      from: term === 2 ? 'ny' : 'la',
      to: term === 2 ? 'la' : 'ny',
    }),
  );
  let answer: unknown;
  const url = await serve(() => ({ body: { header, kvs: answer } }));
  const parts = [
    'format',
    'dataCenter',
    'incarnation',
    'positions',
    'holder',
    'revision',
    'ttlMs',
    'inSync',
    'takenOver',
    'ended',
    'mark',
  ];
  const change = fc.tuple(fc.constantFrom(...parts), fc.jsonValue());
  let read = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 2 }), fc.jsonValue(), fc.nat(3), async (changes, noise, which) => {
      const held = { ...record, ...Object.fromEntries(changes) };
      answer = [pair(recordKey, held), pair(aliveKey, String(held.revision)), ...history];
      if (which === 0) (answer as unknown[])[3] = noise;
      const one = etcdLeaseStore({ endpoints: [url], login: null, tls: {}, cluster: 'shop', timeoutMs: 5000 });
      try {
        const { term, successions, leases } = await one.read();
        read++;
        expect([term, successions.length]).toEqual([3, 2]);
        expect(leases).toHaveLength(1);
        const [lease] = leases;
        expect(lease?.dataCenter).toBe('ny');
        expect(Number.isSafeInteger(lease?.revision) && Number.isSafeInteger(lease?.incarnation.generation)).toBe(true);
        if (lease?.state === 'held') expect([lease.takenOver, held.ended, lease.ttlMs > 0]).toEqual([null, null, true]);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.includes('nonsense')) throw error;
      } finally {
        await one.close();
      }
    }),
    { numRuns: 300, seed: 11 },
  );
  expect(read).toBeGreaterThan(20);
});

describe('a member that does not help', () => {
  test('is passed over: silent, without a leader, nobody there', async () => {
    const silent = await serve(() => 'silence');
    const leaderless = await serve(() => ({ status: 503, body: { code: 14, error: 'etcdserver: no leader' } }));
    const gone = 'http://127.0.0.1:9';
    const asked: string[] = [];
    const good = await serve((path) => {
      asked.push(path);
      return { body: { header } };
    });
    for (const bad of [silent, leaderless, gone]) expect((await store([bad, good]).read()).term).toBe(1);
    expect(asked).toHaveLength(3);
  });

  test('costs its time once: who answered is asked first from then on', async () => {
    let asked = 0;
    const silent = await serve(() => {
      asked++;
      return 'silence';
    });
    const one = store([silent, await serve(empty)]);
    for (let number = 0; number < 5; number++) await one.read();
    expect(asked).toBe(1);
  });

  test('is all there is: it ends in time, and says of each what happened', async () => {
    const silent = await serve(() => 'silence');
    const began = performance.now();
    await expect(store([silent, 'http://127.0.0.1:9'], 500).read()).rejects.toThrow(
      /did not answer in time.*127\.0\.0\.1:9/,
    );
    expect(performance.now() - began).toBeLessThan(1500);
    await expect(store(['http://127.0.0.1:9'], 500).read()).rejects.toThrow(/The lease store failed\. .*ECONNREFUSED/);
  });

  test('has forgotten who we are: asked again with a new token', async () => {
    let tokens = 0;
    const url = await serve((path) => {
      if (path === '/v3/auth/authenticate') return { body: { header, token: `token ${++tokens}` } };
      if (tokens < 2) return { status: 401, body: { code: 16, error: 'etcdserver: invalid auth token' } };
      return { body: { header } };
    });
    await store([url], 1000, { user: 'u', password: 'p' }).read();
    expect(tokens).toBe(2);
  });
});

test('a closed store answers nothing', async () => {
  const one = store([await serve(empty)]);
  await one.close();
  await expect(one.read()).rejects.toThrow('closed');
});
