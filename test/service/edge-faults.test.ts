/** What the customer gets when an application, the other edge or the link between them fails. */
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { startEdge } from '@lanekeeper/server/edge';
import { createKeyRing, generateKeyPair, parseSigningKey } from 'lanekeeper/session';
import { afterEach, describe, expect, test } from 'vitest';
import {
  ask,
  type SiteSettings,
  startApp,
  startLink,
  startSites,
  type TestApp,
  type TestSites,
} from '../support/edges.ts';

const host = 'ny.shop.localhost';
const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function sitesOf(settings: SiteSettings): Promise<TestSites> {
  const sites = await startSites(settings);
  stops.push(sites.stop);
  return sites;
}

async function appOf(listener: http.RequestListener, port?: number): Promise<TestApp> {
  const app = await startApp(listener, port);
  stops.push(app.stop);
  return app;
}

const named =
  (name: string): http.RequestListener =>
  (request, response) => {
    request.resume();
    request.on('end', () => response.end(name));
  };

/** An address where nobody listens. */
async function nowhere(): Promise<string> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

describe('applications', () => {
  test('all down: 503, as JSON with everything that is known, or as a page for browsers', async () => {
    const sites = await sitesOf({ ny: [await nowhere(), await nowhere()] });
    const asJson = await ask(sites.ny.edge.url, '/cart', { headers: { host, 'x-request-id': 'r-1' } });
    expect(asJson).toMatchObject({
      status: 503,
      headers: { 'retry-after': '1', 'lanekeeper-data-center': 'ny', 'cache-control': 'no-store' },
    });
    expect(JSON.parse(asJson.body)).toEqual({
      error: {
        code: 'LK_NO_APPLICATION',
        message: expect.stringContaining('was not passed on'),
        dataCenter: 'ny',
        home: null,
        retryAfterMs: 1_000,
        requestId: 'r-1',
      },
    });
    const accept = 'text/html,application/xhtml+xml,*/*;q=0.8';
    const page = await ask(sites.ny.edge.url, '/cart', { headers: { host, accept } });
    expect(page).toMatchObject({ status: 503, headers: { 'content-type': 'text/html; charset=utf-8' } });
    expect(page.body).toContain('We cannot serve this page right now');
    expect(page.body).toContain('LK_NO_APPLICATION');
    const head = await ask(sites.ny.edge.url, '/', { method: 'HEAD', headers: { host } });
    expect(head).toMatchObject({ status: 503, body: '' });
    const health = await ask(sites.ny.edge.url, '/lanekeeper/health', { headers: { host: '10.0.0.1' } });
    expect(health.status).toBe(503);
    expect(JSON.parse(health.body)).toMatchObject({ status: 'FAIL', reason: 'no-application' });
  });

  test('one down: nobody notices, not even with a body; it is left out, and found again', async () => {
    const address = await nowhere();
    const well = await appOf(named('well'));
    const sites = await sitesOf({ ny: [address, well.url] });
    for (let i = 0; i < 10; i += 1) {
      const reply = await ask(sites.ny.edge.url, '/', {
        method: 'POST',
        headers: { host },
        body: Buffer.alloc(i % 2 === 0 ? 10 : 1_000_000),
      });
      expect([reply.status, reply.body]).toEqual([200, 'well']);
    }
    // Ten requests by turns, and only the first one found out; on a busy machine once more, a second later.
    const ejected = sites.ny.log.filter(({ event }) => event === 'instance-ejected').length;
    expect([1, 2]).toContain(ejected);
    expect((await ask(sites.ny.edge.url, '/lanekeeper/health')).status).toBe(200);
    await appOf(named('back'), Number(new URL(address).port));
    await expect
      .poll(async () => (await ask(sites.ny.edge.url, '/', { headers: { host } })).body, { timeout: 5_000 })
      .toBe('back');
  });

  test('the least busy one is asked', async () => {
    let release = (): void => {};
    const stuck = await appOf((_request, response) => {
      release = () => response.end('stuck');
    });
    const free = await appOf(named('free'));
    const sites = await sitesOf({ ny: [stuck.url, free.url] });
    const first = ask(sites.ny.edge.url, '/', { headers: { host } });
    const second = ask(sites.ny.edge.url, '/', { headers: { host } });
    expect((await Promise.race([first, second])).body).toBe('free');
    for (let i = 0; i < 5; i += 1) expect((await ask(sites.ny.edge.url, '/', { headers: { host } })).body).toBe('free');
    release();
    await Promise.all([first, second]);
  });

  test('a connection that breaks: a read is repeated once, a write is never; its fate is said to be unknown', async () => {
    let seen = 0;
    const breaking = await appOf((request) => {
      seen += 1;
      request.socket.destroy();
    });
    const well = await appOf(named('well'));
    const sites = await sitesOf({ ny: [breaking.url, well.url] });
    const answers = async (method: string) => {
      const replies = [];
      for (let i = 0; i < 2; i += 1) {
        replies.push(
          await ask(sites.ny.edge.url, '/', { method, headers: { host }, ...(method === 'POST' ? { body: 'x' } : {}) }),
        );
      }
      return replies.map(({ status }) => status).sort();
    };
    expect(await answers('GET')).toEqual([200, 200]);
    expect(seen).toBe(1);
    expect(await answers('POST')).toEqual([200, 502]);
    expect(seen).toBe(2);

    const alone = await sitesOf({ ny: [breaking.url] });
    seen = 0;
    const reply = await ask(alone.ny.edge.url, '/', { headers: { host } });
    expect(JSON.parse(reply.body)).toMatchObject({ error: { code: 'LK_NO_ANSWER', retryAfterMs: null } });
    expect(seen).toBe(2);
  });

  test('an answer that does not come in time: 504, and no second try', async () => {
    let seen = 0;
    const stuck = await appOf(() => {
      seen += 1;
    });
    const sites = await sitesOf({ ny: [stuck.url], limits: { answerMs: 300 } });
    const reply = await ask(sites.ny.edge.url, '/', { headers: { host } });
    expect(reply.status).toBe(504);
    expect(JSON.parse(reply.body)).toMatchObject({ error: { code: 'LK_LATE_ANSWER' } });
    expect(seen).toBe(1);
  });

  test('a full house is said to be full', async () => {
    const stuck = await appOf((request, response) => {
      if (request.url === '/free') response.end();
    });
    const sites = await sitesOf({ ny: [stuck.url], limits: { perInstance: 2 } });
    const waiting = [1, 2].map(() => {
      const { hostname, port } = new URL(sites.ny.edge.url);
      return http.get({ hostname, port, path: '/', agent: false, headers: { host } }).on('error', () => {});
    });
    await expect
      .poll(async () => (await ask(sites.ny.edge.url, '/lanekeeper/metrics')).body)
      .toMatch(/busy\{[^}]+\} 2$/m);
    expect((await ask(sites.ny.edge.url, '/free', { headers: { host } })).status).toBe(503);
    for (const request of waiting) request.destroy();
    await expect.poll(async () => (await ask(sites.ny.edge.url, '/free', { headers: { host } })).status).toBe(200);
  });

  test('an active check leaves out an instance that answers badly', async () => {
    let well = true;
    const sick = await appOf((request, response) => {
      if (request.url === '/ready') response.writeHead(well ? 200 : 500).end();
      else response.end('sick');
    });
    const other = await appOf(named('other'));
    const sites = await sitesOf({ ny: [sick.url, other.url], options: { applicationHealthPath: '/ready' } });
    const who = async () => {
      const replies = [];
      for (let i = 0; i < 4; i += 1) replies.push((await ask(sites.ny.edge.url, '/', { headers: { host } })).body);
      return [...new Set(replies)].sort();
    };
    expect(await who()).toEqual(['other', 'sick']);
    well = false;
    await expect.poll(who).toEqual(['other']);
    well = true;
    await expect.poll(who).toEqual(['other', 'sick']);
  });
});

describe('the other data center', () => {
  async function twoSites(settings: SiteSettings = {}): Promise<TestSites> {
    const [ny, la] = await Promise.all([appOf(named('ny')), appOf(named('la'))]);
    return sitesOf({ ny: [ny.url], la: [la.url], ...settings });
  }

  test('link cut: the customer is sent there himself, at once; when it is healed he is served from here again', async () => {
    const sites = await twoSites();
    const headers = { host, cookie: sites.cookie('la') };
    expect((await ask(sites.ny.edge.url, '/a', { headers })).body).toBe('la');
    await sites.toLa.cut();
    for (const [method, body] of [
      ['GET', ''],
      ['POST', 'x'],
      ['POST', 'x'.repeat(1_000_000)],
    ] as const) {
      const reply = await ask(sites.ny.edge.url, '/a?b=c', { method, headers, body });
      expect([reply.status, reply.headers.location]).toEqual([307, 'http://la.shop.localhost/a?b=c']);
      expect(reply.headers['set-cookie']).toBeUndefined();
    }
    // Strangers and those at home here do not notice.
    expect((await ask(sites.ny.edge.url, '/', { headers: { host } })).body).toBe('ny');
    expect((await ask(sites.ny.edge.url, '/', { headers: { host, cookie: sites.cookie('ny') } })).body).toBe('ny');
    await sites.toLa.heal();
    await expect
      .poll(async () => (await ask(sites.ny.edge.url, '/a', { headers })).status, { timeout: 5_000 })
      .toBe(200);
  });

  test('he is not sent to where he is', async () => {
    const sites = await twoSites();
    await sites.toLa.cut();
    const reply = await ask(sites.ny.edge.url, '/', {
      headers: { host: 'la.shop.localhost', cookie: sites.cookie('la') },
    });
    expect(reply.status).toBe(503);
    expect(JSON.parse(reply.body)).toMatchObject({
      error: { code: 'LK_HOME_UNREACHABLE', dataCenter: 'ny', home: 'la' },
    });
  });

  test('a replay whose link is cut becomes a redirect', async () => {
    const wrong = await appOf((request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(409, { 'Lanekeeper-Replay': 'dc=la' }).end());
    });
    const sites = await sitesOf({ ny: [wrong.url] });
    await sites.toLa.cut();
    const headers = { host, cookie: sites.cookie('ny') };
    for (let i = 0; i < 2; i += 1) {
      const reply = await ask(sites.ny.edge.url, '/a', { method: 'POST', headers, body: 'x' });
      expect([reply.status, reply.headers.location]).toEqual([307, 'http://la.shop.localhost/a']);
    }
  });

  test('link silent: found out by asking; who waits for a read is sent there, who waits for a write waits on', async () => {
    let started = 0;
    const slow = await appOf((request, response) => {
      started += 1;
      request.resume();
      setTimeout(() => response.end('la'), request.url === '/slow' ? 30_000 : 0);
    });
    const sites = await sitesOf({ la: [slow.url] });
    const headers = { host, cookie: sites.cookie('la') };
    const read = ask(sites.ny.edge.url, '/slow', { headers });
    const write = ask(sites.ny.edge.url, '/slow', { method: 'POST', headers, body: 'x' }).catch((error) => error.code);
    await expect.poll(() => started).toBe(2);
    sites.toLa.silence();
    expect((await read).status).toBe(307);
    expect(sites.ny.log.at(-1)).toMatchObject({ event: 'edge-lost', details: { why: 'no answer' } });
    expect((await ask(sites.ny.edge.url, '/', { headers })).status).toBe(307);
    expect(await Promise.race([write, delay(500).then(() => 'waiting')])).toBe('waiting');
    await sites.toLa.heal();
    // The relay closed the connection: what became of the write nobody here knows, and that is what is said.
    expect(await write).toMatchObject({ status: 502, body: expect.stringContaining('LK_NO_ANSWER') });
    await expect
      .poll(async () => (await ask(sites.ny.edge.url, '/', { headers })).status, { timeout: 8_000 })
      .toBe(200);
  });

  test('slow is not dead: a slow answer is waited for', async () => {
    const slow = await appOf((_request, response) => setTimeout(() => response.end('at last'), 2_500));
    const sites = await sitesOf({ la: [slow.url] });
    const reply = await ask(sites.ny.edge.url, '/', { headers: { host, cookie: sites.cookie('la') } });
    expect([reply.status, reply.body]).toEqual([200, 'at last']);
    expect(sites.ny.log.filter(({ event }) => event === 'edge-lost')).toEqual([]);
  });

  test('applications down there: that edge says so, and the customer hears it', async () => {
    const sites = await sitesOf({ la: [await nowhere()] });
    const reply = await ask(sites.ny.edge.url, '/', { headers: { host, cookie: sites.cookie('la') } });
    expect(reply.status).toBe(503);
    expect(JSON.parse(reply.body)).toMatchObject({ error: { code: 'LK_NO_APPLICATION', dataCenter: 'la' } });
  });

  test('an edge whose key nobody knows, or whose clock is wrong, is told so and sends its customers itself', async () => {
    const la = await appOf(named('la'));
    const sites = await sitesOf({ la: [la.url] });
    // A data center `ny` with a key of its own making.
    const pair = generateKeyPair('ny', 9);
    const { configuration } = sites.ny;
    const keys = [...configuration.sessions.keys, pair.publicJwk];
    const impostor = { ...configuration, sessions: { ...configuration.sessions, keys } } as typeof configuration;
    const signingKey = parseSigningKey(JSON.stringify(pair.privateJwk), 'test');
    const events: unknown[] = [];
    const edge = await startEdge({
      configuration: impostor,
      keys: createKeyRing(impostor, { signingKey }),
      limits: { probeEveryMs: 200 },
      log: (_level, event, details) => events.push([event, details.why]),
    });
    stops.push(() => edge.close());
    await expect
      .poll(() => events)
      .toContainEqual(['edge-lost', expect.stringContaining('does not believe our token')]);
    const reply = await ask(edge.url, '/', { headers: { host, cookie: sites.cookie('la') } });
    expect(reply.status).toBe(307);
  });

  test('an address of the other edge that leads back here is noticed', async () => {
    const app = await appOf(named('ny'));
    const sites = await sitesOf({ ny: [app.url], la: [app.url] });
    sites.toLa.target = sites.ny.edge.url;
    await sites.toLa.heal();
    await expect
      .poll(async () => (await ask(sites.ny.edge.url, '/', { headers: { host, cookie: sites.cookie('la') } })).status)
      .toBe(508);
  });
});

test('a client that goes away while his request waits is forgotten at once', async () => {
  let closed = 0;
  const stuck = await appOf((request) => {
    request.on('close', () => {
      closed += 1;
    });
  });
  const sites = await sitesOf({ ny: [stuck.url] });
  const { hostname, port } = new URL(sites.ny.edge.url);
  const request = http.get({ hostname, port, path: '/', agent: false, headers: { host } });
  request.on('error', () => {});
  await once(request, 'socket');
  await delay(100);
  request.destroy();
  await expect.poll(() => closed).toBe(1);
  await expect
    .poll(async () => (await ask(sites.ny.edge.url, '/lanekeeper/metrics')).body)
    .toMatch(/busy\{[^}]+\} 0$/m);
});

test('startLink is what it says', async () => {
  const app = await appOf(named('there'));
  const link = await startLink();
  stops.push(link.stop);
  link.target = app.url;
  expect((await ask(link.url, '/')).body).toBe('there');
  await link.cut();
  await expect(ask(link.url, '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
