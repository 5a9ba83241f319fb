/** What happens to requests, on Fastify and on Express: where they are served, who waits for whom, what a refusal says. */
import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { Browser, type Page } from './browser.ts';
import { expectReplay, onEachFramework } from './frameworks.ts';
import { until } from './shop.ts';

onEachFramework(({ name, start, shop, site, at, handled, newAccount, ordersOf, sessionIn }) => {
  test('every response says where it comes from, whatever it is', async () => {
    const browser = new Browser();
    for (const path of ['/who', '/stream', '/fails', '/no-such-page']) {
      const page = await browser.get(at('la', path));
      expect(page.headers['lanekeeper-data-center'], path).toBe('la');
    }
    expect((await browser.get(at('la', '/fails'))).status).toBe(500);
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

  test('a request in flight is finished, one that comes meanwhile waits and follows the account', async () => {
    const account = await newAccount('ny');
    const browser = new Browser();
    await browser.post(at('ny', '/sign-in'), { account });
    const slow = browser.post(at('ny', '/two-orders'), { id: `s-${account}`, account, pauseMs: '250' });
    await until('the slow request', () => handled('ny').includes('/two-orders'));
    let late: Promise<Page> | undefined;
    const moved = shop().move(account, 'la', {
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
    await shop().move(account, 'la', {
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
    const agentUrl = shop().pair.dc('ny').urls.agent;
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
    const superuser = shop().pair.dc('ny').urls.superuser;
    const lock = await site('ny').pool.connect();
    await lock.query('BEGIN; LOCK TABLE orders IN SHARE MODE');
    try {
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
        const waiting = "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO orders%'";
        return (await runSql(superuser, `SELECT FROM pg_stat_activity WHERE ${waiting}`)).length > 0;
      });
      hungUp.destroy();
      await delay(50);
      const steps: string[] = [];
      const moved = shop().move(account, 'la', { at: (step) => void steps.push(step) });
      await until('the drain', () => steps.length > 0);
      await delay(100);
      expect(steps).toEqual(['draining']);
      await lock.query('COMMIT');
      await moved;
    } finally {
      await lock.query('ROLLBACK');
      lock.release();
    }
    expect(await ordersOf('la', account)).toEqual([`u-${account}`]);
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
          : browser.post(at('ny', '/orders'), { id: `k-${name}-${i}` });
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
      expect(page.headers['lanekeeper-replay']).toBe('dc=la; term=1');
    } finally {
      await own.stop();
    }
  });
});
