/** What edges make of successions: heard at once from agents, followed instead of the cookie, waited for when a home is lost. */
import type http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Succession } from 'lanekeeper/model';
import { afterEach, expect, test } from 'vitest';
import { type NewsAgent, startNewsAgent } from '../support/agent-news.ts';
import { ask, type SiteSettings, startApp, startSites, type TestApp, type TestSites } from '../support/edges.ts';

const take: Succession = { term: 2, kind: 'take', from: 'la', to: 'ny', undoes: null };
const back: Succession = { term: 3, kind: 'return', from: 'ny', to: 'la', undoes: 2 };
const host = 'ny.shop.localhost';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function appOf(listener: http.RequestListener): Promise<TestApp> {
  const app = await startApp(listener);
  stops.push(app.stop);
  return app;
}

const named =
  (name: string): http.RequestListener =>
  (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => response.end(body === '' ? name : `${name} ${body}`));
  };

type Stage = { readonly sites: TestSites; readonly agents: { readonly ny: NewsAgent; readonly la: NewsAgent } };

async function stage(settings: SiteSettings = {}): Promise<Stage> {
  const agents = { ny: await startNewsAgent(), la: await startNewsAgent() };
  stops.push(agents.ny.stop, agents.la.stop);
  const sites = await startSites({
    ny: [(await appOf(named('ny'))).url],
    la: [(await appOf(named('la'))).url],
    agents: { ny: [agents.ny.url], la: [agents.la.url] },
    ...settings,
  });
  stops.push(sites.stop);
  agents.ny.keys = sites.ny.keys;
  agents.la.keys = sites.la.keys;
  // What they were told while nobody's key was known yet is asked again soon.
  await expect.poll(() => [agents.ny.waiting, agents.la.waiting], { timeout: 8_000 }).toEqual([2, 2]);
  return { sites, agents };
}

async function metric(url: string, name: string): Promise<number> {
  const { body } = await ask(url, '/lanekeeper/metrics');
  return Number(new RegExp(`^lanekeeper_edge_${name} (.+)$`, 'm').exec(body)?.[1]);
}

const heard = (sites: TestSites, dc: 'ny' | 'la', term: number) =>
  expect.poll(() => metric(sites[dc].edge.url, 'succession_term'), { interval: 5 }).toBe(term);

test('heard at once: the same cookie leads to the successor, and back again; newer cookies are followed as they are', async () => {
  const { sites, agents } = await stage();
  const headers = { host, cookie: sites.cookie('la') };
  const who = async (url: string) => (await ask(url, '/', { method: 'POST', headers, body: 'x' })).body;
  expect([await who(sites.ny.edge.url), await who(sites.la.edge.url)]).toEqual(['la x', 'la x']);
  const saidMs = performance.now();
  agents.ny.announce(take);
  agents.la.announce(take);
  await heard(sites, 'ny', 2);
  await heard(sites, 'la', 2);
  expect(performance.now() - saidMs).toBeLessThan(1_000);
  expect([await who(sites.ny.edge.url), await who(sites.la.edge.url)]).toEqual(['ny x', 'ny x']);
  expect(await metric(sites.ny.edge.url, 'rerouted_total')).toBe(1);
  const since = { host, cookie: sites.cookie('la', { term: 2 }) };
  expect((await ask(sites.ny.edge.url, '/', { headers: since })).body).toBe('la');
  agents.la.announce(take, back);
  await heard(sites, 'ny', 3);
  expect(await who(sites.ny.edge.url)).toBe('la x');
});

test('its own agents gone: it hears from those of the other data center', async () => {
  const { sites, agents } = await stage();
  await agents.ny.stop();
  await expect.poll(() => sites.ny.log.map(({ event }) => event)).toContain('agents-silent');
  agents.la.announce(take);
  await heard(sites, 'ny', 2);
  expect((await ask(sites.ny.edge.url, '/', { headers: { host, cookie: sites.cookie('la') } })).body).toBe('ny');
});

test('its home has just been lost: whoever comes waits, and is served by the successor as soon as there is one', async () => {
  const { sites, agents } = await stage({ limits: { holdMs: 8_000 } });
  const headers = { host, cookie: sites.cookie('la') };
  await sites.toLa.cut();
  const answered: string[] = [];
  const requests = ['GET', 'POST', 'POST'].map((method, i) =>
    ask(sites.ny.edge.url, '/', {
      method,
      headers,
      ...(method === 'GET' ? {} : { body: 'x'.repeat(i * 100_000) }),
    }).finally(() => answered.push(method)),
  );
  await expect.poll(() => metric(sites.ny.edge.url, 'held')).toBe(3);
  await delay(200);
  expect(answered).toEqual([]);
  agents.ny.announce(take);
  const replies = await Promise.all(requests);
  expect(replies.map(({ status, body }) => [status, body.length])).toEqual([
    [200, 2],
    [200, 100_003],
    [200, 200_003],
  ]);
  expect(await metric(sites.ny.edge.url, 'held')).toBe(0);
});

test('or by the home itself when it comes back; and after the hold it is as ever, for as long as the outage lasts', async () => {
  const { sites } = await stage({ limits: { holdMs: 1_500 } });
  const headers = { host, cookie: sites.cookie('la') };
  await sites.toLa.cut();
  const early = ask(sites.ny.edge.url, '/', { headers });
  await expect.poll(() => metric(sites.ny.edge.url, 'held')).toBe(1);
  await sites.toLa.heal();
  expect((await early).body).toBe('la');
  await sites.toLa.cut();
  const late = ask(sites.ny.edge.url, '/', { headers });
  expect((await late).status).toBe(307);
  const startedMs = performance.now();
  const refused = await ask(sites.ny.edge.url, '/', {
    method: 'POST',
    headers: { ...headers, host: 'la.shop.localhost' },
    body: 'x',
  });
  expect(performance.now() - startedMs).toBeLessThan(1_000);
  expect([refused.status, Number(refused.headers['retry-after']) > 0]).toEqual([503, true]);
  expect(JSON.parse(refused.body)).toEqual({
    error: {
      code: 'LK_HOME_UNREACHABLE',
      message: expect.any(String),
      dataCenter: 'ny',
      home: 'la',
      retryAfterMs: 2_000,
      requestId: expect.stringMatching(/^[\da-f-]{36}$/),
    },
  });
});

test('a client who goes away while he is held is forgotten, and an edge that closes keeps nobody waiting', async () => {
  const { sites } = await stage({ limits: { holdMs: 8_000 } });
  const headers = { host, cookie: sites.cookie('la') };
  await sites.toLa.cut();
  const leaving = new AbortController();
  const gone = fetch(sites.ny.edge.url, {
    headers: { cookie: sites.cookie('la') },
    signal: leaving.signal,
  }).catch(() => 'gone');
  const stays = ask(sites.ny.edge.url, '/', { headers });
  await expect.poll(() => metric(sites.ny.edge.url, 'held')).toBe(2);
  leaving.abort();
  expect(await gone).toBe('gone');
  await expect.poll(() => metric(sites.ny.edge.url, 'held')).toBe(1);
  const closed = sites.ny.edge.close();
  expect((await stays).status).toBe(307);
  expect(await closed).toEqual({ cut: 0 });
});

/** An application whose database does not have the succession yet. */
function behind(state: { asked: number; until: number }): http.RequestListener {
  return (request, response) => {
    state.asked += 1;
    request.resume();
    request.on('end', () => {
      if (state.asked >= state.until) response.end('ny');
      else response.writeHead(409, { 'Lanekeeper-Replay': 'dc=la; term=1' }).end('{}');
    });
  };
}

test('an application with an older view is asked again for a moment; it does not undo a succession', async () => {
  const state = { asked: 0, until: 4 };
  const { sites, agents } = await stage({ ny: [(await appOf(behind(state))).url] });
  agents.ny.announce(take);
  await heard(sites, 'ny', 2);
  const headers = { host, cookie: sites.cookie('la') };
  const reply = await ask(sites.ny.edge.url, '/', { method: 'POST', headers, body: 'x' });
  expect([reply.status, reply.body, state.asked]).toEqual([200, 'ny', 4]);
  // From the other side, where the edge follows the succession and the application there is asked with one hop.
  Object.assign(state, { asked: 0, until: 3 });
  agents.la.announce(take);
  await heard(sites, 'la', 2);
  expect((await ask(sites.la.edge.url, '/', { method: 'POST', headers, body: 'x' })).status).toBe(200);
  Object.assign(state, { asked: 0, until: 1_000 });
  const never = await ask(sites.ny.edge.url, '/', { headers });
  expect(never.status).toBe(503);
  expect(JSON.parse(never.body)).toMatchObject({
    error: { code: 'LK_ARRIVING', dataCenter: 'ny', home: 'ny', retryAfterMs: 500 },
  });
  expect(state.asked).toBeLessThan(60);
});

test('what is no history, or another one than was known, is not believed; the edge goes on listening', async () => {
  const { sites, agents } = await stage();
  for (const body of ['', '[]', '{"term":9}', '{"term":9,"successions":[{"term":9}]}', 'x'.repeat(100_000)]) {
    agents.ny.babble(200, body);
    await delay(20);
  }
  agents.ny.babble(500, JSON.stringify({ term: 2, successions: [take] }));
  await delay(300);
  expect(await metric(sites.ny.edge.url, 'succession_term')).toBe(1);
  agents.ny.announce(take);
  await heard(sites, 'ny', 2);
  agents.la.announce({ ...take, from: 'ny', to: 'la' }, { ...back, from: 'la', to: 'ny' });
  await expect.poll(() => sites.ny.log.map(({ event }) => event)).toContain('succession-contradicted');
  expect(await metric(sites.ny.edge.url, 'succession_term')).toBe(2);
  const asked = agents.la.asked;
  await delay(1_000);
  expect(agents.la.asked - asked).toBeLessThan(10);
});
