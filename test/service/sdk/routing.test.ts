/** `routing: connection`: applications in every data center, each statement in the database where the account is written. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createLanekeeper, findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { syncSet } from '../../support/sync-set.ts';
import { type Application, startFastify } from './applications.ts';
import { Browser } from './browser.ts';
import { type HandAgent, startHandAgent } from './hand-agent.ts';
import { type Shop, startShop, until } from './shop.ts';

type Site = { lanekeeper: Lanekeeper; pool: pg.Pool; app: Application; agent: HandAgent };

let shop: Shop;
const sites = new Map<string, Site>();
const site = (dc: string) => sites.get(dc) as Site;
let number = 0;

beforeAll(async () => {
  shop = await startShop({ approach: 'mostly-active-active' });
  for (const dc of shop.pair.names) {
    const agent = await startHandAgent(shop.pair.dc(dc));
    const configuration = shop.pair.configure(dc, (written) => {
      const own = written.dataCenters[dc];
      if (own === undefined) throw new Error(`no data center ${dc}`);
      return { ...written, dataCenters: { ...written.dataCenters, [dc]: { ...own, agents: [agent.url] } } };
    });
    const lanekeeper = await createLanekeeper({ config: configuration, env: shop.env(dc) });
    const pool = lanekeeper.pool({ max: 4 });
    sites.set(dc, { lanekeeper, pool, agent, app: await startFastify({ lanekeeper, pool }) });
  }
});
beforeEach(() => {
  for (const { agent } of sites.values()) agent.answer = () => ({ kind: 'in-use', home: null, epoch: null });
});
afterAll(async () => {
  for (const { lanekeeper, pool, app, agent } of sites.values()) {
    await app.stop();
    await pool.end();
    await lanekeeper.close();
    await agent.stop();
  }
  await shop?.stop();
});

async function newAccount(dc: string): Promise<string> {
  number += 1;
  await shop.register(dc, `c${number}`);
  return `c${number}`;
}

async function ordersIn(dc: string, account: string): Promise<string[]> {
  const rows = await runSql<{ id: string }>(
    shop.pair.dc(dc).urls.superuser,
    'SELECT id FROM orders WHERE account_id = $1 ORDER BY id',
    [account],
  );
  return rows.map(({ id }) => id);
}

const at = (dc: string, path: string) => `${site(dc).app.url}${path}`;
const whereAmI = 'SELECT lanekeeper.dc() AS dc';
const dcOf = async (on: pg.Pool | pg.ClientBase) => (await on.query(whereAmI)).rows[0].dc as string;

test('a write goes to the home over its database, from wherever the request arrived; reads stay where they are', async () => {
  const account = await newAccount('ny');
  const browser = new Browser();
  const signedIn = await browser.post(at('la', '/sign-in'), { account });
  expect(signedIn.json).toMatchObject({ account, home: 'ny', dataCenter: 'la' });
  const page = await browser.post(at('la', '/orders'), { id: `o-${account}` });
  expect(page.status).toBe(200);
  expect(page.headers).toMatchObject({ 'lanekeeper-data-center': 'la', 'lanekeeper-durability': 'local' });
  expect(page.headers['lanekeeper-replay']).toBeUndefined();
  expect(await ordersIn('ny', account)).toEqual([`o-${account}`]);
  expect((await browser.get(at('la', '/who'))).json).toMatchObject({ account, home: 'ny' });
  expect(site('la').pool.totalCount).toBeGreaterThan(1);
  await until('the home knows that it is in use', async () => {
    const [used] = await runSql(shop.pair.dc('ny').urls.superuser, 'SELECT lanekeeper.last_used($1) AS at', [account]);
    return used?.at != null;
  });
});

test('who signs in takes an idle account along', async () => {
  const account = await newAccount('ny');
  site('la').agent.answer = async () => {
    await shop.move(account, 'la');
    return { kind: 'moved', home: 'la', epoch: { term: 1, counter: 1 } };
  };
  const browser = new Browser();
  const signedIn = await browser.post(at('la', '/sign-in'), { account });
  expect(signedIn.status).toBe(200);
  // On a busy machine the move by hand takes longer than a sign-in waits: then the home was bound, and changes afterwards.
  await until('the move', async () => {
    const where = await site('la').lanekeeper.whereIs(account);
    return where?.home === 'la' && where.accepted;
  });
  expect((await browser.get(at('la', '/who'))).json).toMatchObject({ home: 'la' });
  expect((await browser.post(at('la', '/orders'), { id: `o-${account}` })).status).toBe(200);
  expect(await ordersIn('la', account)).toEqual([`o-${account}`]);
});

test('jobs go to the home as well; without an account, or with a pool that does not follow, they are here', async () => {
  const account = await newAccount('ny');
  const { lanekeeper, pool } = site('la');
  expect(await dcOf(pool)).toBe('la');
  expect(await lanekeeper.forAccount(account, () => dcOf(pool))).toBe('ny');
  const fixed = lanekeeper.pool({ follow: false });
  expect(await lanekeeper.forAccount(account, () => dcOf(fixed))).toBe('la');
  await fixed.end();
});

test('a connection taken before the account is known follows from the next transaction on, never within one', async () => {
  const account = await newAccount('ny');
  const { lanekeeper, pool } = site('la');
  const client = await pool.connect();
  expect(await dcOf(client)).toBe('la');
  await client.query('BEGIN');
  expect(await dcOf(client)).toBe('la');
  await lanekeeper.forAccount(account, async () => {
    expect(await dcOf(client)).toBe('la');
    await client.query('COMMIT');
    expect(await dcOf(client)).toBe('ny');
    await client.query('BEGIN');
  });
  expect(await dcOf(client)).toBe('ny');
  await client.query('INSERT INTO orders VALUES ($1, $2)', [`t-${account}`, account]);
  await client.query('COMMIT');
  expect(lanekeeper.durabilityOf(client)).toBe('local');
  expect(await dcOf(client)).toBe('la');
  client.release();
  expect(await ordersIn('ny', account)).toEqual([`t-${account}`]);
});

test('what was refused before anything was done is done at the home, and only then', async () => {
  const account = await newAccount('ny');
  const { pool } = site('la');
  const insert = 'INSERT INTO orders VALUES ($1, $2)';
  await pool.query(insert, [`a-${account}`, account]);
  await new Promise<void>((resolve, reject) => {
    pool.query(insert, [`b-${account}`, account], (error) => (error ? reject(error) : resolve()));
  });
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await client.query(insert, [`c-${account}`, account]);
    expect((await client.query('SHOW transaction_isolation')).rows[0].transaction_isolation).toBe('repeatable read');
    expect(await dcOf(client)).toBe('ny');
    await client.query('COMMIT');
    await client.query('BEGIN');
    await client.query('SELECT count(*) FROM orders');
    const error = await client.query(insert, [`d-${account}`, account]).catch((caught: unknown) => caught);
    expect(findLanekeeperError(error)).toMatchObject({ code: 'LK_WRONG_HOME', details: { home: 'ny' } });
    await client.query('ROLLBACK');
    const both = `INSERT INTO visits (page) VALUES ('x'); INSERT INTO orders VALUES ('e-${account}', '${account}')`;
    await expect(client.query(both)).rejects.toMatchObject({ code: 'LK_WRONG_HOME' });
  } finally {
    client.release();
  }
  expect(await ordersIn('ny', account)).toEqual(['a', 'b', 'c'].map((id) => `${id}-${account}`));
});

test('an account that moves is followed by the next request, and by one under way', async () => {
  const account = await newAccount('ny');
  const browser = new Browser();
  await browser.post(at('la', '/sign-in'), { account });
  await browser.post(at('la', '/orders'), { id: `1-${account}` });
  await shop.move(account, 'la');
  expect((await browser.post(at('la', '/orders'), { id: `2-${account}` })).status).toBe(200);
  expect((await browser.post(at('ny', '/orders'), { id: `3-${account}` })).status).toBe(200);
  expect(await ordersIn('la', account)).toEqual([1, 2, 3].map((n) => `${n}-${account}`));
  // From la, where nobody drains it: it leaves while the request waits.
  const job = site('ny').lanekeeper.forAccount(account, async () => {
    await shop.move(account, 'ny', { evenIfBusy: true, drainMs: 100 });
    await site('ny').pool.query('INSERT INTO orders VALUES ($1, $2)', [`4-${account}`, account]);
    return dcOf(site('ny').pool);
  });
  expect(await job).toBe('ny');
  await until('the order', async () => (await ordersIn('la', account)).length === 4);
});

test('what a commit reached is said by the database where it happened', async () => {
  const account = await newAccount('ny');
  const browser = new Browser();
  await browser.post(at('la', '/sign-in'), { account });
  const set = await syncSet(shop.pair, 'ny', 'la');
  try {
    await set.grow();
    const page = await browser.post(at('la', '/orders'), { id: `r-${account}` });
    expect(page.headers['lanekeeper-durability']).toBe('remote');
    expect(await ordersIn('la', account)).toEqual([`r-${account}`]);
  } finally {
    await set.shrink();
    await set.close();
  }
});

test('a page sees what was written over there a moment ago', async () => {
  const account = await newAccount('ny');
  const browser = new Browser();
  await browser.post(at('la', '/sign-in'), { account });
  const ids: string[] = [];
  for (let i = 0; i < 10; i += 1) {
    ids.push(`${i}-${account}`);
    expect((await browser.post(at('la', '/orders'), { id: ids[i] })).headers['lanekeeper-durability']).toBe('local');
    expect((await browser.get(at('la', '/orders'))).json.orders).toEqual(ids);
  }
});

test('cursors, streams, COPY and callbacks follow as well', async () => {
  const account = await newAccount('ny');
  const { lanekeeper, pool } = site('la');
  const client = await pool.connect();
  await lanekeeper.forAccount(account, async () => {
    const cursor = client.query(new Cursor(whereAmI));
    expect(await cursor.read(10)).toEqual([{ dc: 'ny' }]);
    await cursor.close();
    const rows = await client.query(new QueryStream(whereAmI)).toArray();
    expect(rows).toEqual([{ dc: 'ny' }]);
    const copy = client.query(copyFrom('COPY orders (id, account_id) FROM STDIN'));
    await pipeline(Readable.from([`copied-${account}\t${account}\n`]), copy);
    const query = new pg.Query(whereAmI);
    const row = once(query, 'row');
    client.query(query);
    expect((await row)[0]).toEqual({ dc: 'ny' });
    // Given at once, they are done in their order, where the first one goes.
    const all = await Promise.all([client.query('BEGIN'), client.query(whereAmI), client.query('COMMIT')]);
    expect(all[1].rows).toEqual([{ dc: 'ny' }]);
    await new Promise<void>((resolve, reject) => {
      pool.connect((error, other, release) => {
        if (error || other === undefined) return reject(error);
        other.query(whereAmI, [], (failed, result) => {
          release();
          if (failed) reject(failed);
          else resolve(expect(result.rows).toEqual([{ dc: 'ny' }]));
        });
      });
    });
  });
  client.release();
  expect(await ordersIn('ny', account)).toEqual([`copied-${account}`]);
});

test('many at once, half of them elsewhere, with few connections: none waits for ever, none is in the wrong place', async () => {
  const [here, there] = [await newAccount('la'), await newAccount('ny')];
  const { lanekeeper } = site('la');
  const few = lanekeeper.pool({ max: 2 });
  const places = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      lanekeeper.forAccount(i % 2 === 0 ? here : there, async () => {
        const client = await few.connect();
        try {
          await client.query('BEGIN');
          const dc = await dcOf(client);
          await client.query('COMMIT');
          return dc;
        } finally {
          client.release();
        }
      }),
    ),
  );
  expect(places).toEqual(places.map((_, i) => (i % 2 === 0 ? 'la' : 'ny')));
  expect(few.totalCount).toBe(4);
  await few.end();
  expect(few.totalCount).toBe(0);
});
