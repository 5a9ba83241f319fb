/**
 * A switchover under load, through real edges, applications, agents and a link with a round trip of 60 ms: no request fails, and what was
 * acknowledged is there, once, in both data centers.
 */
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '@lanekeeper/lab';
import { type Edge, startEdge } from '@lanekeeper/server/edge';
import fastify, { type FastifyInstance } from 'fastify';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import fastifyLanekeeper from 'lanekeeper/fastify';
import { createKeyRing, issueSession, newSessionId } from 'lanekeeper/session';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO lanekeeper_application;`;

type Site = {
  readonly app: FastifyInstance;
  readonly lanekeeper: Lanekeeper;
  readonly pool: pg.Pool;
  readonly edge: Edge;
};

const sites = new Map<string, Site>();
let pair: TestPair;
let agents: TestAgents;
const browsers = new http.Agent({ keepAlive: true, maxSockets: 400 });

beforeAll(async () => {
  pair = await testPair({
    schema,
    link: { delayMs: 30 },
    configuration: {
      // For busy machines: whoever waits, waits no longer than it takes.
      moves: { drain: '15s' },
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        orders: { class: 'system-of-record', account: 'account_id' },
      },
    },
  });
  await applyPair(pair);
  const ports = new Map<string, { edge: number; application: number }>();
  for (const dc of pair.names)
    ports.set(dc, { edge: await freePort('127.0.0.1'), application: await freePort('127.0.0.1') });
  agents = await testAgents(pair, {
    change: (written) => {
      for (const [name, dc] of Object.entries(written.dataCenters)) {
        const own = ports.get(name);
        dc.edge = `http://127.0.0.1:${own?.edge}`;
        dc.applications = [`http://127.0.0.1:${own?.application}`];
      }
      return written;
    },
  });
  for (const dc of pair.names) await agents.start(dc);
  for (const dc of pair.names)
    sites.set(dc, await startSite(dc, ports.get(dc) as { edge: number; application: number }));
  await agents.untilReady(...pair.names);
}, 120_000);
afterAll(async () => {
  browsers.destroy();
  for (const { edge, app, pool, lanekeeper } of sites.values()) {
    await edge.close();
    await app.close();
    await pool.end();
    await lanekeeper.close();
  }
  await agents?.stop();
  await pair?.stop();
}, 120_000);

async function startSite(dc: string, ports: { edge: number; application: number }): Promise<Site> {
  const configuration = agents.configuration(dc);
  const env = { ...pair.dc(dc).env, DATABASE_URL: pair.dc(dc).urls.application };
  const lanekeeper = await createLanekeeper({ config: configuration, env });
  const pool = lanekeeper.pool({ max: 20 });
  const app = fastify();
  await app.register(fastifyLanekeeper, { lanekeeper });
  app.get('/orders', async (request) => {
    const { rows } = await pool.query('SELECT count(*) FROM orders WHERE account_id = $1', [
      request.lanekeeper.account,
    ]);
    return rows[0];
  });
  const order = async (id: string, account: string | null, seconds: number) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('INSERT INTO orders VALUES ($1, $2)', [id, account]);
      if (seconds > 0) await client.query('SELECT pg_sleep($1)', [seconds]);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  };
  app.post<{ Body: { id: string; seconds?: number } }>('/orders', async ({ body, lanekeeper: scope }) => {
    await order(body.id, scope.account, body.seconds ?? 0);
    return { dataCenter: scope.dataCenter };
  });
  app.post<{ Body: { account: string } }>('/accounts', async ({ body, lanekeeper: scope }) => {
    await pool.query('INSERT INTO accounts VALUES ($1)', [body.account]);
    await scope.signIn(body.account, { registered: true });
    return { dataCenter: scope.dataCenter };
  });
  const anywhere = { config: { lanekeeper: { anywhere: true } } };
  app.post<{ Body: { account: string } }>('/session', anywhere, async ({ body, lanekeeper: scope }) => {
    await scope.signIn(body.account);
    return { dataCenter: scope.dataCenter };
  });
  await app.listen({ host: '127.0.0.1', port: ports.application });
  const edge = await startEdge({
    configuration,
    keys: createKeyRing(configuration, { env }),
    host: '127.0.0.1',
    port: ports.edge,
  });
  return { app, lanekeeper, pool, edge };
}

type Customer = { readonly account: string; cookie: string; readonly edge: string; readonly keepsCookies: boolean };

function customerOf(account: string, home: string, edge: string, keepsCookies: boolean): Customer {
  const ring = createKeyRing(agents.configuration(home), { env: pair.dc(home).env });
  const session = { id: newSessionId(), account, guest: null, home, epoch: { term: 1, counter: 0 } };
  const token = issueSession(ring, session, { nowMs: Date.now(), maxAgeMs: 3_600_000 });
  return { account, cookie: `__Secure-lanekeeper=${token}`, edge, keepsCookies };
}

type Outcome = { readonly what: string; readonly status: number; readonly body: string; readonly tookMs: number };

function ask(customer: Customer, method: string, path: string, body?: Record<string, unknown>): Promise<Outcome> {
  const { hostname, port } = new URL((sites.get(customer.edge) as Site).edge.url);
  const startedMs = performance.now();
  return new Promise((resolve) => {
    const done = (status: number, text: string) =>
      resolve({
        what: `${method} ${path} at ${customer.edge}`,
        status,
        body: text,
        tookMs: performance.now() - startedMs,
      });
    const request = http.request(
      {
        hostname,
        port,
        path,
        method,
        agent: browsers,
        headers: {
          host: `${customer.edge}.shop.localhost:8080`,
          ...(customer.cookie === '' ? {} : { cookie: customer.cookie }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
      },
      (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => {
          const [set] = response.headers['set-cookie'] ?? [];
          if (set !== undefined && customer.keepsCookies) customer.cookie = set.split(';')[0] as string;
          done(response.statusCode ?? 0, text);
        });
        response.on('error', (error) => done(0, String(error)));
      },
    );
    request.on('error', (error) => done(0, String(error)));
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Reads never wait for a switchover: with more than this many unanswered, the machine is busy, and no more is asked of it. */
const readsMax = 24;

/** 200 requests a second where the machine can, three of ten write, and some take 2 s in one transaction. */
class Load {
  readonly acknowledged: string[] = [];
  readonly registered: string[] = [];
  readonly outcomes: Outcome[] = [];
  readonly #customers: readonly Customer[];
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  #sent = 0;
  #reading = 0;

  constructor(customers: readonly Customer[]) {
    this.#customers = customers;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - this.#startedMs) / 1_000) * 200;
      while (this.#sent < due && this.#reading < readsMax) this.#next();
    }, 5);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  #next(): void {
    const n = this.#sent;
    this.#sent += 1;
    const customer = this.#customers[(n * 7) % this.#customers.length] as Customer;
    const id = `o${n}`;
    const asked =
      n % 100 === 7
        ? this.#register(`new${n}`, customer.edge)
        : n % 100 === 17
          ? ask({ ...customer, cookie: '', keepsCookies: false }, 'POST', '/session', { account: customer.account })
          : n % 10 >= 3
            ? this.#read(customer)
            : this.#order(customer, { id, ...(n % 50 === 0 ? { seconds: 2 } : {}) });
    const kept = asked.then((outcome) => {
      this.outcomes.push(outcome);
      this.#underWay.delete(kept);
    });
    this.#underWay.add(kept);
  }

  async #read(customer: Customer): Promise<Outcome> {
    this.#reading += 1;
    const outcome = await ask(customer, 'GET', '/orders');
    this.#reading -= 1;
    return outcome;
  }

  async #order(customer: Customer, body: { id: string }): Promise<Outcome> {
    const outcome = await ask(customer, 'POST', '/orders', body);
    if (outcome.status === 200) this.acknowledged.push(body.id);
    return outcome;
  }

  /** A stranger registers, and orders something at once. */
  async #register(account: string, edge: string): Promise<Outcome> {
    const customer: Customer = { account, cookie: '', edge, keepsCookies: true };
    const outcome = await ask(customer, 'POST', '/accounts', { account });
    if (outcome.status !== 200) return outcome;
    this.registered.push(account);
    return this.#order(customer, { id: `first-${account}` });
  }
}

const failed = (load: Load) => load.outcomes.filter(({ status }) => status !== 200);

async function idsIn(dc: string): Promise<string[]> {
  const rows = await runSql<{ id: string }>(
    pair.dc(dc).urls.superuser,
    'SELECT id FROM orders ORDER BY id COLLATE "C"',
  );
  return rows.map(({ id }) => id);
}

test('no request fails while everything goes to the other data center, and when it is handed back', {
  timeout: 90_000,
}, async () => {
  const accounts = Array.from({ length: 40 }, (_, i) => ({ id: `a${i}`, home: i % 4 === 3 ? 'la' : 'ny' }));
  for (const home of pair.names) {
    const ids = accounts.filter((one) => one.home === home).map(({ id }) => id);
    await runSql(pair.dc(home).urls.application, 'INSERT INTO accounts SELECT unnest($1::text[])', [ids]);
  }
  for (const dc of pair.names)
    await expect
      .poll(
        async () =>
          (await runSql(pair.dc(dc).urls.superuser, 'SELECT FROM lanekeeper.deed WHERE account LIKE $1', ['a%']))
            .length,
      )
      .toBe(accounts.length);
  const customers = accounts.map(({ id, home }, i) => customerOf(id, home, i % 2 === 0 ? 'ny' : 'la', i % 3 !== 0));
  const load = new Load(customers);
  const switchOver = async (from: string, to: string, undoes: number | null, term: number) => {
    const answers: unknown[] = [];
    // A gate that closes for a moment, or work that does not end in time, is a reason to try again; nobody may notice that either.
    while (answers.length < 10) {
      const { body } = await agents.call(from, from, { method: 'POST', path: '/v1/switchovers', body: { to, undoes } });
      answers.push(body);
      if (body.kind === 'switched') return expect(body.term).toBe(term);
      await delay(500);
    }
    throw new Error(`not switched: ${JSON.stringify(answers)}`);
  };
  try {
    await delay(3_000);
    await switchOver('ny', 'la', null, 2);
    await delay(4_000);
    await switchOver('la', 'ny', 2, 3);
    await delay(3_000);
  } finally {
    await load.stop();
  }
  expect(failed(load).slice(0, 5)).toEqual([]);
  expect(load.outcomes.length).toBeGreaterThan(400);
  expect(load.registered.length).toBeGreaterThan(3);
  const acknowledged = load.acknowledged.sort();
  expect(acknowledged.length).toBeGreaterThan(100);
  // Cookies that nobody renewed were followed all the same.
  for (const { edge } of sites.values()) {
    const metrics = await (await fetch(`${edge.url}/lanekeeper/metrics`)).text();
    expect(metrics).toMatch(/^lanekeeper_edge_succession_term 3$/m);
    expect(metrics).toMatch(/^lanekeeper_edge_rerouted_total [1-9]/m);
  }
  for (const dc of pair.names) await expect.poll(() => idsIn(dc), { timeout: 10_000 }).toEqual(acknowledged);
});
