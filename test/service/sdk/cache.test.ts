/** The cache hears of changes from everywhere: of this process, of any other, and of what replication brings. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Shop, shopTables, startShop, until } from './shop.ts';

let shop: Shop;
let lanekeeper: Lanekeeper;
let pool: pg.Pool;

beforeAll(async () => {
  shop = await startShop(
    {
      tables: {
        ...shopTables,
        orders: { class: 'system-of-record', account: 'account_id', cached: true },
        visits: { class: 'session-state', cached: true },
        prices: { class: 'system-of-reference', cached: true },
      },
    },
    'CREATE TABLE prices (sku text PRIMARY KEY, cents integer NOT NULL); GRANT SELECT, INSERT, UPDATE, DELETE ON prices TO lanekeeper_application',
  );
  await shop.register('la', 'a1');
  lanekeeper = await createLanekeeper({ config: shop.pair.dc('ny').configuration, env: shop.env('ny') });
  pool = lanekeeper.pool();
});
beforeEach(async () => {
  await runSql(
    shop.pair.dc('la').urls.application,
    "DELETE FROM orders; INSERT INTO orders VALUES ('o1', 'a1', 1), ('o2', 'a1', 1)",
  );
  await until('both orders', async () => (await pool.query('SELECT FROM orders')).rowCount === 2);
});
afterAll(async () => {
  await pool?.end();
  await lanekeeper?.close();
  await shop?.stop();
});

const la = (sql: string) => runSql(shop.pair.dc('la').urls.application, sql);
const total = async (id: string) =>
  (await pool.query<{ total: number }>('SELECT total FROM orders WHERE id = $1', [id])).rows[0]?.total ?? null;

test('a row that another data center wrote is forgotten when it arrives, and no other one', async () => {
  const cache = lanekeeper.cache();
  const read = (id: string) => cache.get(id, [['orders', id]], () => total(id));
  expect([await read('o1'), await read('o2'), await read('o1')]).toEqual([1, 1, 1]);
  await la("UPDATE orders SET total = 2 WHERE id = 'o1'");
  await until('the new total', async () => (await read('o1')) === 2);
  const { forgotten } = cache.statistics;
  await read('o2');
  expect([cache.statistics.forgotten, forgotten]).toEqual([1, 1]);
  await la("DELETE FROM orders WHERE id = 'o2'");
  await until('none', async () => (await read('o2')) === null);
  await la("INSERT INTO orders VALUES ('o2', 'a1', 7)");
  await until('it is back', async () => (await read('o2')) === 7);
});

test('a shared row that the merge has written is forgotten, too', async () => {
  const cache = lanekeeper.cache();
  const price = () =>
    cache.get('price of a cup', [['prices', 'cup']], async () => {
      const { rows } = await pool.query<{ cents: number }>("SELECT cents FROM prices WHERE sku = 'cup'");
      return rows[0]?.cents ?? null;
    });
  expect(await price()).toBeNull();
  await la("INSERT INTO prices VALUES ('cup', 100)");
  await until('the price', async () => (await price()) === 100);
  await la("UPDATE prices SET cents = 90 WHERE sku = 'cup'");
  await until('the new price', async () => (await price()) === 90);
  await pool.query("UPDATE prices SET cents = 80 WHERE sku = 'cup'");
  await until('our own', async () => (await price()) === 80);
});

test('a change of a key is heard for both, and of a table that never leaves as well', async () => {
  const cache = lanekeeper.cache();
  const read = (id: string) => cache.get(id, [['orders', id]], () => total(id));
  expect([await read('o1'), await read('o9')]).toEqual([1, null]);
  await la("UPDATE orders SET id = 'o9' WHERE id = 'o1'");
  await until('both', async () => (await read('o1')) === null && (await read('o9')) === 1);
  const count = () =>
    cache.get('visits', ['visits'], async () => (await pool.query('SELECT count(*)::int AS n FROM visits')).rows[0].n);
  const before = await count();
  await pool.query("INSERT INTO visits (page) VALUES ('/')");
  await until('one more', async () => (await count()) === before + 1);
});

test('a hundred rows are named one by one, then the table; TRUNCATE names the table', async () => {
  const heard: { r: string; k: string[] | null }[] = [];
  const client = await pool.connect();
  client.on('notification', ({ payload }) => heard.push(JSON.parse(payload ?? '')));
  await client.query('LISTEN lanekeeper_cache');
  await client.query("INSERT INTO visits (page) SELECT 'x' FROM generate_series(1, 5000)");
  await until('the last', () => heard.some(({ k }) => k === null));
  expect(heard).toHaveLength(101);
  expect(heard.filter(({ k }) => k === null)).toEqual([{ r: 'public.visits', k: null }]);
  await client.query('UPDATE visits SET page = page WHERE id = (SELECT min(id) FROM visits)');
  await until('the next transaction', () => heard.length === 102);
  expect(heard[101]?.k).toHaveLength(1);
  await client.query('TRUNCATE visits');
  await until('the last one', () => heard.length === 103);
  expect(heard[102]).toEqual({ r: 'public.visits', k: null });
  client.release(true);
});

test('a lost control connection empties it; it keeps again when the connection is back', async () => {
  const cache = lanekeeper.cache();
  const read = () => cache.get('o1', [['orders', 'o1']], () => total('o1'));
  await read();
  expect(cache.statistics).toMatchObject({ entries: 1, listening: true });
  await runSql(
    shop.pair.dc('ny').urls.superuser,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%lanekeeper.enlist%' AND pid <> pg_backend_pid()",
  );
  await until('empty', () => cache.statistics.entries === 0);
  await until('listening', () => cache.statistics.listening);
  await la("UPDATE orders SET total = 5 WHERE id = 'o1'");
  await until('the new total', async () => (await read()) === 5);
  // What was read while a change was announced is not kept.
  await until('kept', async () => (await read()) === 5 && cache.statistics.entries === 1);
});
