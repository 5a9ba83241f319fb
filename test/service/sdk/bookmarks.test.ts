/** A session reads what it wrote, wherever it is served: bookmarks, with streams that the test holds back. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { createKeyRing, verifySession } from 'lanekeeper/session';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type SyncSet, syncSet } from '../../support/sync-set.ts';
import { type Application, startExpress, startFastify } from './applications.ts';
import { Browser } from './browser.ts';
import { type Shop, startShop, until } from './shop.ts';

type Site = { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application };

const approaches = [
  ['full-active-active', 'Fastify', startFastify],
  ['mostly-active-active', 'Express', startExpress],
] as const;

describe.each(approaches)('%s, on %s', (approach, _framework, start) => {
  let shop: Shop;
  const sites = new Map<string, Site>();
  const at = (dc: string, path: string) => `${sites.get(dc)?.app.url}${path}`;
  let number = 0;

  beforeAll(async () => {
    shop = await startShop({ approach, reads: { bookmarkWait: '250ms' } });
    for (const dc of shop.pair.names) {
      const lanekeeper = await createLanekeeper({ config: shop.pair.dc(dc).configuration, env: shop.env(dc) });
      const pool = lanekeeper.pool({ max: 4 });
      sites.set(dc, { lanekeeper, pool, app: await start({ lanekeeper, pool }) });
    }
  });
  afterEach(() => stream(true));
  afterAll(async () => {
    for (const { lanekeeper, pool, app } of sites.values()) {
      await app.stop();
      await pool.end();
      await lanekeeper.close();
    }
    await shop?.stop();
  });

  /** Whether la gets what ny writes. */
  async function stream(runs: boolean): Promise<void> {
    const { superuser } = shop.pair.dc('la').urls;
    await runSql(superuser, `ALTER SUBSCRIPTION lanekeeper_ny_homed ${runs ? 'ENABLE' : 'DISABLE'}`);
    await until('the worker', async () => {
      const [row] = await runSql<{ pid: number | null }>(
        superuser,
        "SELECT pid FROM pg_stat_subscription WHERE subname = 'lanekeeper_ny_homed'",
      );
      return (row?.pid != null) === runs;
    });
  }

  function bookmarkIn(browser: Browser) {
    const ring = createKeyRing(shop.pair.dc('ny').configuration, { env: shop.env('ny') });
    const result = verifySession(ring, browser.sessionCookie ?? '', Date.now());
    if (result.kind !== 'valid') throw new Error(result.reason);
    return result.session.bookmark;
  }

  async function signedIn(): Promise<{ browser: Browser; account: string }> {
    number += 1;
    const account = `c${number}`;
    await shop.register('ny', account);
    const browser = new Browser();
    await browser.post(at('ny', '/sign-in'), { account });
    return { browser, account };
  }

  test('a write is remembered, a read is not; what has arrived is read where the customer is', async () => {
    const { browser, account } = await signedIn();
    const before = bookmarkIn(browser);
    expect((await browser.post(at('ny', '/orders'), { id: `a-${account}` })).status).toBe(200);
    const after = bookmarkIn(browser);
    expect(after).toMatchObject({ dataCenter: 'ny', generation: 1 });
    expect(after).not.toEqual(before);
    const page = await browser.get(at('la', '/orders'));
    expect(page.headers['lanekeeper-data-center']).toBe('la');
    expect(page.json).toEqual({ orders: [`a-${account}`], mayMiss: false, from: 'la' });
    expect(bookmarkIn(browser)).toEqual(after);
  });

  test('what has not arrived is waited for', async () => {
    const { browser, account } = await signedIn();
    await stream(false);
    await browser.post(at('ny', '/orders'), { id: `b-${account}` });
    const reading = browser.get(at('la', '/orders'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await runSql(shop.pair.dc('la').urls.superuser, 'ALTER SUBSCRIPTION lanekeeper_ny_homed ENABLE');
    const page = await reading;
    // On a busy machine it may take longer than it is waited for: then it is read at the home.
    if (page.status === 200) expect(page.json.orders).toEqual([`b-${account}`]);
    else expect(page.headers['lanekeeper-replay']).toBe('dc=ny; term=1');
  });

  test('what does not arrive in time is read at the home; whoever has nothing to wait for reads here', async () => {
    const { browser, account } = await signedIn();
    const other = await signedIn();
    await until('both arrived', async () => (await other.browser.get(at('la', '/orders'))).json?.from === 'la');
    await stream(false);
    await browser.post(at('ny', '/orders'), { id: `c-${account}` });
    const page = await browser.get(at('la', '/orders'));
    if (approach === 'full-active-active') {
      expect(page.status).toBe(409);
      expect(page.headers['lanekeeper-replay']).toBe('dc=ny; term=1');
    } else {
      expect(page.headers['lanekeeper-data-center']).toBe('la');
      expect(page.json).toEqual({ orders: [`c-${account}`], mayMiss: false, from: 'ny' });
    }
    expect((await new Browser().get(at('la', '/orders'))).json.from).toBe('la');
  });

  test('a place that nothing follows is reached all the same', async () => {
    const { browser, account } = await signedIn();
    await browser.post(at('ny', '/orders'), { id: `d-${account}` });
    // What is written to the log without being published moves the place along.
    await runSql(shop.pair.dc('ny').urls.superuser, 'CREATE TABLE filler AS SELECT generate_series(1, 1000)');
    await runSql(shop.pair.dc('ny').urls.superuser, 'DROP TABLE filler');
    await browser.post(at('ny', '/orders'), { id: `e-${account}` });
    await until('it is there', async () => (await browser.get(at('la', '/orders'))).json?.from === 'la');
  });

  test('where something has arrived it can be read: nothing is said to be there too early', async () => {
    const { account } = await signedIn();
    const [ny, la] = [sites.get('ny')?.pool as pg.Pool, sites.get('la')?.pool as pg.Pool];
    for (let i = 0; i < 30; i += 1) {
      const id = `n${i}-${account}`;
      await ny.query('INSERT INTO orders VALUES ($1, $2)', [id, account]);
      const [row] = (await ny.query('SELECT place::text FROM lanekeeper.log_place()')).rows;
      const seen = 'SELECT lanekeeper.has_arrived($1, $2) AS arrived';
      await until('it arrives', async () => (await la.query(seen, ['ny', row.place])).rows[0].arrived);
      expect((await la.query('SELECT id FROM orders WHERE id = $1', [id])).rows).toEqual([{ id }]);
    }
  });

  test('a remote write needs none, and covers those before it', async () => {
    const { browser, account } = await signedIn();
    await browser.post(at('ny', '/orders'), { id: `f-${account}` });
    expect(bookmarkIn(browser)).not.toBeNull();
    const set: SyncSet = await syncSet(shop.pair, 'ny', 'la');
    try {
      await set.grow();
      const page = await browser.post(at('ny', '/orders'), { id: `g-${account}` });
      expect(page.headers['lanekeeper-durability']).toBe('remote');
      expect(bookmarkIn(browser)).toBeNull();
    } finally {
      await set.shrink();
      await set.close();
    }
  });

  test('what was lost with a data center is said, once, and then forgotten', async () => {
    const { browser, account } = await signedIn();
    const early = await signedIn();
    await until('it is there', async () => (await early.browser.get(at('la', '/orders'))).json?.from === 'la');
    await stream(false);
    const [cut] = await runSql<{ lsn: string }>(
      shop.pair.dc('la').urls.superuser,
      `SELECT pg_replication_origin_progress('pg_' || oid, true)::text AS lsn FROM pg_subscription WHERE subname = 'lanekeeper_ny_homed'`,
    );
    await browser.post(at('ny', '/orders'), { id: `h-${account}` });
    // As la's agent would, once ny is gone for good.
    await runSql(shop.pair.dc('la').urls.agent, "SELECT lanekeeper.succeed(2, 'take', 'ny', 'la', NULL, $1)", [
      JSON.stringify({ ny: { generation: 1, homed: cut?.lsn, rest: cut?.lsn } }),
    ]);
    await until('la is the home', async () => (await sites.get('la')?.lanekeeper.whereIs(account))?.home === 'la');
    const told = await browser.get(at('la', '/orders'));
    expect(told.status).toBe(200);
    expect(told.headers['lanekeeper-missing']).toBe('possible');
    expect(told.json).toEqual({ orders: [], mayMiss: true, from: 'la' });
    expect(bookmarkIn(browser)).toBeNull();
    const again = await browser.get(at('la', '/orders'));
    expect(again.headers['lanekeeper-missing']).toBeUndefined();
    expect(again.json.mayMiss).toBe(false);
    expect((await early.browser.get(at('la', '/orders'))).headers['lanekeeper-missing']).toBeUndefined();
  });
});
