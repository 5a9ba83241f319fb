/** Two edges, each with real applications behind it: who is served where, and what happens when that is out of date. */
import { createHash } from 'node:crypto';
import http from 'node:http';
import { acceptHandoff, createHandoffMemory } from 'lanekeeper/session';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask, startApp, startSites, type TestApp, type TestSites } from '../support/edges.ts';

/** What the application of a data center remembers and how it answers. */
type Shop = {
  readonly app: TestApp;
  readonly seen: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[];
  /** The home this application believes every account has; null: here. */
  home: string | null;
};

async function startShop(dc: string): Promise<Shop> {
  const seen: Shop['seen'] = [];
  const app = await startApp((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    const answer = (): void => {
      const body = Buffer.concat(chunks);
      const facts = { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
      seen.push({
        ...facts,
        body: body.length > 1_000 ? createHash('sha256').update(body).digest('hex') : body.toString(),
      });
      if (shop.home !== null && request.headers.cookie !== undefined) {
        response.writeHead(409, {
          'Lanekeeper-Replay': `dc=${shop.home}`,
          'Set-Cookie': `__Secure-lanekeeper=fresh-from-${dc}; Path=/`,
          'Content-Type': 'application/json',
        });
        response.end(JSON.stringify({ error: { code: 'LK_WRONG_HOME' } }));
        return;
      }
      response.writeHead(200, { 'Content-Type': 'application/json', 'X-Served-By': dc });
      response.end(JSON.stringify({ dc, ...facts, body: body.toString('latin1').slice(0, 100) }));
    };
    // A refusal needs no body, as with a framework that answers in a hook.
    if (shop.home !== null && request.headers.cookie !== undefined) {
      answer();
      request.resume();
    } else request.on('end', answer);
  });
  const shop: Shop = { app, seen, home: null };
  return shop;
}

let ny: Shop;
let la: Shop;
let sites: TestSites;

beforeAll(async () => {
  [ny, la] = await Promise.all([startShop('ny'), startShop('la')]);
  sites = await startSites({ ny: [ny.app.url], la: [la.app.url] });
});
afterAll(async () => {
  await sites?.stop();
  await Promise.all([ny?.app.stop(), la?.app.stop()]);
});

const host = 'ny.shop.localhost';
const withCookie = (cookie: string) => ({ host, cookie });

describe('who is served where', () => {
  test('a stranger where he is', async () => {
    const reply = await ask(sites.ny.edge.url, '/products?q=1', { headers: { host } });
    expect(reply.status).toBe(200);
    expect(reply.headers).toMatchObject({ 'x-served-by': 'ny', 'lanekeeper-data-center': 'ny' });
    expect(JSON.parse(reply.body)).toMatchObject({ url: '/products?q=1', headers: { host, 'lanekeeper-via': 'ny' } });
  });

  test('a customer at his home, with reads and writes, under the host name he typed', async () => {
    const cookie = sites.cookie('la');
    for (const [method, body] of [
      ['GET', undefined],
      ['POST', 'sku=1'],
    ] as const) {
      const reply = await ask(sites.ny.edge.url, '/cart', {
        method,
        headers: withCookie(cookie),
        ...(body === undefined ? {} : { body }),
      });
      expect(reply.headers).toMatchObject({ 'x-served-by': 'la', 'lanekeeper-data-center': 'la' });
      const seen = JSON.parse(reply.body);
      expect(seen.headers).toMatchObject({
        host,
        cookie,
        'lanekeeper-via': 'la',
        'lanekeeper-hops': '1',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
      });
      expect(Object.keys(seen.headers).filter((name) => name.startsWith('lanekeeper-'))).toHaveLength(2);
      expect(seen.body).toBe(body ?? '');
    }
  });

  test('a cookie from the other data center is as good as one of ours', async () => {
    const reply = await ask(sites.ny.edge.url, '/', { headers: withCookie(sites.cookie('la', { issuer: 'la' })) });
    expect(reply.headers['x-served-by']).toBe('la');
  });

  test('expired, forged, or two of them: as if there were none', async () => {
    const good = sites.cookie('la');
    const expired = sites.cookie('la', { maxAgeMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    for (const cookie of [
      expired,
      `${good}x`,
      `${good}; ${good}`,
      `${good}; __Host-lanekeeper=${good.split('=')[1]}`,
    ]) {
      const reply = await ask(sites.ny.edge.url, '/', { headers: withCookie(cookie) });
      expect(reply.headers['x-served-by'], cookie.slice(0, 40)).toBe('ny');
    }
    const reply = await ask(sites.ny.edge.url, '/', { headers: withCookie(`a=b; ${good};c=d`) });
    expect(reply.headers['x-served-by']).toBe('la');
  });
});

describe('the application knows better', () => {
  test('its request is repeated in the other data center, body and all, and nobody else notices', async () => {
    ny.home = 'la';
    ny.seen.length = 0;
    try {
      for (const body of ['', 'sku=1&quantity=2', 'x'.repeat(64 * 1024)]) {
        const reply = await ask(sites.ny.edge.url, '/cart', {
          method: 'POST',
          headers: withCookie(sites.cookie('ny')),
          body,
        });
        expect(reply.status).toBe(200);
        expect(reply.headers).toMatchObject({ 'x-served-by': 'la', 'lanekeeper-data-center': 'la' });
        expect(reply.headers['lanekeeper-replay']).toBeUndefined();
        expect(JSON.parse(reply.body).body).toBe(body.slice(0, 100));
        expect(la.seen.at(-1)?.headers['content-length']).toBe(String(body.length));
      }
      expect(ny.seen).toHaveLength(3);
    } finally {
      ny.home = null;
    }
  });

  test('a chunked body of unknown length, while it is still arriving', async () => {
    ny.home = 'la';
    try {
      const reply = await new Promise<{ status: number; body: string }>((resolve, reject) => {
        const { hostname, port } = new URL(sites.ny.edge.url);
        const headers = { ...withCookie(sites.cookie('ny')), 'transfer-encoding': 'chunked' };
        const request = http.request(
          { hostname, port, method: 'POST', path: '/cart', headers, agent: false },
          (response) => {
            let body = '';
            response.on('data', (chunk) => {
              body += chunk;
            });
            response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
          },
        );
        request.on('error', reject);
        request.write('one ');
        setTimeout(() => request.write('two '), 100);
        setTimeout(() => request.end('three'), 200);
      });
      expect(reply.status).toBe(200);
      expect(JSON.parse(reply.body)).toMatchObject({ dc: 'la', body: 'one two three' });
    } finally {
      ny.home = null;
    }
  });

  test('a body too large to keep: the customer is redirected, with the fresh cookie', async () => {
    la.home = 'ny';
    try {
      for (const headers of [{}, { 'transfer-encoding': 'chunked' }]) {
        const reply = await ask(sites.la.edge.url, '/upload?a=b', {
          method: 'POST',
          headers: { host: 'la.shop.localhost', cookie: sites.cookie('la'), ...headers },
          body: Buffer.alloc(1_000_000, 'x'),
        });
        expect(reply.status).toBe(307);
        expect(reply.headers.location).toBe('http://ny.shop.localhost/upload?a=b');
        expect(reply.headers['set-cookie']).toEqual(['__Secure-lanekeeper=fresh-from-la; Path=/']);
        expect(reply.headers['lanekeeper-replay']).toBeUndefined();
      }
    } finally {
      la.home = null;
    }
  });

  test('two applications that send a request round in a circle: 508, after three edges', async () => {
    ny.home = 'la';
    la.home = 'ny';
    ny.seen.length = 0;
    la.seen.length = 0;
    try {
      const reply = await ask(sites.ny.edge.url, '/cart', {
        method: 'POST',
        headers: withCookie(sites.cookie('ny')),
        body: 'a',
      });
      expect(reply.status).toBe(508);
      expect(JSON.parse(reply.body)).toMatchObject({ error: { code: 'LK_LOOP' } });
      expect([ny.seen.length, la.seen.length]).toEqual([2, 2]);
      ny.home = 'ny';
      const self = await ask(sites.ny.edge.url, '/cart', { headers: withCookie(sites.cookie('ny')) });
      expect(self.status).toBe(508);
    } finally {
      ny.home = null;
      la.home = null;
    }
  });

  test('an address that causes too many replays is sent there itself', async () => {
    const own = await startSites({ ny: [ny.app.url], la: [la.app.url], limits: { replays: 3 } });
    ny.home = 'la';
    try {
      const statuses = [];
      for (let i = 0; i < 5; i += 1) {
        statuses.push((await ask(own.ny.edge.url, '/', { headers: withCookie(own.cookie('ny')) })).status);
      }
      expect(statuses).toEqual([200, 200, 200, 307, 307]);
    } finally {
      ny.home = null;
      await own.stop();
    }
  });

  test('a data center that nobody knows', async () => {
    ny.home = 'fra';
    try {
      const reply = await ask(sites.ny.edge.url, '/cart', { headers: withCookie(sites.cookie('ny')) });
      expect(reply.status).toBe(503);
      expect(JSON.parse(reply.body)).toMatchObject({ error: { code: 'LK_HOME_UNREACHABLE', home: 'fra' } });
    } finally {
      ny.home = null;
    }
  });

  test('an order to replay on an answer that is no refusal is dropped, and counted', async () => {
    const leaky = await startApp((_request, response) => {
      response.writeHead(200, {
        'LANEKEEPER-REPLAY': 'dc=la',
        'Lanekeeper-Hops': '2',
        'Lanekeeper-Data-Center': 'fra',
      });
      response.end('done');
    });
    const own = await startSites({ ny: [leaky.url], la: [leaky.url] });
    try {
      for (const cookie of ['', own.cookie('la')]) {
        const reply = await ask(own.ny.edge.url, '/', { headers: withCookie(cookie) });
        expect(reply).toMatchObject({ status: 200, body: 'done' });
        const names = Object.keys(reply.headers).filter((name) => name.startsWith('lanekeeper'));
        expect(names).toEqual(['lanekeeper-data-center']);
        expect(reply.headers['lanekeeper-data-center']).toBe(cookie === '' ? 'ny' : 'la');
      }
      const metrics = await ask(own.ny.edge.url, '/lanekeeper/metrics');
      expect(metrics.body).toMatch(/^lanekeeper_edge_replays_ignored_total 1$/m);
    } finally {
      await own.stop();
      await leaky.stop();
    }
  });
});

describe('across domains', () => {
  test('a redirect carries the session along, once, to that data center only', async () => {
    const own = await startSites({
      ny: [],
      la: [],
      url: (name) => (name === 'ny' ? 'http://shop-ny.localhost' : 'http://shop-la.localhost'),
      written: {},
    });
    try {
      await own.toLa.cut();
      await expect.poll(() => own.ny.log.some(({ event }) => event === 'edge-lost')).toBe(true);
      const cart = (query: string) =>
        ask(own.ny.edge.url, `/cart?${query}`, {
          method: 'POST',
          headers: { host: 'shop-ny.localhost', cookie: own.cookie('la', { account: 'a7' }) },
          body: 'x',
        });
      const reply = await cart('a=b');
      expect(reply.status).toBe(307);
      const location = new URL(reply.headers.location as string);
      expect([location.origin, location.pathname, location.searchParams.get('a')]).toEqual([
        'http://shop-la.localhost',
        '/cart',
        'b',
      ]);
      const tokens = location.searchParams.getAll('lanekeeper-handoff');
      expect(tokens).toHaveLength(1);
      const memory = createHandoffMemory();
      const token = tokens[0] as string;
      expect(acceptHandoff(own.la.keys, memory, token, Date.now())).toMatchObject({
        kind: 'valid',
        session: { account: 'a7' },
      });
      expect(acceptHandoff(own.la.keys, memory, token, Date.now())).toMatchObject({ kind: 'refused', reason: 'used' });
      // One that arrives is for the application here, whatever the cookie says: it must not be sent round in a circle.
      expect((await cart('lanekeeper-handoff=new&a=b')).status).toBe(503);
    } finally {
      await own.stop();
    }
  });
});
