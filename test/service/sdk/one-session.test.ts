/** `sessions.concurrent: block`: a second sign-in is refused while the first is in use, here, elsewhere and after a move. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Application, startFastify } from './applications.ts';
import { Browser } from './browser.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
const sites = new Map<string, { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application }>();

beforeAll(async () => {
  shop = await startShop({ sessions: { concurrent: 'block' } });
  for (const dc of shop.pair.names) {
    const lanekeeper = await createLanekeeper({ config: shop.pair.dc(dc).configuration, env: shop.env(dc) });
    const pool = lanekeeper.pool();
    sites.set(dc, { lanekeeper, pool, app: await startFastify({ lanekeeper, pool }) });
  }
  await shop.register('ny', 'a1', 'a2', 'a3', 'a4');
});
afterAll(async () => {
  for (const { lanekeeper, pool, app } of sites.values()) {
    await app.stop();
    await pool.end();
    await lanekeeper.close();
  }
  await shop?.stop();
});

const post = (browser: Browser, dc: string, path: string, body: Record<string, string> = {}) =>
  browser.post(`${sites.get(dc)?.app.url}${path}`, body);
const signIn = (browser: Browser, dc: string, account: string) => post(browser, dc, '/sign-in', { account });

/** As if nobody had used the account for an hour. */
const idle = (dc: string, account: string) =>
  runSql(
    shop.pair.dc(dc).urls.superuser,
    `SET session_replication_role = replica;
     UPDATE lanekeeper.outcome SET result = jsonb_set(result, '{at}', to_jsonb(now() - interval '1 hour')) WHERE account = '${account}';
     UPDATE lanekeeper.activity SET at = now() - interval '1 hour' WHERE account = '${account}'`,
  );
const held = async (dc: string, account: string) =>
  (
    await runSql<{ session: string | null }>(
      shop.pair.dc(dc).urls.superuser,
      "SELECT result ->> 'session' AS session FROM lanekeeper.outcome WHERE account = $1 AND request_id = E'\\x01session'",
      [account],
    )
  )[0]?.session ?? null;

test('the second browser is refused, told since when and where, and let in after a sign-out', async () => {
  const [one, two] = [new Browser(), new Browser()];
  const startMs = Date.now();
  expect((await signIn(one, 'ny', 'a1')).status).toBe(200);
  const refused = await signIn(two, 'ny', 'a1');
  expect([refused.status, refused.json.error.code]).toEqual([409, 'LK_SIGNED_IN']);
  expect(refused.headers['lanekeeper-replay']).toBeUndefined();
  const [, since = '', where] = /since (\S+) in (\w+)\./.exec(refused.json.error.message) ?? [];
  expect(where).toBe('ny');
  expect(Date.parse(since)).toBeGreaterThan(startMs - 5_000);
  expect(refused.json.error.retryAfterMs).toBeGreaterThan(1_700_000);
  expect(two.sessionCookie).toBeUndefined();
  expect((await post(one, 'ny', '/orders', { id: 'o1' })).status).toBe(200);
  // The same browser may sign in again.
  expect((await signIn(one, 'ny', 'a1')).status).toBe(200);
  expect((await signIn(two, 'ny', 'a1')).status).toBe(409);
  await post(one, 'ny', '/sign-out');
  expect((await signIn(two, 'ny', 'a1')).status).toBe(200);
  expect((await post(two, 'ny', '/orders', { id: 'o2' })).status).toBe(200);
  expect((await signIn(one, 'ny', 'a1')).status).toBe(409);
});

test('a session that nobody used gives way, and is refused when it comes back', async () => {
  const [one, two] = [new Browser(), new Browser()];
  await signIn(one, 'ny', 'a2');
  await idle('ny', 'a2');
  expect((await signIn(two, 'ny', 'a2')).status).toBe(200);
  // What `ny` has learnt about the first session is good for an eighth of the stickiness; another instance knows nothing.
  const lanekeeper = await createLanekeeper({ config: shop.pair.dc('ny').configuration, env: shop.env('ny') });
  const pool = lanekeeper.pool();
  const app = await startFastify({ lanekeeper, pool });
  const refused = await one.post(`${app.url}/orders`, { id: 'o3' });
  expect([refused.status, refused.json.error.code]).toEqual([409, 'LK_SIGNED_IN']);
  expect((await one.get(`${app.url}/who`)).json).toMatchObject({ account: 'a2' });
  expect((await two.post(`${app.url}/orders`, { id: 'o3' })).status).toBe(200);
  await app.stop();
  await pool.end();
  await lanekeeper.close();
});

test('it goes with the account: after a move its new home knows', async () => {
  const [one, two] = [new Browser(), new Browser()];
  await signIn(one, 'ny', 'a3');
  const session = await held('ny', 'a3');
  await until('the record in la', async () => (await held('la', 'a3')) === session);
  await shop.move('a3', 'la');
  expect((await signIn(two, 'la', 'a3')).json.error).toMatchObject({ code: 'LK_SIGNED_IN' });
  expect((await signIn(two, 'la', 'a3')).json.error.message).toMatch(/ in ny\.$/);
  expect((await post(one, 'la', '/orders', { id: 'o5' })).status).toBe(200);
  await post(one, 'la', '/sign-out');
  expect((await signIn(two, 'la', 'a3')).status).toBe(200);
});

test('where the account is not at home, nothing is decided: the sign-in is sent there', async () => {
  const [one, two] = [new Browser(), new Browser()];
  await signIn(one, 'ny', 'a4');
  const sent = await signIn(two, 'la', 'a4');
  expect([sent.status, sent.headers['lanekeeper-replay']]).toEqual([409, 'dc=ny; term=1']);
  // A result that a customer asks for under that name is not told.
  expect(
    await sites.get('ny')?.lanekeeper.forAccount('a4', async () => sites.get('ny')?.lanekeeper.outcome('session')),
  ).toEqual({
    kind: 'unknown',
  });
});

test('where connections are routed, the home is asked over its database', async () => {
  const routed = await startShop({ approach: 'mostly-active-active', sessions: { concurrent: 'block' } });
  const started: { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application }[] = [];
  try {
    for (const dc of routed.pair.names) {
      const lanekeeper = await createLanekeeper({ config: routed.pair.dc(dc).configuration, env: routed.env(dc) });
      const pool = lanekeeper.pool();
      started.push({ lanekeeper, pool, app: await startFastify({ lanekeeper, pool }) });
    }
    await routed.register('ny', 'a1');
    const [ny, la] = started.map(({ app }) => app.url);
    const [one, two] = [new Browser(), new Browser()];
    expect((await one.post(`${la}/sign-in`, { account: 'a1' })).json).toMatchObject({ home: 'ny', dataCenter: 'la' });
    for (const url of [ny, la]) {
      const refused = await two.post(`${url}/sign-in`, { account: 'a1' });
      expect(refused.json.error).toMatchObject({ code: 'LK_SIGNED_IN', message: expect.stringMatching(/ in la\.$/) });
    }
    expect((await one.post(`${la}/orders`, { id: 'o1' })).status).toBe(200);
    await one.post(`${la}/sign-out`);
    expect((await two.post(`${ny}/sign-in`, { account: 'a1' })).status).toBe(200);
  } finally {
    for (const { lanekeeper, pool, app } of started) {
      await app.stop();
      await pool.end();
      await lanekeeper.close();
    }
    await routed.stop();
  }
}, 120_000);
