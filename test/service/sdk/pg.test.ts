/** `lanekeeper/pg` against real PostgreSQL: what it adds to pg, and that it takes nothing away. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createLanekeeper, findLanekeeperError, type Lanekeeper, LanekeeperError } from 'lanekeeper';
import { Client, Pool } from 'lanekeeper/pg';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
let ny: Lanekeeper;
const pools: pg.Pool[] = [];

beforeAll(async () => {
  shop = await startShop();
  ny = await createLanekeeper({ config: shop.pair.dc('ny').configuration, env: shop.env('ny'), instance: 'ny-app-1' });
  await shop.register('ny', 'a1', 'a2', 'a3');
  await shop.register('la', 'b1', 'b2');
});
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.end();
});
afterAll(async () => {
  await ny?.close();
  await shop?.stop();
});

function openPool(options: pg.PoolConfig = {}): pg.Pool {
  const pool = ny.pool({ max: 4, ...options });
  pools.push(pool);
  return pool;
}

test('they are pg: classes, events, overloads, arrays, named statements', async () => {
  const pool = openPool();
  expect(pool).toBeInstanceOf(pg.Pool);
  const events: string[] = [];
  for (const event of ['connect', 'acquire', 'release', 'remove'] as const) pool.on(event, () => events.push(event));
  const client = await pool.connect();
  expect(client).toBeInstanceOf(pg.Client);
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  expect((await client.query({ text: 'SELECT $1::int AS n', values: [7], rowMode: 'array' })).rows).toEqual([[7]]);
  expect((await client.query({ name: 'twice', text: 'SELECT $1::int * 2 AS n' }, [4])).rows).toEqual([{ n: 8 }]);
  const removed = once(pool, 'remove');
  client.release(true);
  await removed;
  expect(events).toEqual(['connect', 'acquire', 'release', 'remove']);
  await expect(pool.query('SELECT nothing_like_this')).rejects.toBeInstanceOf(pg.DatabaseError);
});

test('a refusal names account, home and data center, and keeps the error of PostgreSQL', async () => {
  const pool = openPool();
  const error = await pool.query("INSERT INTO orders VALUES ('o1', 'b1')").catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(LanekeeperError);
  expect(error).toMatchObject({
    code: 'LK_WRONG_HOME',
    details: { account: 'b1', home: 'la', dataCenter: 'ny', table: 'public.orders' },
  });
  expect((error as LanekeeperError).cause).toBeInstanceOf(pg.DatabaseError);
  expect((error as LanekeeperError).cause).toMatchObject({ code: 'LK001', severity: 'ERROR' });
  expect(findLanekeeperError(new Error('wrapped', { cause: { original: error } }))).toBe(error);
});

test('in callbacks too, for pools, clients, query objects', async () => {
  const pool = openPool();
  const insert = "INSERT INTO orders VALUES ('o1', 'b1')";
  const failures = await Promise.all([
    new Promise((resolve) => pool.query(insert, (error) => resolve(error))),
    new Promise((resolve) => pool.query(insert.replace("'b1'", '$1'), ['b1'], (error) => resolve(error))),
    new Promise((resolve) => {
      pool.connect((_error, client, done) => {
        void client?.query(insert, (error) => {
          done();
          resolve(error);
        });
      });
    }),
    new Promise((resolve) => {
      const query = new pg.Query(insert, (error: Error | undefined) => resolve(error));
      void pool.connect().then((client) => {
        client.query(query);
        client.once('drain', () => client.release());
      });
    }),
  ]);
  for (const failure of failures) expect(failure).toMatchObject({ code: 'LK_WRONG_HOME', details: { home: 'la' } });
});

test('callbacks run in the context of whoever asked, not of whoever opened the socket', async () => {
  const pool = openPool({ max: 2 });
  const context = new AsyncLocalStorage<number>();
  const inConnect: (number | undefined)[] = [];
  const inQuery: (number | undefined)[] = [];
  const inPoolQuery: (number | undefined)[] = [];
  await Promise.all(
    Array.from({ length: 30 }, (_, i) =>
      context.run(i, async () => {
        await new Promise<void>((resolve) => {
          pool.connect((_error, client, done) => {
            inConnect[i] = context.getStore();
            void client?.query('SELECT 1', () => {
              inQuery[i] = context.getStore();
              done();
              resolve();
            });
          });
        });
        await new Promise<void>((resolve) => {
          pool.query('SELECT $1::int', [i], () => {
            inPoolQuery[i] = context.getStore();
            resolve();
          });
        });
      }),
    ),
  );
  const expected = Array.from({ length: 30 }, (_, i) => i);
  expect(inConnect).toEqual(expected);
  expect(inQuery).toEqual(expected);
  expect(inPoolQuery).toEqual(expected);
});

/** TRUNCATE names no account: the one in the refusal is the one that the connection was bound to. */
const boundTo = (error: unknown) => findLanekeeperError(error)?.details.account;

test('connections are for the work that uses them, however the pool is shared', async () => {
  const pool = openPool({ max: 2 });
  const accounts = Array.from({ length: 60 }, (_, i) => ['a1', 'a2', 'a3'][i % 3] as string);
  const seen = await Promise.all(
    accounts.map((account, i) =>
      ny.forAccount(account, async () => {
        if (i % 2 === 0) return pool.query('TRUNCATE orders').catch(boundTo);
        const client = await pool.connect();
        try {
          await client.query('BEGIN');
          return await client.query('TRUNCATE orders').catch(boundTo);
        } finally {
          await client.query('ROLLBACK');
          client.release();
        }
      }),
    ),
  );
  expect(seen).toEqual(accounts);
});

test('a client stays with the work that took it, whoever sends its queries', async () => {
  const pool = openPool({ max: 2 });
  const jobs: (() => void)[] = [];
  // A library that collects queries and sends them in one go, in its own context.
  const later = (job: () => Promise<unknown>) =>
    new Promise((resolve, reject) => {
      jobs.push(() => job().then(resolve, reject));
    });
  const truncateFor = (account: string) =>
    ny.forAccount(account, async () => {
      const client = await pool.connect();
      try {
        return await later(() => client.query('TRUNCATE orders')).catch(boundTo);
      } finally {
        client.release();
      }
    });
  const results = Promise.all([truncateFor('a1'), truncateFor('a2')]);
  await until('both queries', () => jobs.length === 2);
  await ny.forAccount('a3', async () => {
    for (const job of jobs) job();
  });
  expect(await results).toEqual(['a1', 'a2']);
  const client = await pool.connect();
  expect(await client.query('TRUNCATE orders').catch(boundTo)).toBeUndefined();
  client.release();
});

test('outside of any work they are plain pg', async () => {
  const pool = openPool();
  await pool.query("INSERT INTO visits (page) VALUES ('home')");
  await pool.query("INSERT INTO orders VALUES ('outside', 'a1')");
  const client = new Client({ connectionString: shop.pair.dc('ny').urls.application });
  await client.connect();
  expect((await client.query('SELECT id FROM orders')).rows).toEqual([{ id: 'outside' }]);
  await client.end();
});

test('cursors, query streams and COPY work, and their errors are refusals, too', async () => {
  const pool = openPool();
  await pool.query("INSERT INTO orders SELECT 'many' || n, 'a2', n FROM generate_series(1, 500) n");
  const client = await pool.connect();
  const cursor = client.query(new Cursor("SELECT total FROM orders WHERE id LIKE 'many%' ORDER BY total"));
  expect((await cursor.read(3)).map(({ total }) => total)).toEqual([1, 2, 3]);
  await cursor.close();
  let streamed = 0;
  for await (const _row of client.query(new QueryStream("SELECT id FROM orders WHERE id LIKE 'many%'"))) streamed += 1;
  expect(streamed).toBe(500);
  await pipeline(
    Readable.from(Array.from({ length: 100 }, (_, i) => `copied${i}\ta2\t${i}\n`)),
    client.query(copyFrom('COPY orders FROM STDIN')),
  );
  expect((await client.query("SELECT count(*)::int FROM orders WHERE id LIKE 'copied%'")).rows).toEqual([
    { count: 100 },
  ]);
  const refused = { code: 'LK_WRONG_HOME', details: { account: 'b2', home: 'la' } };
  const refusedCursor = client.query(new Cursor("INSERT INTO orders VALUES ('cursor', 'b2') RETURNING id"));
  await expect(refusedCursor.read(1)).rejects.toMatchObject(refused);
  const copied = pipeline(Readable.from(['copied\tb2\t1\n']), client.query(copyFrom('COPY orders FROM STDIN')));
  await expect(copied).rejects.toMatchObject(refused);
  client.release();
});

test('a snapshot from before a move: the fence says 40001, the application learns where the account went', async () => {
  await shop.register('ny', 'mover');
  const pool = openPool();
  const error = await ny
    .forAccount('mover', async () => {
      const client = await pool.connect();
      try {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        await client.query('SELECT count(*) FROM orders');
        // The drain runs out while this transaction is open: the database decides without us.
        await shop.move('mover', 'la', { drainMs: 50, evenIfBusy: true });
        await client.query("INSERT INTO orders VALUES ('late', 'mover')");
      } finally {
        await client.query('ROLLBACK');
        client.release();
      }
    })
    .catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'LK_WRONG_HOME', details: { account: 'mover', home: 'la' } });
  expect((error as Error).cause).toMatchObject({ code: '40001' });
});

test('a conflict in the fence that is no move stays 40001', async () => {
  const pool = openPool();
  const client = await pool.connect();
  const error = await ny
    .forAccount('a3', async () => {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await client.query('SELECT 1 FROM orders');
      const owner = new pg.Client({ connectionString: shop.pair.dc('ny').urls.superuser });
      await owner.connect();
      await owner.query("SELECT lanekeeper.touch_deeds('{a3}')");
      await owner.end();
      await client.query("INSERT INTO orders VALUES ('conflict', 'a3')");
    })
    .catch((caught: unknown) => caught);
  await client.query('ROLLBACK');
  client.release();
  expect(error).toBeInstanceOf(pg.DatabaseError);
  expect(error).toMatchObject({ code: '40001' });
});

test('a connection lost in COMMIT leaves the outcome unknown; lost before it, it does not', async () => {
  const pool = new Pool({ connectionString: shop.pair.dc('ny').urls.application, max: 2 });
  pools.push(pool);
  pool.on('error', () => {});
  const killer = new pg.Client({ connectionString: shop.pair.dc('ny').urls.superuser });
  await killer.connect();
  const terminate = (pid: number) => killer.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
  const attempt = (statement: string, begin: boolean) =>
    ny
      .forAccount('a1', async () => {
        const client = await pool.connect();
        client.on('error', () => {});
        try {
          const { pid } = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0];
          if (begin) await client.query('BEGIN');
          // Held by another session, so that the statement is under way when its backend dies.
          const sent = client.query(statement);
          sent.catch(() => {});
          await waitingFor(killer, pid);
          await terminate(pid);
          await sent;
        } finally {
          client.release(true);
        }
      })
      .catch((caught: unknown) => caught);
  await killer.query(`
    CREATE FUNCTION public.linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END';
    CREATE TABLE public.lingering (id integer);
    CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON public.lingering DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.linger();
    GRANT INSERT ON public.lingering TO lanekeeper_application;
  `);
  const autocommit = await attempt('INSERT INTO lingering VALUES (1)', false);
  expect(autocommit).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN', details: { account: 'a1' } });
  const explicit = await attempt('INSERT INTO lingering VALUES (1); COMMIT', true);
  expect(explicit).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  const inside = await attempt('SELECT pg_sleep(10)', true);
  expect(findLanekeeperError(inside)).toBeUndefined();
  expect(inside).toMatchObject({ code: '57P01' });
  await killer.end();
});

async function waitingFor(watcher: pg.Client, pid: number): Promise<void> {
  for (let i = 0; i < 500; i += 1) {
    const { rows } = await watcher.query(
      "SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event = 'PgSleep'",
      [pid],
    );
    if (rows.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('the backend never came to sleep');
}
