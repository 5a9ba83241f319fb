/** Sessions on Fastify and on Express: signing in and out, guests, cookies that are behind, handing over to another host. */
import fc from 'fast-check';
import { createLanekeeper } from 'lanekeeper';
import { createKeyRing, mintHandoff, newSessionId, type Session } from 'lanekeeper/session';
import { expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { Browser } from './browser.ts';
import { expectReplay, onEachFramework } from './frameworks.ts';
import { until } from './shop.ts';

onEachFramework(({ name, start, shop, site, at, newAccount, sessionIn }) => {
  test('registering signs in; the session is known in the other data center; signing out ends it', async () => {
    const browser = new Browser();
    const registered = await browser.post(at('ny', '/register'), { account: `r-${name}` });
    expect(registered.json).toMatchObject({ account: `r-${name}`, home: 'ny' });
    expect(registered.headers['set-cookie']).toHaveLength(2);
    expect(registered.headers['set-cookie']?.[0]).toBe('theme=dark');
    expect(registered.headers['set-cookie']?.[1]).toMatch(
      /^__Secure-lanekeeper=.+; Domain=shop\.localhost; .*HttpOnly; Secure; SameSite=Lax$/,
    );
    const elsewhere = await browser.get(at('la', '/who'));
    expect(elsewhere.json).toMatchObject({ account: `r-${name}`, home: 'ny', dataCenter: 'la', same: true });
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
      await shop().move(account, 'ny');
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
      const url = shop().pair.dc(dc).urls.superuser;
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
    const guest = `g-${name}`;
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

  test('a cookie that is behind the deed is issued anew, also with a read', async () => {
    const account = await newAccount('ny');
    const browser = new Browser();
    await browser.post(at('ny', '/sign-in'), { account });
    const id = sessionIn('ny', browser).id;
    await shop().move(account, 'la');
    expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account, home: 'la', dataCenter: 'ny' });
    expect(sessionIn('ny', browser)).toMatchObject({ id, account, home: 'la', epoch: { term: 1, counter: 1 } });
    const again = await browser.get(at('ny', '/who'));
    expect(again.headers['set-cookie']).toEqual(['theme=dark']);
  });

  test('a session is handed over to a host of another domain, once in all instances', async () => {
    const account = await newAccount('ny');
    const ring = createKeyRing(site('la').configuration, { env: shop().env('la') });
    const session: Session = {
      id: newSessionId(),
      account,
      guest: null,
      bookmark: null,
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
    const second = await createLanekeeper({ config: site('ny').configuration, env: shop().env('ny') });
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
    const ring = createKeyRing(site('la').configuration, { env: shop().env('la') });
    const session = { ...sessionIn('ny', browser), account: theirs };
    await browser.get(at('ny', `/who?lanekeeper-handoff=${mintHandoff(ring, session, 'ny', Date.now())}`));
    expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account: mine });
  });

  test('whatever else stands in the cookie is nobody, and no error', async () => {
    const account = await newAccount('ny');
    const browser = new Browser();
    await browser.post(at('ny', '/sign-in'), { account });
    const valid = browser.sessionCookie ?? '';
    const mangled = fc.oneof(
      fc.nat(valid.length - 1).map((length) => valid.slice(0, length)),
      fc
        .tuple(fc.nat(valid.length - 1), fc.constantFrom('A', 'b', '_', '.', '%', '"'))
        .filter(([index, letter]) => valid[index] !== letter)
        .map(([index, letter]) => valid.slice(0, index) + letter + valid.slice(index + 1)),
      fc.string({ unit: fc.constantFrom(...'abcXYZ019-_.=%"{}[]'), maxLength: 6_000 }),
    );
    await fc.assert(
      fc.asyncProperty(mangled, async (cookie) => {
        const stranger = new Browser();
        stranger.cookies.set('__Secure-lanekeeper', cookie);
        const page = await stranger.get(at('ny', '/who'));
        expect([page.status, page.json.account]).toEqual([200, null]);
        expect((await stranger.get(at('ny', `/who?lanekeeper-handoff=${encodeURI(cookie)}`))).status).toBe(303);
        expect(stranger.sessionCookie).toBe(cookie);
      }),
      { numRuns: 60 },
    );
  });

  test('two session cookies are nobody, and both are taken away', async () => {
    const account = await newAccount('ny');
    const browser = new Browser();
    await browser.post(at('ny', '/sign-in'), { account });
    browser.cookies.set('lanekeeper', browser.sessionCookie ?? '');
    expect((await browser.get(at('ny', '/who'))).json).toMatchObject({ account: null });
    expect(browser.sessionCookie).toBeUndefined();
  });
});
