/** `active-active-apps`: one home for all, applications in both data centers; and a home that cannot be reached from here. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type { WrittenConfiguration } from 'lanekeeper/config';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lease } from '../../support/applied.ts';
import { runSql } from '../../support/clusters.ts';
import { startLink, type TestLink } from '../../support/edges.ts';
import { type Application, startExpress } from './applications.ts';
import { Browser } from './browser.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
let link: TestLink;
const sites = new Map<string, { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application }>();
const site = (dc: string) => sites.get(dc) as { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application };

beforeAll(async () => {
  shop = await startShop({
    approach: 'active-active-apps',
    tables: {
      accounts: { class: 'system-of-record' },
      orders: { class: 'system-of-record' },
      visits: { class: 'session-state' },
    },
  });
  link = await startLink();
  const { host, port } = shop.pair.dc('ny').cluster;
  link.target = `http://${host}:${port}`;
  // What la sees of ny's database goes through the link; replication does not.
  const throughLink = (written: WrittenConfiguration) => {
    const ny = written.dataCenters.ny;
    if (ny === undefined) throw new Error('no data center ny');
    const database = ny.database.replace(/\/\/[^/]+/, `//${new URL(link.url).host}`);
    return { ...written, dataCenters: { ...written.dataCenters, ny: { ...ny, database } } };
  };
  for (const dc of shop.pair.names) {
    const configuration = dc === 'la' ? shop.pair.configure(dc, throughLink) : shop.pair.dc(dc).configuration;
    const lanekeeper = await createLanekeeper({ config: configuration, env: shop.env(dc) });
    const pool = lanekeeper.pool({ max: 3 });
    sites.set(dc, { lanekeeper, pool, app: await startExpress({ lanekeeper, pool }) });
  }
});
afterAll(async () => {
  await link?.heal();
  for (const { lanekeeper, pool, app } of sites.values()) {
    await app.stop();
    await pool.end();
    await lanekeeper.close();
  }
  await link?.stop();
  await shop?.stop();
});

const orders = (dc: string) =>
  runSql<{ id: string }>(shop.pair.dc(dc).urls.superuser, 'SELECT id FROM orders ORDER BY id').then((rows) =>
    rows.map(({ id }) => id),
  );
const post = (browser: Browser, path: string, body: Record<string, unknown> = {}) =>
  browser.post(`${site('la').app.url}${path}`, body);

test('registration, sign-in, orders and jobs all go to the one home; nobody is sent anywhere', async () => {
  const browser = new Browser();
  const registered = await post(browser, '/register', { account: 'anybody' });
  expect(registered.json).toMatchObject({ account: 'anybody', home: 'ny', dataCenter: 'la' });
  expect((await post(browser, '/orders', { id: 'o1' })).status).toBe(200);
  expect(await orders('ny')).toEqual(['o1']);
  await until('the order', async () => (await orders('la')).length === 1);
  const other = new Browser();
  expect((await post(other, '/sign-in', { account: 'anybody' })).json).toMatchObject({ home: 'ny' });
  const { lanekeeper, pool } = site('la');
  const dcOf = async () => (await pool.query('SELECT lanekeeper.dc() AS dc')).rows[0].dc;
  expect(await lanekeeper.forAccount('anybody', dcOf)).toBe('ny');
  expect(await dcOf()).toBe('la');
});

test('what was recorded at the home is known here, before it arrives', async () => {
  const { lanekeeper, pool } = site('la');
  await lanekeeper.forAccount('anybody', async () => {
    const client = await pool.connect();
    await client.query('BEGIN');
    const done = await lanekeeper.once('request-1', client, async () => ({ order: 'o1' }));
    expect(done).toMatchObject({ kind: 'done' });
    await client.query('COMMIT');
    client.release();
  });
  expect(await lanekeeper.forAccount('anybody', () => lanekeeper.outcome('request-1'))).toMatchObject({
    kind: 'done',
    dataCenter: 'ny',
  });
});

test('a home that cannot be reached is said so at once, and again soon; connections under way do not hang', async () => {
  const { lanekeeper, pool } = site('la');
  const browser = new Browser();
  await post(browser, '/sign-in', { account: 'anybody' });
  await link.cut();
  const refused = await post(browser, '/orders', { id: 'o2' });
  expect(refused.status).toBe(503);
  expect(refused.json.error).toMatchObject({ code: 'LK_HOME_UNREACHABLE', home: 'ny', dataCenter: 'la' });
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
  expect((await browser.get(`${site('la').app.url}/who`)).status).toBe(200);
  await link.heal();
  await until('the home is back', async () => (await post(browser, '/orders', { id: 'o2' })).status === 200);

  // Now nothing is closed, and nothing is answered.
  await lanekeeper.forAccount('anybody', async () => {
    const client = await pool.connect();
    await client.query('BEGIN');
    link.silence();
    const startMs = performance.now();
    const error = await client.query('SELECT 1').catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'LK_HOME_UNREACHABLE' });
    expect(performance.now() - startMs).toBeLessThan(30_000);
    client.release(true);
  });
  // Many more than there are connections: none waits for those before it.
  const crowd = await Promise.all(
    Array.from({ length: 20 }, (_, i) => post(new Browser(), '/orders', { id: `x${i}` })),
  );
  expect(new Set(crowd.map((page) => page.json.error.code))).toEqual(new Set(['LK_HOME_UNREACHABLE']));
  await link.heal();
  await until('the home is back', async () => (await post(browser, '/orders', { id: 'o3' })).status === 200);
}, 60_000);

test('a transaction whose home cannot be reached stays broken: nothing of it is done here or outside of it', async () => {
  const { lanekeeper, pool } = site('la');
  await link.cut();
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const order = (id: string) => client.query('INSERT INTO orders VALUES ($1, $2)', [id, 'anybody']);
    await expect(order('b1')).rejects.toMatchObject({ code: 'LK_HOME_UNREACHABLE' });
    await expect(client.query("INSERT INTO visits (page) VALUES ('b2')")).rejects.toMatchObject({ code: '25P02' });
    await client.query('ROLLBACK');
    expect((await client.query("SELECT FROM visits WHERE page = 'b2'")).rows).toEqual([]);
  } finally {
    client.release();
    await link.heal();
  }
  const back = () => lanekeeper.forAccount('anybody', () => pool.query('SELECT 1'));
  await until('the home is back', () =>
    back().then(
      () => true,
      () => false,
    ),
  );
});

test('a commit that nobody answered is uncertain, over there as well', async () => {
  const { lanekeeper, pool } = site('la');
  await lanekeeper.forAccount('anybody', async () => {
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query("INSERT INTO accounts VALUES ('uncertain', 'u')");
    link.silence();
    await expect(client.query('COMMIT')).rejects.toMatchObject({
      code: 'LK_OUTCOME_UNKNOWN',
      details: { dataCenter: 'ny' },
    });
    client.release(true);
  });
  await link.heal();
}, 60_000);

test('a switchover is followed: nobody notices but by the time it takes', async () => {
  const browser = new Browser();
  await until('the home is back', async () => (await post(browser, '/sign-in', { account: 'anybody' })).status === 200);
  await shop.move('*', 'la', { drainMs: 5_000 });
  expect((await post(browser, '/orders', { id: 'o4' })).status).toBe(200);
  expect((await browser.post(`${site('ny').app.url}/orders`, { id: 'o5' })).status).toBe(200);
  expect(await orders('la')).toEqual(expect.arrayContaining(['o4', 'o5']));
});

test('a home without a lease says so, with its name', async () => {
  const browser = new Browser();
  await browser.post(`${site('ny').app.url}/sign-in`, { account: 'anybody' });
  await lease(shop.pair.dc('la'), -1);
  const page = await browser.post(`${site('ny').app.url}/orders`, { id: 'o6' });
  expect(page.status).toBe(503);
  expect(page.json.error).toMatchObject({ code: 'LK_NO_LEASE', home: 'la', dataCenter: 'ny' });
});
