/** For the suites of the Fastify plugin and the Express middleware: an application of each in two data centers on real PostgreSQL. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type { Configuration } from 'lanekeeper/config';
import { createKeyRing, type Session, verifySession } from 'lanekeeper/session';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Application, type ApplicationOptions, startExpress, startFastify } from './applications.ts';
import type { Browser, Page } from './browser.ts';
import { type HandAgent, startHandAgent } from './hand-agent.ts';
import { type Shop, startShop } from './shop.ts';

export type Site = {
  readonly configuration: Configuration;
  readonly agent: HandAgent;
  readonly lanekeeper: Lanekeeper;
  readonly pool: pg.Pool;
};

export type Framework = {
  readonly name: string;
  /** One more instance of the application. */
  start(options: ApplicationOptions): Promise<Application>;
  shop(): Shop;
  site(dc: string): Site;
  /** The address of a page of the application in that data center. */
  at(dc: string, path: string): string;
  /** Paths whose handlers were run there, since the test began. */
  handled(dc: string): readonly string[];
  /** Registered there and known everywhere. */
  newAccount(dc: string): Promise<string>;
  /** Ids of the account's orders, as that data center's database has them. */
  ordersOf(dc: string, account: string): Promise<string[]>;
  /** What the browser's cookie says. */
  sessionIn(dc: string, browser: Browser): Session;
};

/** Runs the same tests on both. The agents answer `in-use` unless a test says otherwise. */
export function onEachFramework(tests: (framework: Framework) => void): void {
  let shop: Shop;
  const sites = new Map<string, Site>();
  let accountNumber = 0;

  beforeAll(async () => {
    shop = await startShop();
    for (const dc of shop.pair.names) sites.set(dc, await openSite(shop, dc));
  });
  afterAll(async () => {
    for (const { agent, lanekeeper, pool } of sites.values()) {
      await pool.end();
      await lanekeeper.close();
      await agent.stop();
    }
    await shop?.stop();
  });

  const site = (dc: string): Site => {
    const found = sites.get(dc);
    if (found === undefined) throw new Error(`no site ${dc}`);
    return found;
  };
  const shared = {
    shop: () => shop,
    site,
    async newAccount(dc: string) {
      accountNumber += 1;
      const account = `c${accountNumber}`;
      await shop.register(dc, account);
      return account;
    },
    async ordersOf(dc: string, account: string) {
      const rows = await runSql<{ id: string }>(
        shop.pair.dc(dc).urls.superuser,
        'SELECT id FROM orders WHERE account_id = $1 ORDER BY id',
        [account],
      );
      return rows.map(({ id }) => id);
    },
    sessionIn(dc: string, browser: Browser) {
      const ring = createKeyRing(site(dc).configuration, { env: shop.env(dc) });
      const result = verifySession(ring, browser.sessionCookie ?? '', Date.now());
      if (result.kind !== 'valid') throw new Error(`no valid session: ${result.reason}`);
      return result.session;
    },
  };

  for (const [name, start] of [
    ['Fastify', startFastify],
    ['Express', startExpress],
  ] as const) {
    describe(name, () => {
      const apps = new Map<string, Application>();
      beforeAll(async () => {
        for (const dc of shop.pair.names) apps.set(dc, await start(site(dc)));
      });
      beforeEach(() => {
        for (const { agent } of sites.values()) agent.answer = () => ({ kind: 'in-use', home: null, epoch: null });
        for (const { handled } of apps.values()) handled.length = 0;
      });
      afterAll(async () => {
        for (const app of apps.values()) await app.stop();
      });
      tests({
        ...shared,
        name,
        start,
        at: (dc, path) => `${apps.get(dc)?.url}${path}`,
        handled: (dc) => apps.get(dc)?.handled ?? [],
      });
    });
  }
}

async function openSite(shop: Shop, dc: string): Promise<Site> {
  const agent = await startHandAgent(shop.pair.dc(dc));
  const configuration = shop.pair.configure(dc, (written) => {
    const own = written.dataCenters[dc];
    if (own === undefined) throw new Error(`no data center ${dc}`);
    return { ...written, dataCenters: { ...written.dataCenters, [dc]: { ...own, agents: [agent.url] } } };
  });
  const lanekeeper = await createLanekeeper({ config: configuration, env: shop.env(dc) });
  return { configuration, agent, lanekeeper, pool: lanekeeper.pool({ max: 10 }) };
}

/** Nothing was done, and the edge is to repeat the request in `to` (R6). */
export function expectReplay(page: Page, from: string, to: string): void {
  expect(page.status).toBe(409);
  expect(page.headers['lanekeeper-replay']).toMatch(new RegExp(`^dc=${to}; term=\\d+$`));
  expect(page.headers['lanekeeper-data-center']).toBe(from);
  expect(Number(page.headers['retry-after'])).toBeGreaterThan(0);
  expect(page.json.error).toMatchObject({ code: 'LK_WRONG_HOME', dataCenter: from, home: to });
  expect(page.json.error.retryAfterMs).toBeGreaterThan(0);
  expect(page.json.error.requestId).toMatch(/./);
}
