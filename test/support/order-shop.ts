/**
 * A small shop of orders in two data centers, whole: clusters, agents, applications on the SDK, edges, and customers who come through
 * the edges. Agents may be processes that can be killed; the rest is in this one.
 */
import http from 'node:http';
import { freePort, type LeashedProcess } from '@lanekeeper/lab';
import { type Edge, startEdge } from '@lanekeeper/server/edge';
import fastify, { type FastifyInstance } from 'fastify';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type { WrittenConfiguration } from 'lanekeeper/config';
import fastifyLanekeeper from 'lanekeeper/fastify';
import { createKeyRing, issueSession, newSessionId } from 'lanekeeper/session';
import type pg from 'pg';
import { type TestAgents, testAgents } from './agents.ts';
import { applyPair } from './applied.ts';
import { runSql } from './clusters.ts';
import { startLink, type TestLink } from './edges.ts';
import { type TestPair, testPair } from './pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO lanekeeper_application;`;

export type Site = {
  readonly app: FastifyInstance;
  readonly lanekeeper: Lanekeeper;
  readonly pool: pg.Pool;
  readonly edge: Edge;
  /** The way of other edges to this one. */
  readonly way: TestLink;
  /** Null when it runs in this process. */
  readonly agent: LeashedProcess | null;
};

export type Customer = {
  readonly account: string;
  cookie: string;
  /** The data center to whose edge he comes. */
  readonly edge: string;
  readonly keepsCookies: boolean;
};

/** `status` 0: no answer. */
export type Outcome = {
  readonly what: string;
  readonly status: number;
  readonly body: string;
  readonly tookMs: number;
};

export type OrderShop = {
  readonly pair: TestPair;
  readonly agents: TestAgents;
  site(dc: string): Site;
  /** Creates accounts at a data center and waits until all know them. */
  born(dc: string, ids: readonly string[]): Promise<void>;
  /** With a session of the first term. */
  customer(account: string, home: string, edge: string, keepsCookies: boolean): Customer;
  ask(customer: Customer, method: string, path: string, body?: Record<string, unknown>): Promise<Outcome>;
  orders(dc: string): Promise<string[]>;
  /** As if the power went: database, agent, application and edge. */
  kill(dc: string): Promise<void>;
  stop(): Promise<void>;
};

export type OrderShopSettings = {
  readonly approach?: WrittenConfiguration['approach'];
  readonly moves?: WrittenConfiguration['moves'];
  readonly lease?: Pick<WrittenConfiguration['leases'], 'ttl' | 'renewEvery' | 'skew'>;
  readonly delayMs?: number;
  /** Agents as processes, which takes a build. Default: in this process. */
  readonly spawn?: boolean;
};

type Addresses = { readonly way: TestLink; readonly application: number };

export async function startOrderShop(settings: OrderShopSettings = {}): Promise<OrderShop> {
  const { approach, moves, delayMs = 0, spawn = false } = settings;
  const pair = await testPair({
    schema,
    ...(delayMs > 0 ? { link: { delayMs } } : {}),
    configuration: {
      ...(approach === undefined ? {} : { approach }),
      ...(moves === undefined ? {} : { moves }),
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        orders: { class: 'system-of-record', account: 'account_id' },
      },
    },
  });
  const sites = new Map<string, Site>();
  const stops: (() => Promise<unknown>)[] = [() => pair.stop()];
  const stop = async (): Promise<void> => {
    for (const one of stops.splice(0).reverse()) await one();
  };
  try {
    await applyPair(pair);
    const addresses = new Map<string, Addresses>();
    for (const dc of pair.names) {
      const way = await startLink();
      stops.push(way.stop);
      addresses.set(dc, { way, application: await freePort('127.0.0.1') });
    }
    const agents = await testAgents(pair, {
      change: (written) => {
        for (const [name, dc] of Object.entries(written.dataCenters)) {
          const own = addresses.get(name) as Addresses;
          dc.edge = own.way.url;
          dc.applications = [`http://127.0.0.1:${own.application}`];
        }
        return { ...written, leases: { ...written.leases, ...settings.lease } };
      },
    });
    stops.push(() => agents.stop());
    for (const dc of pair.names) {
      const agent = spawn ? await agents.spawn(dc) : null;
      if (agent === null) await agents.start(dc);
      else stops.push(() => killed(agent));
      const site = await startSite(pair, agents, dc, addresses.get(dc) as Addresses);
      sites.set(dc, { ...site, agent });
      stops.push(() => closeSite(site));
    }
    await agents.untilReady(...pair.names);
    const browsers = new http.Agent({ keepAlive: true, maxSockets: 400 });
    stops.push(async () => browsers.destroy());
    return shopOf(pair, agents, sites, browsers, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

function shopOf(
  pair: TestPair,
  agents: TestAgents,
  sites: Map<string, Site>,
  browsers: http.Agent,
  stop: () => Promise<void>,
): OrderShop {
  const site = (dc: string) => sites.get(dc) as Site;
  return {
    pair,
    agents,
    site,
    async born(dc, ids) {
      const { homes } = pair.dc(dc).configuration;
      await runSql(pair.dc(dc).urls.application, 'INSERT INTO accounts SELECT unnest($1::text[])', [ids]);
      for (const name of pair.names) {
        const known = async () =>
          await runSql(
            pair.dc(name).urls.superuser,
            `SELECT FROM accounts a JOIN lanekeeper.deed d ON d.account = ${homes === 'single' ? "'*'" : 'a.id'} WHERE a.id = ANY ($1)`,
            [ids],
          );
        for (let attempt = 0; (await known()).length < ids.length; attempt += 1) {
          if (attempt > 400) throw new Error(`${name} does not hear of ${ids.length} accounts`);
          await new Promise((resolve) => setTimeout(resolve, 25));
        }
      }
    },
    customer(account, home, edge, keepsCookies) {
      const ring = createKeyRing(agents.configuration(home), { env: pair.dc(home).env });
      const session = { id: newSessionId(), account, guest: null, home, epoch: { term: 1, counter: 0 } };
      const token = issueSession(ring, session, { nowMs: Date.now(), maxAgeMs: 3_600_000 });
      return { account, cookie: `__Secure-lanekeeper=${token}`, edge, keepsCookies };
    },
    ask: (customer, method, path, body) => ask(browsers, site(customer.edge).edge.url, customer, method, path, body),
    async orders(dc) {
      const text = 'SELECT id FROM orders ORDER BY id COLLATE "C"';
      return (await runSql<{ id: string }>(pair.dc(dc).urls.superuser, text)).map(({ id }) => id);
    },
    async kill(dc) {
      const { agent, edge, app, way } = site(dc);
      if (agent === null) throw new Error(`The agent of ${dc} cannot be killed: start it as a process.`);
      // Nobody shall hear of it by an orderly farewell.
      await way.cut();
      await Promise.all([pair.dc(dc).cluster.kill(), killed(agent), edge.close(), app.close()]);
    },
    stop,
  };
}

async function killed(agent: LeashedProcess): Promise<void> {
  agent.signal('SIGKILL');
  await agent.exited;
}

async function closeSite({ edge, app, pool, lanekeeper }: Omit<Site, 'agent'>): Promise<void> {
  await edge.close();
  await app.close();
  await pool.end();
  await lanekeeper.close();
}

async function startSite(
  pair: TestPair,
  agents: TestAgents,
  dc: string,
  { way, application }: Addresses,
): Promise<Omit<Site, 'agent'>> {
  const configuration = agents.configuration(dc);
  const env = { ...pair.dc(dc).env, DATABASE_URL: pair.dc(dc).urls.application };
  const lanekeeper = await createLanekeeper({ config: configuration, env });
  const pool = lanekeeper.pool({ max: 20 });
  pool.on('error', () => {});
  // A connection lost in use: the query that meets it is told as well, and without a listener the process would end.
  pool.on('connect', (client) => client.on('error', () => {}));
  const app = fastify({ forceCloseConnections: true });
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
  await app.listen({ host: '127.0.0.1', port: application });
  const edge = await startEdge({
    configuration,
    keys: createKeyRing(configuration, { env }),
    host: '127.0.0.1',
    limits: { drainMs: 500 },
  });
  way.target = edge.url;
  return { app, lanekeeper, pool, edge, way };
}

function ask(
  agent: http.Agent,
  url: string,
  customer: Customer,
  method: string,
  path: string,
  body?: Record<string, unknown>,
): Promise<Outcome> {
  const { hostname, port } = new URL(url);
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
        agent,
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
