/** One home for everything (active-passive): no account is named anywhere, and requests that write go to the one home. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Application, startFastify } from './applications.ts';
import { Browser } from './browser.ts';
import { type Shop, startShop } from './shop.ts';

let shop: Shop;
const sites = new Map<string, { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application }>();

beforeAll(async () => {
  shop = await startShop({
    approach: 'active-passive',
    sessions: { concurrent: 'block' },
    tables: {
      accounts: { class: 'system-of-record' },
      orders: { class: 'system-of-record' },
      visits: { class: 'session-state' },
    },
  });
  for (const dc of shop.pair.names) {
    const lanekeeper = await createLanekeeper({ config: shop.pair.dc(dc).configuration, env: shop.env(dc) });
    const pool = lanekeeper.pool();
    sites.set(dc, { lanekeeper, pool, app: await startFastify({ lanekeeper, pool }) });
  }
});
afterAll(async () => {
  for (const { lanekeeper, pool, app } of sites.values()) {
    await app.stop();
    await pool.end();
    await lanekeeper.close();
  }
  await shop?.stop();
});

const site = (dc: string) => sites.get(dc) as { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application };

test('whoever writes is sent to the one home, signed in or not; whoever reads is served', async () => {
  const browser = new Browser();
  expect((await browser.get(`${site('la').app.url}/who`)).status).toBe(200);
  const sent = await browser.post(`${site('la').app.url}/register`, { account: 'anybody' });
  expect(sent.status).toBe(409);
  expect(sent.headers['lanekeeper-replay']).toBe('dc=ny; term=1');
  expect((await browser.post(`${site('ny').app.url}/register`, { account: 'anybody' })).json).toMatchObject({
    account: 'anybody',
    home: 'ny',
  });
  expect((await browser.post(`${site('la').app.url}/orders`, { id: 'o1' })).headers['lanekeeper-replay']).toBe(
    'dc=ny; term=1',
  );
  expect((await browser.post(`${site('ny').app.url}/orders`, { id: 'o1' })).status).toBe(200);
});

test('one session of an account at a time, though all accounts share a deed', async () => {
  const [one, two] = [new Browser(), new Browser()];
  const signIn = (browser: Browser, account: string) =>
    browser.post(`${site('ny').app.url}/sign-in`, { account }).then(({ status, json }) => [status, json.error?.code]);
  expect(await signIn(one, 'somebody')).toEqual([200, undefined]);
  expect(await signIn(two, 'somebody')).toEqual([409, 'LK_SIGNED_IN']);
  expect(await signIn(two, 'somebody-else')).toEqual([200, undefined]);
  await one.post(`${site('ny').app.url}/sign-out`);
  expect(await signIn(two, 'somebody')).toEqual([200, undefined]);
});

test('jobs too, and the database says the same', async () => {
  await expect(site('la').lanekeeper.forAccount('any', async () => {})).rejects.toMatchObject({
    code: 'LK_WRONG_HOME',
    details: { home: 'ny' },
  });
  expect(await site('ny').lanekeeper.forAccount('any', async () => 'done')).toBe('done');
  expect(await site('la').lanekeeper.whereIs('any')).toMatchObject({ home: 'ny', accepted: true });
  await expect(site('la').pool.query("INSERT INTO accounts VALUES ('x', 'x')")).rejects.toMatchObject({
    code: 'LK_WRONG_HOME',
    details: { home: 'ny' },
  });
});
