/** A switchover made by hand, step by step, as an agent makes it: what the application's requests see of it. */
import { setTimeout as delay } from 'node:timers/promises';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { Client, type Pool } from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Application, startFastify } from './applications.ts';
import { Browser, type Page } from './browser.ts';
import { type HandAgent, startHandAgent } from './hand-agent.ts';
import { type Shop, startShop, until } from './shop.ts';

type Site = { lanekeeper: Lanekeeper; pool: Pool; app: Application; agent: HandAgent };

let shop: Shop;
const sites = new Map<string, Site>();

beforeEach(async () => {
  shop = await startShop();
  const agents = new Map<string, HandAgent>();
  for (const dc of shop.pair.names) agents.set(dc, await startHandAgent(shop.pair.dc(dc)));
  for (const [dc, agent] of agents) {
    const config = shop.pair.configure(dc, (written) => {
      for (const [name, { url }] of agents) Object.assign(written.dataCenters[name] ?? {}, { agents: [url] });
      return written;
    });
    const lanekeeper = await createLanekeeper({ config, env: shop.env(dc) });
    const pool = lanekeeper.pool();
    pool.on('error', () => {});
    sites.set(dc, { lanekeeper, pool, agent, app: await startFastify({ lanekeeper, pool }) });
  }
});
afterEach(async () => {
  for (const { lanekeeper, pool, app, agent } of sites.values()) {
    await app.stop();
    await pool.end();
    await lanekeeper.close();
    await agent.stop();
  }
  sites.clear();
  await shop?.stop();
});

const site = (dc: string) => sites.get(dc) as Site;
const at = (dc: string, path: string) => `${site(dc).app.url}${path}`;

async function signedIn(account: string): Promise<Browser> {
  await shop.register('ny', account);
  const browser = new Browser();
  expect((await browser.post(at('ny', '/sign-in'), { account })).status).toBe(200);
  return browser;
}

async function beginDrain(forMs = 10_000): Promise<string> {
  const [begun] = await runSql<{ move: string }>(
    shop.pair.dc('ny').urls.agent,
    "SELECT lanekeeper.begin_drain('*', 'la', $1) AS move",
    [Date.now() + forMs],
  );
  return String(begun?.move);
}

/** Everything that `ny` holds goes to `la`, once no instance has work in flight. */
async function switchOver(
  steps: { drained?: () => Promise<void>; draining?: () => Promise<void> } = {},
): Promise<void> {
  const agent = new Client({ connectionString: shop.pair.dc('ny').urls.agent });
  await agent.connect();
  try {
    const drained = new Set<string>();
    agent.on('notification', ({ payload = '' }) => {
      const { kind, instance } = JSON.parse(payload) as { kind: string; instance: string };
      if (kind === 'drained') drained.add(instance);
    });
    await agent.query('LISTEN lanekeeper_agent');
    await beginDrain();
    await steps.draining?.();
    await until('the end of all work in flight', () => drained.has(site('ny').lanekeeper.instance));
    await steps.drained?.();
    await agent.query('BEGIN');
    await agent.query('LOCK TABLE lanekeeper.succession IN ACCESS EXCLUSIVE MODE');
    await agent.query("SELECT lanekeeper.succeed(2, 'switch', 'ny', 'la', NULL, '{}')");
    await agent.query('COMMIT');
  } finally {
    await agent.end();
  }
}

test('work in flight ends, all else waits; then the old home names the new one, and the new one has it', async () => {
  const [slow, late, early] = [await signedIn('a1'), await signedIn('a2'), await signedIn('a3')];
  const stranger = new Browser();
  const inFlight = slow.post(at('ny', '/two-orders'), { id: 's', account: 'a1', pauseMs: '400' });
  await until('the slow request', () => site('ny').app.handled.includes('/two-orders'));
  const answered: string[] = [];
  const ask = (browser: Browser, dc: string, path: string, body: Record<string, string>, headers = {}) =>
    browser.post(at(dc, path), body, headers).finally(() => void answered.push(path));
  let waiting: Promise<Page>[] = [];
  await switchOver({
    draining: async () => {
      await delay(50);
      waiting = [
        ask(late, 'ny', '/orders', { id: 'l' }),
        ask(stranger, 'ny', '/register', { account: 'a4' }),
        ask(early, 'la', '/orders', { id: 'e' }, { 'lanekeeper-hops': '1' }),
        ask(new Browser(), 'ny', '/sign-in', { account: 'a2' }),
      ];
    },
    drained: async () => {
      expect((await inFlight).status).toBe(200);
      await delay(100);
      expect(answered).toEqual([]);
    },
  });
  const [order, registration, arrived, signIn] = await Promise.all(waiting);
  for (const page of [order, signIn]) {
    expect(page?.status).toBe(409);
    expect(page?.headers['lanekeeper-replay']).toBe('dc=la; term=2');
  }
  expect(registration?.status, registration?.text).toBe(200);
  expect(arrived?.status, arrived?.text).toBe(200);
  const there = await late.post(at('la', '/orders'), { id: 'l' }, { 'lanekeeper-hops': '1' });
  expect(there.status).toBe(200);
  const rows = await runSql(shop.pair.dc('la').urls.superuser, 'SELECT id FROM orders ORDER BY id');
  expect(rows).toEqual(['e', 'l', 's-1', 's-2'].map((id) => ({ id })));
  // Whoever registers here from now on was born after the succession, and his session says so.
  const born = stranger.sessionCookie?.split('.')[1] ?? '';
  expect(JSON.parse(Buffer.from(born, 'base64url').toString())).toMatchObject({ home: 'ny', ep: [2, 0] });
});

test('work in flight may begin more, for other accounts as well: the drain does not wait for itself', async () => {
  const browser = await signedIn('a1');
  await shop.register('ny', 'a2');
  const { lanekeeper, pool } = site('ny');
  const began = performance.now();
  const work = lanekeeper.forAccount('a1', async () => {
    const switched = switchOver();
    await until('the drain', async () => {
      const rows = await runSql(shop.pair.dc('ny').urls.superuser, 'SELECT FROM lanekeeper.drain');
      return rows.length > 0;
    });
    await delay(50);
    await lanekeeper.forAccount('a2', () => pool.query("INSERT INTO orders VALUES ('o2', 'a2')"));
    return { switched };
  });
  await (await work).switched;
  expect(performance.now() - began).toBeLessThan(5_000);
  expect((await browser.post(at('ny', '/orders'), { id: 'x' })).headers['lanekeeper-replay']).toBe('dc=la; term=2');
});

test('given up: whoever waited is served here; and nobody waits longer than was said', async () => {
  const browser = await signedIn('a1');
  const move = await beginDrain();
  await delay(50);
  const waiting = browser.post(at('ny', '/orders'), { id: 'o1' });
  await delay(100);
  await runSql(shop.pair.dc('ny').urls.agent, 'SELECT lanekeeper.end_drain($1)', [move]);
  expect((await waiting).status).toBe(200);
  await beginDrain(400);
  expect((await browser.post(at('ny', '/orders'), { id: 'o2' })).status).toBe(200);
});

test('no database: whoever took over is named all the same, before a handler runs', async () => {
  const browser = await signedIn('a1');
  await shop.pair.dc('ny').cluster.kill();
  site('la').agent.successions = [{ term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null }];
  await delay(1_100);
  const handled = site('ny').app.handled.length;
  const sent = await browser.post(at('ny', '/orders'), { id: 'o1' });
  expect(sent.headers['lanekeeper-replay']).toBe('dc=la; term=2');
  expect(site('ny').app.handled).toHaveLength(handled);
});

test('no lease: refused, with where to go as soon as agents anywhere know; then nothing is begun here any more', async () => {
  const browser = await signedIn('a1');
  await runSql(shop.pair.dc('ny').urls.agent, 'SELECT lanekeeper.set_lease(1)');
  const early = await browser.post(at('ny', '/orders'), { id: 'o1' });
  expect(early.status).toBe(503);
  expect(early.json).toMatchObject({ error: { code: 'LK_NO_LEASE', dataCenter: 'ny', home: null } });
  expect(Number(early.headers['retry-after'])).toBeGreaterThan(0);
  // Its own agents cannot: their database gets the row only when it comes back.
  site('la').agent.successions = [{ term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null }];
  await delay(1_100);
  const body = { id: 'o2', account: 'a1' };
  const told = await browser.post(at('ny', '/replayable-orders-of'), body);
  expect(told.json).toMatchObject({ error: { code: 'LK_NO_LEASE', dataCenter: 'ny', home: 'la' } });
  expect(told.headers['lanekeeper-replay']).toMatch(/^dc=la/);
  const handled = site('ny').app.handled.length;
  const sent = await browser.post(at('ny', '/orders'), { id: 'o3' });
  expect(sent.status).toBe(409);
  expect(sent.headers['lanekeeper-replay']).toBe('dc=la; term=2');
  expect(site('ny').app.handled).toHaveLength(handled);
});
