/** Tables and routes with a fixed home: written in one data center, whoever they are for; moved and taken over like an account. */
import express from 'express';
import fastify from 'fastify';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { lanekeeperExpress } from 'lanekeeper/express';
import fastifyLanekeeper from 'lanekeeper/fastify';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deedsOf, type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';
import { type TestPair, testPair } from '../support/pair.ts';
import { Browser } from './sdk/browser.ts';
import { shopTables, startShop } from './sdk/shop.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE vouchers (code text PRIMARY KEY, account_id text, left_over integer NOT NULL DEFAULT 1);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, vouchers TO lanekeeper_application;`;

let pair: TestPair;
let agents: TestAgents;
const sites = new Map<string, { lanekeeper: Lanekeeper; pool: pg.Pool; url: string; stop(): Promise<void> }>();

beforeAll(async () => {
  pair = await testPair({
    schema,
    configuration: {
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        vouchers: { class: 'system-of-record', home: 'vouchers' },
      },
      fixed: { vouchers: 'ny' },
      moves: { dwell: '0s' },
    },
  });
  await applyPair(pair);
  agents = await testAgents(pair);
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await agents.untilReady('ny', 'la');
  for (const dc of pair.names) {
    const env = { ...pair.dc(dc).env, DATABASE_URL: pair.dc(dc).urls.application };
    const lanekeeper = await createLanekeeper({ config: agents.configuration(dc), env });
    const pool = lanekeeper.pool();
    const app = fastify();
    await app.register(fastifyLanekeeper, { lanekeeper });
    app.post<{ Body: { account: string } }>('/register', async ({ lanekeeper: scope, body }) => {
      await pool.query('INSERT INTO accounts VALUES ($1)', [body.account]);
      await scope.signIn(body.account, { registered: true });
      return { account: scope.account };
    });
    app.post<{ Body: { code: string; request: string } }>(
      '/redeem',
      { config: { lanekeeper: { home: 'vouchers' } } },
      async ({ lanekeeper: scope, body }) => {
        const client = await pool.connect();
        try {
          await client.query('BEGIN');
          const done = await lanekeeper.once(body.request, client, async () => {
            await client.query('INSERT INTO vouchers VALUES ($1, $2)', [body.code, scope.account]);
            return { code: body.code };
          });
          await client.query('COMMIT');
          return { ...done, account: scope.account, home: scope.home };
        } catch (error) {
          await client.query('ROLLBACK');
          throw error;
        } finally {
          client.release();
        }
      },
    );
    app.get<{ Params: { id: string } }>('/outcome/:id', async ({ params }) => lanekeeper.outcome(params.id));
    const url = await app.listen({ port: 0, host: '127.0.0.1' });
    sites.set(dc, { lanekeeper, pool, url, stop: () => app.close() });
  }
});
afterAll(async () => {
  for (const { lanekeeper, pool, stop } of sites.values()) {
    await stop();
    await pool.end();
    await lanekeeper.close();
  }
  await agents?.stop();
  await pair?.stop();
});

const site = (dc: string) => sites.get(dc) as { lanekeeper: Lanekeeper; pool: pg.Pool; url: string };
const app = (dc: string, sql: string, values: unknown[] = []) => runSql(pair.dc(dc).urls.application, sql, values);

describe('a home for each account, and one for vouchers', () => {
  test('every data center has the deed, and only its home writes', async () => {
    const deed = { home: 'ny', counter: 0, accepted: true };
    expect(await deedsOf(pair, 'fixed:vouchers')).toEqual([deed, deed]);
    await app('ny', "INSERT INTO vouchers VALUES ('v1')");
    await expect.poll(() => app('la', "SELECT FROM vouchers WHERE code = 'v1'")).toHaveLength(1);
    for (const sql of [
      "INSERT INTO vouchers VALUES ('v2')",
      'UPDATE vouchers SET left_over = 0',
      'DELETE FROM vouchers',
    ])
      await expect(app('la', sql)).rejects.toMatchObject({ code: 'LK001', dataType: 'ny' });
    await expect(app('ny', 'TRUNCATE vouchers')).rejects.toThrow();
  });

  test('a route goes by it, whatever the home of the session; results are recorded for the customer', async () => {
    const browser = new Browser();
    expect((await browser.post(`${site('la').url}/register`, { account: 'b1' })).status).toBe(200);
    const sent = await browser.post(`${site('la').url}/redeem`, { code: 'w1', request: 'r1' });
    expect(sent.status).toBe(409);
    expect(sent.headers['lanekeeper-replay']).toBe('dc=ny; term=1');
    expect(sent.json).toMatchObject({ error: { code: 'LK_WRONG_HOME', home: 'ny' } });
    const done = await browser.post(`${site('ny').url}/redeem`, { code: 'w1', request: 'r1' });
    expect(done.json).toMatchObject({ kind: 'done', account: 'b1', home: 'la' });
    expect((await browser.post(`${site('ny').url}/redeem`, { code: 'w1', request: 'r1' })).json).toMatchObject({
      kind: 'repeated',
      result: { code: 'w1' },
    });
    expect((await browser.get(`${site('ny').url}/outcome/r1`)).json).toMatchObject({ kind: 'done' });
    const other = new Browser();
    await other.post(`${site('ny').url}/register`, { account: 'a1' });
    expect((await other.get(`${site('ny').url}/outcome/r1`)).json).toEqual({ kind: 'unknown' });
    // Somebody who is not signed in, and an edge that followed the session to where the route does not belong.
    expect((await new Browser().post(`${site('la').url}/redeem`, { code: 'w2', request: 'r2' })).status).toBe(409);
    const asked = { code: 'w3', request: 'r3' };
    const followed = await browser.post(`${site('la').url}/redeem`, asked, { 'lanekeeper-hops': '1' });
    expect(followed.headers['lanekeeper-replay']).toBe('dc=ny; term=1');
  });

  test('a name that the configuration does not have is a mistake at the start', async () => {
    const { lanekeeper } = site('ny');
    expect(() => lanekeeperExpress(lanekeeper, { homes: { voucher: () => true } })).toThrow(/no fixed home voucher/);
    const wrong = fastify();
    await wrong.register(fastifyLanekeeper, { lanekeeper });
    expect(() => wrong.post('/x', { config: { lanekeeper: { home: 'voucher' } } }, async () => 1)).toThrow(
      /no fixed home voucher\b.*There is: vouchers/,
    );
    await wrong.close();
  });

  test('it moves by rehome, with its rows compared, and Express and jobs follow', async () => {
    await expect
      .poll(async () => (await app('la', 'SELECT FROM vouchers')).length)
      .toBe((await app('ny', 'SELECT FROM vouchers')).length);
    const { exitCode, stdout } = await agents.command('ny', 'rehome', 'fixed:vouchers', '--to', 'la');
    expect(stdout).toMatch(/fixed:vouchers is written in la now/);
    expect(exitCode).toBe(0);
    const [given] = await runSql<{ digest: string }>(
      pair.dc('ny').urls.superuser,
      "SELECT digest FROM lanekeeper.deed WHERE account = 'fixed:vouchers'",
    );
    expect(given?.digest).toMatch(/^1 2:-?\d+$/);
    await app('la', "INSERT INTO vouchers VALUES ('v3')");
    await expect(app('ny', "INSERT INTO vouchers VALUES ('v4')")).rejects.toMatchObject({ code: 'LK001' });

    const shop = express();
    shop.use(lanekeeperExpress(site('ny').lanekeeper, { homes: { vouchers: ({ path }) => path === '/redeem' } }));
    shop.post('/redeem', (_request, response) => void response.json({}));
    const server = shop.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const answer = await fetch(`http://127.0.0.1:${port}/redeem`, { method: 'POST' });
    expect([answer.status, answer.headers.get('lanekeeper-replay')]).toEqual([409, 'dc=la; term=1']);
    await new Promise((resolve) => server.close(resolve));

    await expect(site('ny').lanekeeper.forAccount('fixed:vouchers', async () => 1)).rejects.toMatchObject({
      code: 'LK_WRONG_HOME',
      details: { home: 'la' },
    });
    expect(await site('la').lanekeeper.forAccount('fixed:vouchers', async () => 1)).toBe(1);
  });

  test('a switchover takes it along like every account', async () => {
    const { exitCode } = await agents.command('la', 'switchover', '--to', 'ny');
    expect(exitCode).toBe(0);
    await expect
      .poll(() => app('ny', "INSERT INTO vouchers VALUES ('v9') ON CONFLICT DO NOTHING RETURNING 1"))
      .toHaveLength(1);
    await expect(app('la', "INSERT INTO vouchers VALUES ('v10')")).rejects.toMatchObject({ code: 'LK001' });
  });
});

describe('where connections are routed', () => {
  test('the route is served where it arrives, and its connections lead to the fixed home', async () => {
    const shop = await startShop(
      {
        approach: 'mostly-active-active',
        tables: { ...shopTables, vouchers: { class: 'system-of-record', home: 'vouchers' } },
        fixed: { vouchers: 'ny' },
      },
      `CREATE TABLE vouchers (code text PRIMARY KEY);
       GRANT SELECT, INSERT, UPDATE, DELETE ON vouchers TO lanekeeper_application;`,
    );
    const lanekeeper = await createLanekeeper({ config: shop.pair.dc('la').configuration, env: shop.env('la') });
    const pool = lanekeeper.pool();
    const server = fastify();
    await server.register(fastifyLanekeeper, { lanekeeper });
    server.post<{ Body: { code: string } }>(
      '/redeem',
      { config: { lanekeeper: { home: 'vouchers' } } },
      async ({ body }) => {
        await pool.query('INSERT INTO vouchers VALUES ($1)', [body.code]);
        return (await pool.query('SELECT lanekeeper.dc() AS dc')).rows[0];
      },
    );
    const url = await server.listen({ port: 0, host: '127.0.0.1' });
    try {
      const browser = new Browser();
      expect((await browser.post(`${url}/redeem`, { code: 'x1' })).json).toEqual({ dc: 'ny' });
      await shop.move('fixed:vouchers', 'la');
      expect((await browser.post(`${url}/redeem`, { code: 'x2' })).json).toEqual({ dc: 'la' });
      expect(
        await lanekeeper.forAccount(
          'fixed:vouchers',
          async () => (await pool.query('SELECT lanekeeper.dc() AS dc')).rows,
        ),
      ).toEqual([{ dc: 'la' }]);
    } finally {
      await server.close();
      await pool.end();
      await lanekeeper.close();
      await shop.stop();
    }
  }, 120_000);
});

describe('one home for everything but the baskets', () => {
  const configuration = twoDataCenters({
    tables: {
      accounts: { class: 'system-of-record' },
      baskets: { class: 'system-of-record', home: 'baskets' },
    },
    extra: { approach: 'active-passive', fixed: { baskets: 'la' } },
  });
  let database: FencedDatabase;
  beforeAll(async () => {
    database = await fencedDatabase(
      `CREATE TABLE accounts (id text PRIMARY KEY);
       CREATE TABLE baskets (id text, at date) PARTITION BY RANGE (at);
       CREATE TABLE baskets_2026 PARTITION OF baskets FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;`,
      configuration,
    );
    await database.lease(60_000);
    await runSql(
      database.urls.owner,
      "INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES ('*', 'ny', 1, 0), ('fixed:baskets', 'la', 1, 0)",
    );
  });
  afterAll(() => database?.stop());

  test('each table follows its own deed, also in a partition that was attached later', async () => {
    const sql = (text: string) => runSql(database.urls.application, text);
    await sql("INSERT INTO accounts VALUES ('a1')");
    const wrong = { code: 'LK001', dataType: 'la' };
    await expect(sql("INSERT INTO baskets VALUES ('b1', '2026-05-05')")).rejects.toMatchObject(wrong);
    await expect(sql("INSERT INTO baskets_2026 VALUES ('b1', '2026-05-05')")).rejects.toMatchObject(wrong);
    await runSql(
      database.urls.owner,
      `CREATE TABLE baskets_2027 PARTITION OF baskets FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
       GRANT INSERT ON baskets_2027 TO lanekeeper_application`,
    );
    await expect(sql("INSERT INTO baskets_2027 VALUES ('b1', '2027-05-05')")).rejects.toMatchObject(wrong);
    await runSql(
      database.urls.owner,
      "UPDATE lanekeeper.deed SET home = 'ny', counter = 1 WHERE account = 'fixed:baskets'",
    );
    await sql("INSERT INTO baskets VALUES ('b1', '2026-05-05'), ('b2', '2027-05-05')");
    const [row] = await runSql<{ digest: string }>(database.urls.owner, "SELECT lanekeeper.digest('fixed:baskets')");
    expect(row?.digest).toMatch(/^1 2:/);
  });
});
