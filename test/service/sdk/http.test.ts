/** The Fastify plugin and the Express middleware under one suite, in two data centers on real PostgreSQL. */
import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type { Configuration } from 'lanekeeper/config';
import { createKeyRing, mintHandoff, newSessionId, type Session, verifySession } from 'lanekeeper/session';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Application, startExpress, startFastify } from './applications.ts';
import { Browser, type Page } from './browser.ts';
import { type HandAgent, startHandAgent } from './hand-agent.ts';
import { type Shop, startShop, until } from './shop.ts';

type Site = {
  readonly configuration: Configuration;
  readonly agent: HandAgent;
  readonly lanekeeper: Lanekeeper;
  readonly pool: pg.Pool;
};

let shop: Shop;
const sites = new Map<string, Site>();
let accountNumber = 0;

beforeAll(async () => {
  shop = await startShop();
  for (const dc of shop.pair.names) {
    const agent = await startHandAgent(shop.pair.dc(dc));
    const configuration = shop.pair.configure(dc, (written) => {
      const own = written.dataCenters[dc];
      if (own === undefined) throw new Error('unreachable');
      return { ...written, dataCenters: { ...written.dataCenters, [dc]: { ...own, agents: [agent.url] } } };
    });
    const lanekeeper = await createLanekeeper({ config: configuration, env: shop.env(dc) });
    sites.set(dc, { configuration, agent, lanekeeper, pool: lanekeeper.pool({ max: 10 }) });
  }
});
afterAll(async () => {
  for (const { agent, lanekeeper, pool } of sites.values()) {
    await pool.end();
    await lanekeeper.close();
    await agent.stop();
  }
  await shop?.stop();
});

function site(dc: string): Site {
  const found = sites.get(dc);
  if (found === undefined) throw new Error(`no site ${dc}`);
  return found;
}

async function newAccount(dc: string): Promise<string> {
  accountNumber += 1;
  const account = `c${accountNumber}`;
  await shop.register(dc, account);
  return account;
}

async function ordersOf(dc: string, account: string): Promise<string[]> {
  const rows = await runSql<{ id: string }>(
    shop.pair.dc(dc).urls.superuser,
    'SELECT id FROM orders WHERE account_id = $1 ORDER BY id',
    [account],
  );
  return rows.map(({ id }) => id);
}

function sessionIn(dc: string, browser: Browser): Session {
  const ring = createKeyRing(site(dc).configuration, { env: shop.env(dc) });
  const result = verifySession(ring, browser.sessionCookie ?? '', Date.now());
  if (result.kind !== 'valid') throw new Error(`no valid session: ${result.reason}`);
  return result.session;
}

function expectReplay(page: Page, from: string, to: string): void {
  expect(page.status).toBe(409);
  expect(page.headers['lanekeeper-replay']).toBe(`dc=${to}`);
  expect(page.headers['lanekeeper-data-center']).toBe(from);
  expect(Number(page.headers['retry-after'])).toBeGreaterThan(0);
  expect(page.json.error).toMatchObject({ code: 'LK_WRONG_HOME', dataCenter: from, home: to });
  expect(page.json.error.retryAfterMs).toBeGreaterThan(0);
  expect(page.json.error.requestId).toMatch(/./);
}

for (const [framework, start] of [
  ['Fastify', startFastify],
  ['Express', startExpress],
] as const) {
  describe(framework, () => {
    const apps = new Map<string, Application>();
    const at = (dc: string, path: string) => `${apps.get(dc)?.url}${path}`;
    const handled = (dc: string) => apps.get(dc)?.handled ?? [];

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

    test('every response says where it comes from, whatever it is', async () => {
      const browser = new Browser();
      for (const path of ['/who', '/stream', '/fails', '/no-such-page']) {
        const page = await browser.get(at('la', path));
        expect(page.headers['lanekeeper-data-center'], path).toBe('la');
      }
      expect((await browser.get(at('la', '/fails'))).status).toBe(500);
    });

    test('registering signs in; the session is known in the other data center; signing out ends it', async () => {
      const browser = new Browser();
      const registered = await browser.post(at('ny', '/register'), { account: `r-${framework}` });
      expect(registered.json).toMatchObject({ account: `r-${framework}`, home: 'ny' });
      expect(registered.headers['set-cookie']).toHaveLength(2);
      expect(registered.headers['set-cookie']?.[0]).toBe('theme=dark');
      expect(registered.headers['set-cookie']?.[1]).toMatch(
        /^__Secure-lanekeeper=.+; Domain=shop\.localhost; .*HttpOnly; Secure; SameSite=Lax$/,
      );
      const elsewhere = await browser.get(at('la', '/who'));
      expect(elsewhere.json).toMatchObject({ account: `r-${framework}`, home: 'ny', dataCenter: 'la', same: true });
      await browser.post(at('ny', '/sign-out'));
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account: null, home: null });
    });

    test('every sign-in has a new session id', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const first = sessionIn('ny', browser);
      await browser.post(at('ny', '/sign-in'), { account });
      const second = sessionIn('ny', browser);
      expect(second.id).not.toBe(first.id);
      expect(second).toMatchObject({ account, home: 'ny', epoch: { term: 1, counter: 0 } });
    });

    test('a write of an account homed elsewhere is sent there before the handler runs; a read is served', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const refused = await browser.post(at('la', '/orders'), { id: `w-${account}` });
      expectReplay(refused, 'la', 'ny');
      expect(handled('la')).toEqual([]);
      expect((await browser.get(at('la', '/who'))).json).toMatchObject({ account });
      expect((await browser.post(at('ny', '/orders'), { id: `w-${account}` })).status).toBe(200);
      expect(await ordersOf('ny', account)).toEqual([`w-${account}`]);
    });

    test('a refusal in the middle of a handler is 409; it is sent on only where the route allows it', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      const body = { id: 'x', account };
      for (const path of ['/orders-of', '/wrapped']) {
        const page = await browser.post(at('la', path), body, { 'x-request-id': 'request-7' });
        expect(page.status, path).toBe(409);
        expect(page.json.error).toMatchObject({ code: 'LK_WRONG_HOME', home: 'ny', requestId: 'request-7' });
        expect(page.headers['retry-after']).toBe('1');
        expect(page.headers['lanekeeper-replay']).toBeUndefined();
      }
      expectReplay(await browser.post(at('la', '/replayable-orders-of'), body), 'la', 'ny');
      expect(await ordersOf('la', account)).toEqual([]);
    });

    test('work for another account is bound to that account, sent on before it starts, never after work was done', async () => {
      const [here, there] = [await newAccount('ny'), await newAccount('la')];
      const browser = new Browser();
      expect((await browser.post(at('ny', '/for'), { id: `f-${here}`, account: here })).status).toBe(200);
      expectReplay(await browser.post(at('ny', '/for'), { id: 'x', account: there }), 'ny', 'la');
      const half = await browser.post(at('ny', '/for-two'), { id: `h-${here}`, first: here, second: there });
      expect(half.status).toBe(409);
      expect(half.json.error).toMatchObject({ code: 'LK_WRONG_HOME', home: 'la' });
      expect(half.headers['lanekeeper-replay']).toBeUndefined();
      const unknown = await browser.post(at('ny', '/for'), { id: 'x', account: 'nobody' });
      expect(unknown.json.error).toMatchObject({ code: 'LK_UNKNOWN_ACCOUNT', home: null });
      const swallowed = await browser.post(at('ny', '/swallows'), { account: there });
      expect(swallowed.status).toBe(200);
      expect(swallowed.headers['lanekeeper-replay']).toBeUndefined();
    });

    test("a route that finds out itself for whom it works does not go by the session's home", async () => {
      const [own, customers, third] = [await newAccount('ny'), await newAccount('la'), await newAccount('ny')];
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account: own });
      const body = { id: `d-${customers}`, account: customers };
      expectReplay(await browser.post(at('la', '/for'), body), 'la', 'ny');
      expect((await browser.post(at('la', '/desk'), body)).status).toBe(200);
      expect(await ordersOf('la', customers)).toEqual([`d-${customers}`]);
      expectReplay(await browser.post(at('la', '/desk'), { id: 'x', account: third }), 'la', 'ny');
    });

    test('sign-in of an account in use elsewhere is sent there, with nothing done', async () => {
      const account = await newAccount('la');
      const browser = new Browser();
      site('ny').agent.requests.length = 0;
      expectReplay(await browser.post(at('ny', '/sign-in'), { account }), 'ny', 'la');
      expect(browser.sessionCookie).toBeUndefined();
      expect(site('ny').agent.requests).toMatchObject([
        { method: 'POST', path: '/v1/moves', body: { account, to: 'ny', ifIdle: true } },
      ]);
      expect(Number(site('ny').agent.requests[0]?.body.waitMs)).toBeLessThanOrEqual(300);
    });

    test('sign-in of an idle account moves it here', async () => {
      const account = await newAccount('la');
      const browser = new Browser();
      site('ny').agent.answer = async () => {
        await shop.move(account, 'ny');
        return { kind: 'moved', home: 'ny', epoch: { term: 1, counter: 1 } };
      };
      const page = await browser.post(at('ny', '/sign-in'), { account });
      // On a busy machine the move by hand takes longer than a sign-in waits; then it is routed, and finds the account here.
      if (page.status === 409) {
        await until('the move', async () => {
          const where = await site('ny').lanekeeper.whereIs(account);
          return where?.home === 'ny' && where.accepted;
        });
        expect((await browser.post(at('ny', '/sign-in'), { account })).status).toBe(200);
      }
      expect(sessionIn('ny', browser)).toMatchObject({ account, home: 'ny', epoch: { term: 1, counter: 1 } });
      expect((await browser.post(at('ny', '/orders'), { id: `m-${account}` })).status).toBe(200);
    });

    test('sign-in never waits long for a move: an agent that says nothing means routing', async () => {
      const account = await newAccount('la');
      site('ny').agent.answer = () => null;
      const startedMs = performance.now();
      expectReplay(await new Browser().post(at('ny', '/sign-in'), { account }), 'ny', 'la');
      const tookMs = performance.now() - startedMs;
      expect(tookMs).toBeGreaterThan(200);
      expect(tookMs).toBeLessThan(1_500);
    });

    test('whoever signs in or writes is in use, where he does it; a read is no use', async () => {
      const account = await newAccount('ny');
      const used = async (dc: string) => {
        const url = shop.pair.dc(dc).urls.superuser;
        const rows = await runSql(url, 'SELECT FROM lanekeeper.activity WHERE account = $1', [account]);
        return rows.length === 1;
      };
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      await until('the activity', () => used('ny'));
      await browser.get(at('la', '/who'));
      await browser.post(at('la', '/orders'), { id: 'x' });
      expect(await used('la')).toBe(false);
    });

    test('sign-in of an account that nobody knows is refused', async () => {
      const page = await new Browser().post(at('ny', '/sign-in'), { account: 'stranger' });
      expect(page.status).toBe(409);
      expect(page.json.error).toMatchObject({ code: 'LK_UNKNOWN_ACCOUNT' });
    });

    test('a guest has an account of his own, which stays known after he signs in', async () => {
      const account = await newAccount('ny');
      const guest = `g-${framework}`;
      const browser = new Browser();
      expect((await browser.post(at('ny', '/guest'), { account: guest })).json).toMatchObject({
        account: null,
        guest,
        home: 'ny',
      });
      const signedIn = await browser.post(at('ny', '/sign-in'), { account });
      expect(signedIn.json).toMatchObject({ account, guest });
      await browser.post(at('ny', '/forget-guest'));
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account, guest: null });
    });

    test('a request in flight is finished, one that comes meanwhile waits and follows the account', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const slow = browser.post(at('ny', '/two-orders'), { id: `s-${account}`, account, pauseMs: '250' });
      await until('the slow request', () => handled('ny').includes('/two-orders'));
      let late: Promise<Page> | undefined;
      const moved = shop.move(account, 'la', {
        at: async (step) => {
          if (step !== 'draining') return;
          // The notification reaches the application on its way of its own.
          await delay(50);
          late = browser.post(at('ny', '/orders'), { id: `l-${account}` });
        },
      });
      expect((await slow).status).toBe(200);
      await moved;
      expect(late).toBeDefined();
      expectReplay((await late) as Page, 'ny', 'la');
      expect(handled('ny').filter((path) => path === '/orders')).toEqual([]);
      expect(await ordersOf('la', account)).toEqual([`s-${account}-1`, `s-${account}-2`]);
      const follows = await browser.post(at('la', '/orders'), { id: `l-${account}` });
      expect(follows.status).toBe(200);
      expect(sessionIn('la', browser)).toMatchObject({ home: 'la', epoch: { term: 1, counter: 1 } });
    });

    test('a request sent after the account waits for data that are still on the way', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      let early: Promise<Page> | undefined;
      await shop.move(account, 'la', {
        at: async (step) => {
          if (step === 'drained') {
            early = browser.post(at('la', '/orders'), { id: `e-${account}` }, { 'lanekeeper-hops': '1' });
            await delay(50);
          }
        },
      });
      expect((await early)?.status).toBe(200);
      expect(await ordersOf('la', account)).toEqual([`e-${account}`]);
    });

    test('when a move is given up, whoever waited is served here', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const agentUrl = shop.pair.dc('ny').urls.agent;
      const [begun] = await runSql<{ move: string }>(agentUrl, "SELECT lanekeeper.begin_drain($1, 'la', $2) AS move", [
        account,
        Date.now() + 5_000,
      ]);
      await delay(50);
      let answered = false;
      const waiting = browser.post(at('ny', '/orders'), { id: `b-${account}` }).finally(() => {
        answered = true;
      });
      await delay(150);
      expect(answered).toBe(false);
      await runSql(agentUrl, 'SELECT lanekeeper.end_drain($1)', [begun?.move]);
      expect((await waiting).status).toBe(200);
    });

    test('a customer who hangs up is in flight until his transaction has ended', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const blocker = await site('la').pool.connect();
      blocker.release();
      const holder = site('ny').pool;
      const lock = await holder.connect();
      await lock.query('BEGIN');
      await lock.query('LOCK TABLE orders IN SHARE MODE');
      const hungUp = httpRequest(at('ny', '/orders'), {
        method: 'POST',
        agent: false,
        headers: {
          host: 'ny.shop.localhost',
          cookie: `__Secure-lanekeeper=${browser.sessionCookie}`,
          'content-type': 'application/json',
        },
      });
      hungUp.on('error', () => {});
      hungUp.end(JSON.stringify({ id: `u-${account}` }));
      await until('the blocked insert', async () => {
        const rows = await runSql(
          shop.pair.dc('ny').urls.superuser,
          "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO orders%'",
        );
        return rows.length > 0;
      });
      hungUp.destroy();
      await delay(50);
      const steps: string[] = [];
      const moved = shop.move(account, 'la', { at: (step) => void steps.push(step) });
      await delay(150);
      expect(steps).toEqual(['draining']);
      await lock.query('COMMIT');
      lock.release();
      await moved;
      expect(await ordersOf('la', account)).toEqual([`u-${account}`]);
    });

    test('a cookie that is behind the deed is issued anew, also with a read', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      const id = sessionIn('ny', browser).id;
      await shop.move(account, 'la');
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account, home: 'la', dataCenter: 'ny' });
      expect(sessionIn('ny', browser)).toMatchObject({ id, account, home: 'la', epoch: { term: 1, counter: 1 } });
      const again = await browser.get(at('ny', '/who'));
      expect(again.headers['set-cookie']).toEqual(['theme=dark']);
    });

    test('a session is handed over to a host of another domain, once in all instances', async () => {
      const account = await newAccount('ny');
      const ring = createKeyRing(site('la').configuration, { env: shop.env('la') });
      const session: Session = {
        id: newSessionId(),
        account,
        guest: null,
        home: 'ny',
        epoch: { term: 1, counter: 0 },
        issuer: 'la',
        issuedAtMs: Date.now(),
        expiresAtMs: Date.now() + 60_000,
      };
      const target = `/who?a=1&lanekeeper-handoff=${mintHandoff(ring, session, 'ny', Date.now())}&b=2`;
      const browser = new Browser('shop-ny.example');
      const arrived = await browser.get(at('ny', target));
      expect(arrived.status).toBe(303);
      expect(arrived.headers.location).toBe('/who?a=1&b=2');
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account, home: 'ny' });
      const second = await createLanekeeper({ config: site('ny').configuration, env: shop.env('ny') });
      const instance = await start({ lanekeeper: second, pool: site('ny').pool });
      try {
        for (const url of [at('ny', target), `${instance.url}${target}`]) {
          const thief = new Browser('shop-ny.example');
          expect((await thief.get(url)).status).toBe(303);
          expect(thief.sessionCookie).toBeUndefined();
        }
        const posted = await new Browser().post(at('ny', target.replace('/who', '/orders')), { id: 'x' });
        expect(posted.status).toBe(307);
        expect(posted.headers.location).toBe('/orders?a=1&b=2');
      } finally {
        await instance.stop();
        await second.close();
      }
    });

    test("somebody else's handoff does not sign a customer out", async () => {
      const [mine, theirs] = [await newAccount('ny'), await newAccount('ny')];
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account: mine });
      const ring = createKeyRing(site('la').configuration, { env: shop.env('la') });
      const session = { ...sessionIn('ny', browser), account: theirs };
      await browser.get(at('ny', `/who?lanekeeper-handoff=${mintHandoff(ring, session, 'ny', Date.now())}`));
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account: mine });
    });

    test('two session cookies are nobody, and both are taken away', async () => {
      const account = await newAccount('ny');
      const browser = new Browser();
      await browser.post(at('ny', '/sign-in'), { account });
      browser.cookies.set('lanekeeper', browser.sessionCookie ?? '');
      expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account: null });
      expect(browser.sessionCookie).toBeUndefined();
    });

    test('a stream is not held back', async () => {
      const arrivals: number[] = [];
      await new Promise<void>((resolve, reject) => {
        httpRequest(at('ny', '/stream'), { agent: false }, (response) => {
          response.on('data', () => arrivals.push(performance.now()));
          response.on('end', resolve);
        })
          .on('error', reject)
          .end();
      });
      expect(arrivals).toHaveLength(3);
      expect((arrivals[2] as number) - (arrivals[0] as number)).toBeGreaterThan(80);
    });

    test('concurrent requests keep their accounts apart', async () => {
      const accounts = await Promise.all(Array.from({ length: 8 }, () => newAccount('ny')));
      const browsers = await Promise.all(
        accounts.map(async (account) => {
          const browser = new Browser();
          await browser.post(at('ny', '/sign-in'), { account });
          return browser;
        }),
      );
      const pages = await Promise.all(
        Array.from({ length: 80 }, (_, i) => {
          const browser = browsers[i % 8] as Browser;
          return i % 2 === 0
            ? browser.get(at('ny', '/who'))
            : browser.post(at('ny', '/orders'), { id: `k-${framework}-${i}` });
        }),
      );
      for (const [i, page] of pages.entries()) expect(page.json, page.text).toMatchObject({ account: accounts[i % 8] });
      for (const [i, account] of accounts.entries()) {
        const expected = Array.from({ length: 80 }, (_, n) => n).filter((n) => n % 2 === 1 && n % 8 === i);
        expect((await ordersOf('ny', account)).length).toBe(expected.length);
      }
    });

    test("an application's own error pages keep the headers that matter", async () => {
      const account = await newAccount('la');
      const own = await start({ ...site('ny'), ownErrorPages: true });
      try {
        const page = await new Browser().post(`${own.url}/sign-in`, { account });
        expect(page.text).toMatch(/^<h1>/);
        expect(page.headers['lanekeeper-replay']).toBe('dc=la');
      } finally {
        await own.stop();
      }
    });
  });
}
