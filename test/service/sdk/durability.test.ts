/** What the SDK says of a commit: `remote` only when the other data center holds it, `local`, or that nobody knows. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import Fastify from 'fastify';
import { createLanekeeper, type Lanekeeper, LanekeeperError } from 'lanekeeper';
import fastifyLanekeeper from 'lanekeeper/fastify';
import { Client } from 'lanekeeper/pg';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { lease } from '../../support/applied.ts';
import { runSql } from '../../support/clusters.ts';
import { type SyncSet, syncSet } from '../../support/sync-set.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
let set: SyncSet;
let ny: Lanekeeper;
let la: Lanekeeper;
let pool: pg.Pool;
let client: pg.PoolClient;

beforeAll(async () => {
  const homed = { class: 'system-of-record', account: 'account_id' } as const;
  shop = await startShop({
    tables: {
      accounts: { class: 'system-of-record', account: 'id', root: true, durability: 'local' },
      orders: { ...homed, durability: 'remote', whenAlone: 'refuse' },
      visits: { class: 'session-state' },
    },
  });
  await shop.register('ny', 'a1');
  set = await syncSet(shop.pair, 'ny', 'la');
  ny = await createLanekeeper({ config: shop.pair.dc('ny').configuration, env: shop.env('ny') });
  la = await createLanekeeper({ config: shop.pair.dc('la').configuration, env: shop.env('la') });
  pool = ny.pool({ max: 4 });
  client = await pool.connect();
});
afterEach(async () => {
  await set.peerReads(true);
  await set.shrink();
});
afterAll(async () => {
  client?.release();
  await pool?.end();
  await set?.close();
  await ny?.close();
  await la?.close();
  await shop?.stop();
});

let number = 0;
function order(): [text: string, values: string[]] {
  number += 1;
  return ['INSERT INTO orders VALUES ($1, $2)', [`o-${number}`, 'a1']];
}

async function transaction(on: pg.ClientBase, ...statements: readonly [string, unknown[]?][]): Promise<void> {
  await on.query('BEGIN');
  for (const [text, values] of statements) await on.query(text, values);
  await on.query('COMMIT');
}

const rename: [string] = ["UPDATE accounts SET name = name || '.' WHERE id = 'a1'"];

const waits = () => until('somebody waits', async () => (await set.waiting()).length > 0);

test('remote when it waited, local when it did not, and a read changes nothing', async () => {
  expect(ny.durabilityOf(client)).toBe(null);
  await transaction(client, rename);
  expect(ny.durabilityOf(client)).toBe('local');
  await set.grow();
  await transaction(client, rename, order(), rename);
  expect(ny.durabilityOf(client)).toBe('remote');
  await client.query('SELECT 1');
  await transaction(client, ['SELECT count(*) FROM orders']);
  await client.query('BEGIN');
  await client.query(...rename);
  await client.query('ROLLBACK');
  await client.query('SELECT nothing_like_this').catch(() => {});
  expect(ny.durabilityOf(client)).toBe('remote');
  await client.query(...rename);
  expect(ny.durabilityOf(client)).toBe('local');
  // One that a library took back to a savepoint is still what was committed.
  await transaction(client, ['SAVEPOINT s'], ['SELECT 1 / $1::int', [1]], order(), ['ROLLBACK TO s'], order());
  expect(ny.durabilityOf(client)).toBe('remote');
});

test('in callbacks and without a transaction of its own, and the next user of a connection hears nothing of it', async () => {
  await set.grow();
  const other = await pool.connect();
  await new Promise<void>((resolve, reject) => {
    other.query(...order(), (error: Error | null) => (error ? reject(error) : resolve()));
  });
  expect(ny.durabilityOf(other)).toBe('remote');
  other.release();
  const again = await pool.connect();
  expect(again).toBe(other);
  expect(ny.durabilityOf(again)).toBe(null);
  again.release();
});

test('what a COPY wrote is looked at as well', async () => {
  await set.grow();
  number += 1;
  const copy = client.query(copyFrom('COPY orders (id, account_id) FROM STDIN'));
  await pipeline(Readable.from([`o-${number}\ta1\n`]), copy);
  await until('the look', () => ny.durabilityOf(client) === 'remote');
});

test('a wait that was broken off is not remote; where the table refuses that, the outcome is unknown', async () => {
  await set.grow();
  await set.peerReads(false);
  const commit = transaction(client, order()).catch((error: unknown) => error);
  await waits();
  await set.shrink();
  expect(await commit).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  expect(ny.durabilityOf(client)).toBe('local');
  expect(await runSql(shop.pair.dc('ny').urls.superuser, `SELECT FROM orders WHERE id = 'o-${number}'`)).toHaveLength(
    1,
  );
  // The connection is as good as before.
  await transaction(client, rename);
});

test('a set that changed while the commit waited makes it local', async () => {
  await set.grow();
  await set.peerReads(false);
  const commit = transaction(client, order()).catch((error: unknown) => error);
  await waits();
  await runSql(shop.pair.dc('ny').urls.superuser, "SELECT nextval('lanekeeper.sync_view')");
  await set.peerReads(true);
  expect(await commit).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
});

test('a list of standbys that somebody emptied lets waits end as if all were well, and the SDK does not believe it', async () => {
  const { urls } = shop.pair.dc('ny');
  await set.grow();
  await set.peerReads(false);
  const commit = transaction(client, order()).catch((error: unknown) => error);
  await waits();
  await runSql(urls.superuser, 'ALTER SYSTEM RESET synchronous_standby_names');
  await runSql(urls.superuser, 'SELECT pg_reload_conf()');
  expect(await commit).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  await set.close();
  set = await syncSet(shop.pair, 'ny', 'la');
});

test('where the database may not be told to wait, the SDK waits after the commit', async () => {
  const { urls } = shop.pair.dc('ny');
  await set.growByApplications();
  await transaction(client, order());
  expect(ny.durabilityOf(client)).toBe('remote');
  expect(await runSql(shop.pair.dc('la').urls.superuser, `SELECT FROM orders WHERE id = 'o-${number}'`)).toHaveLength(
    1,
  );
  await set.peerReads(false);
  let answered = false;
  const commit = transaction(client, order())
    .catch((error: unknown) => error)
    .finally(() => {
      answered = true;
    });
  const committed = async () =>
    (await runSql(urls.superuser, `SELECT FROM orders WHERE id = 'o-${number}'`)).length === 1;
  await until('the commit', committed);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(answered).toBe(false);
  // Back before the agents have let go of it.
  await set.peerReads(true);
  expect(await commit).toBe(undefined);
  expect(ny.durabilityOf(client)).toBe('remote');
  // Not back: the set shrinks, and the table does not want to be written alone.
  await set.peerReads(false);
  const left = transaction(client, order()).catch((error: unknown) => error);
  await until('the commit', committed);
  await set.shrink();
  expect(await left).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  expect(ny.durabilityOf(client)).toBe('local');
});

test('alone, a table that refuses is refused', async () => {
  await client.query('BEGIN');
  await client.query(...order());
  await expect(client.query('COMMIT')).rejects.toMatchObject({ code: 'LK_ALONE', status: 503, retryable: true });
  await client.query('ROLLBACK').catch(() => {});
});

test('a connection that is lost while it waits leaves the outcome unknown, and the record tells a retry in any data center', async () => {
  await set.grow();
  const doomed = new Client({ connectionString: shop.pair.dc('ny').urls.application });
  doomed.on('error', () => {});
  await doomed.connect();
  const once = (on: pg.ClientBase, at: Lanekeeper) =>
    at.forAccount('a1', async () => {
      await on.query('BEGIN');
      const outcome = await at.once('pressed-1', on, async () => {
        const [text, values] = order();
        await on.query(text, values);
        return { order: values[0] };
      });
      await on.query('COMMIT');
      return outcome;
    });
  await set.peerReads(false);
  const first = once(doomed, ny).catch((error: unknown) => error);
  await waits();
  const [pid] = await set.waiting();
  await runSql(shop.pair.dc('ny').urls.superuser, 'SELECT pg_terminate_backend($1)', [pid]);
  const error = await first;
  expect(error).toBeInstanceOf(LanekeeperError);
  expect(error).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  await set.peerReads(true);
  const placed = `o-${number}`;
  expect(await once(client, ny)).toEqual({ kind: 'repeated', result: { order: placed } });
  await until('the record in la', async () => (await la.outcome('pressed-1')).kind === 'done');
  expect(await la.outcome('pressed-1')).toEqual({ kind: 'done', result: { order: placed }, dataCenter: 'ny' });
});

test('a result that nobody else holds yet is passed on when somebody does, and not without a lease', async () => {
  await set.grow();
  const doomed = new Client({ connectionString: shop.pair.dc('ny').urls.application });
  doomed.on('error', () => {});
  await doomed.connect();
  await set.peerReads(false);
  const place = (on: pg.ClientBase) =>
    ny.forAccount('a1', async () => {
      await on.query('BEGIN');
      const outcome = await ny.once('pressed-2', on, async () => {
        await on.query(...order());
        return 'placed';
      });
      await on.query('COMMIT');
      return outcome;
    });
  const first = place(doomed).catch((error: unknown) => error);
  await waits();
  const [pid] = await set.waiting();
  await runSql(shop.pair.dc('ny').urls.superuser, 'SELECT pg_terminate_backend($1)', [pid]);
  expect(await first).toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });

  const repeated = place(client);
  const asked = ny.outcome('pressed-2');
  await until('both wait', async () => (await set.waiting()).length === 2);
  expect(await Promise.race([repeated, asked, la.outcome('pressed-2')])).toEqual({ kind: 'unknown' });
  await set.peerReads(true);
  expect(await repeated).toEqual({ kind: 'repeated', result: 'placed' });
  expect(ny.durabilityOf(client)).toBe('remote');
  expect(await asked).toEqual({ kind: 'done', result: 'placed', dataCenter: 'ny' });
  await lease(shop.pair.dc('ny'), -1);
  expect(await ny.outcome('pressed-2')).toEqual({ kind: 'unknown' });
  await lease(shop.pair.dc('ny'), 600_000);
});

test('a timeout of the client during the wait leaves the outcome unknown as well', async () => {
  await set.grow();
  await set.peerReads(false);
  const impatient = new Client({ connectionString: shop.pair.dc('ny').urls.application, query_timeout: 300 });
  impatient.on('error', () => {});
  await impatient.connect();
  await expect(transaction(impatient, order())).rejects.toMatchObject({ code: 'LK_OUTCOME_UNKNOWN' });
  await set.shrink();
  await impatient.end();
});

test('a response says the least that its request has reached, and nothing when nothing was written', async () => {
  const app = Fastify();
  await app.register(fastifyLanekeeper, { lanekeeper: ny });
  const mark = { config: { lanekeeper: { anywhere: true } } };
  app.post('/order', mark, async (request) => {
    await ny.forAccount('a1', () => pool.query(...order()));
    return { reached: request.lanekeeper.durability };
  });
  app.post('/both', mark, async (request) => {
    await ny.forAccount('a1', async () => {
      await pool.query(...order());
      await pool.query(...rename);
    });
    return { reached: request.lanekeeper.durability };
  });
  app.get('/', async () => (await pool.query('SELECT 1')).rows);
  try {
    await set.grow();
    const said = async (method: 'GET' | 'POST', url: string) => {
      const { headers, json, statusCode } = await app.inject({ method, url });
      expect(statusCode).toBe(200);
      return [headers['lanekeeper-durability'], (json() as { reached?: string }).reached];
    };
    expect(await said('POST', '/order')).toEqual(['remote', 'remote']);
    expect(await said('POST', '/both')).toEqual(['local', 'local']);
    expect(await said('GET', '/')).toEqual([undefined, undefined]);
  } finally {
    await app.close();
  }
});
