/**
 * One shop, two coasts: who is sent where, what comes along, and what is said when it cannot be done. The approaches differ in who
 * serves; and with one home for all accounts nothing has to come along, and nobody has to be asked whether an address is free.
 */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { lease } from '../../support/applied.ts';
import { deedOf, homeOf, oneHome, routing, servedBy } from '../../support/approach.ts';
import { far, type Side, sides } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import { Shopper } from './shopper.ts';
import { deskPassphrase, startTwoCoasts, type TwoCoasts } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let coasts: TwoCoasts;
beforeAll(async () => {
  coasts = await startTwoCoasts();
});
afterAll(() => coasts?.stop());

const password = 'correct horse';
let customers = 0;

async function registered(dc: Side): Promise<{ shopper: Shopper; email: string; id: string }> {
  customers += 1;
  const email = `c${customers}@example.com`;
  const shopper = new Shopper(coasts);
  const answer = await shopper.post(dc, '/register', { email, password });
  expect(answer.status, answer.body).toBe(201);
  const { id } = answer.json.account;
  for (const name of sides) await arrived(id, name);
  return { shopper, email, id };
}

async function arrived(account: string, dc: Side): Promise<void> {
  await until(`${account} is known in ${dc}`, async () => {
    const known = 'SELECT FROM accounts, lanekeeper.deed WHERE id = $1 AND account = $2';
    return (await coasts.rows(dc, known, [account, deedOf(account)])).length === 1;
  });
}

async function deedSays(account: string, seenFrom: Side = 'ny'): Promise<unknown> {
  const sql = 'SELECT home FROM lanekeeper.deed WHERE account = $1';
  return (await coasts.rows(seenFrom, sql, [deedOf(account)]))[0]?.home;
}

/** Where the rows of somebody's cart were written, by the numbers that they drew there. */
async function cartWrittenIn(account: string, seenFrom: Side): Promise<unknown[]> {
  const sql = 'SELECT l.id FROM cart_lines l JOIN carts c ON c.id = cart_id WHERE account_id = $1';
  const lines = await coasts.rows<{ id: string }>(seenFrom, sql, [account]);
  return lines.map(({ id }) => [null, ...sides][Number(id) % 8]);
}

async function guestOf(sku: string, dc: Side): Promise<string> {
  const [row] = await coasts.rows<{ account_id: string }>(
    dc,
    'SELECT account_id FROM carts JOIN cart_lines ON cart_id = carts.id JOIN accounts a ON a.id = account_id WHERE sku = $1 AND a.email IS NULL',
    [sku],
  );
  return row!.account_id;
}

/** As if nobody had used it for half an hour. */
async function forgetUse(account: string): Promise<void> {
  for (const dc of sides) {
    await coasts.rows(dc, 'DELETE FROM lanekeeper.activity WHERE account = $1', [account]);
  }
}

test('a session is known on both coasts; what it writes is written at home', async () => {
  const { shopper, id } = await registered('ny');
  const cart = await shopper.post(far, '/cart', { sku: 'bud-vase', quantity: 1 });
  expect(cart).toMatchObject({ status: 200, dc: servedBy(far, 'ny'), json: { count: 1 } });
  expect((await shopper.get('ny', '/cart')).json.count).toBe(1);
  expect(await deedSays(id, far)).toBe('ny');
  // Reads are served where they are asked for.
  const orders = await shopper.page(far, '/orders');
  expect(orders.status).toBe(200);
});

test('past the edge the shop says itself where a request belongs, before it does anything; or it takes it there', async () => {
  const { shopper, id } = await registered('ny');
  const direct = await shopper.post(far, '/cart', { sku: 'bud-vase', quantity: 1 }, { direct: true });
  const form = { form: { sku: 'bud-vase' }, accept: 'text/html', direct: true };
  const page = await shopper.ask(far, 'POST', '/cart', form);
  if (routing !== 'customer') {
    expect(direct).toMatchObject({ status: 200, dc: far, json: { count: 1 } });
    expect(page).toMatchObject({ status: 303, dc: far });
    expect(await cartWrittenIn(id, 'ny')).toEqual(['ny']);
    expect((await shopper.get('ny', '/cart')).json.count).toBe(2);
    return;
  }
  expect(direct).toMatchObject({
    status: 409,
    dc: far,
    headers: { 'lanekeeper-replay': 'dc=ny; term=1' },
    json: { error: { code: 'LK_WRONG_HOME', home: 'ny', dataCenter: far } },
  });
  expect(page).toMatchObject({ status: 409, headers: { 'lanekeeper-replay': 'dc=ny; term=1' } });
  expect(page.body).toContain('Your account is kept in New York');
  expect(page.body).toContain(`data-here="${far}"`);
  expect((await shopper.get('ny', '/cart')).json.count).toBe(0);
});

test('signing in on the other coast: in use there, so one is routed', async () => {
  const { email, id } = await registered('ny');
  const visitor = new Shopper(coasts);
  const answer = await visitor.post(far, '/sign-in', { email, password });
  expect(answer).toMatchObject({ status: 200, dc: servedBy(far, 'ny'), json: { account: { id, home: 'ny' } } });
  expect(await deedSays(id)).toBe('ny');
});

test('signing in on the other coast: idle, so the account comes; the one home of all does not', async () => {
  const { email, id } = await registered('ny');
  const visitor = new Shopper(coasts);
  const signIn = async () => {
    await forgetUse(id);
    return visitor.post(far, '/sign-in', { email, password });
  };
  const home = homeOf(far);
  let answer = await signIn();
  // A sign-in waits 300 ms for a move and then routes: a busy machine takes more than one.
  for (let i = 0; i < 20 && answer.json.account?.home !== home; i++) answer = await signIn();
  expect(answer).toMatchObject({ status: 200, dc: servedBy(far, home), json: { account: { id, home } } });
  expect(await deedSays(id, far)).toBe(home);
  const cart = await visitor.post(far, '/cart', { sku: 'salt-pig', quantity: 1 });
  expect(cart).toMatchObject({ status: 200, dc: servedBy(far, home) });
  const page = await visitor.page(far, '/');
  expect(page.body).toContain(`data-home="${home}"`);
  expect(await cartWrittenIn(id, home)).toEqual([home]);
  const asked = coasts.at(far).agent.asked.filter(({ path, body }) => path === '/v1/moves' && body.account === id);
  expect(asked.length > 0).toBe(!oneHome);
});

test('a guest of one coast signs in to an account that is in use on the other: the cart comes along', async () => {
  const { email, id, shopper } = await registered('ny');
  await shopper.post('ny', '/cart', { sku: 'quart-jug', quantity: 1 });
  const guest = new Shopper(coasts);
  await guest.post(far, '/cart', { sku: 'quart-jug', quantity: 2 });
  await guest.post(far, '/cart', { sku: 'oil-bottle', quantity: 1 });
  const guestId = await guestOf('oil-bottle', far);
  await arrived(guestId, 'ny');
  const answer = await guest.post(far, '/sign-in', { email, password });
  expect(answer).toMatchObject({ status: 200, dc: servedBy(far, 'ny'), json: { account: { id, home: 'ny' } } });
  expect(await deedSays(guestId, 'ny')).toBe('ny');
  const lines = [
    { sku: 'quart-jug', quantity: 3 },
    { sku: 'oil-bottle', quantity: 1 },
  ];
  expect((await guest.get(far, '/cart')).json.lines).toMatchObject(lines);
  expect((await guest.get(far, '/cart')).json.lines).toMatchObject(lines);
  const left = 'SELECT FROM cart_lines l JOIN carts c ON c.id = cart_id WHERE account_id = $1';
  expect(await coasts.rows('ny', left, [guestId])).toEqual([]);
});

test('when the guest cannot come at once, its cart comes at a later look; with one home for all it is there already', async () => {
  const { email } = await registered('ny');
  const guest = new Shopper(coasts);
  await guest.post(far, '/cart', { sku: 'butter-dome', quantity: 1 });
  await arrived(await guestOf('butter-dome', far), 'ny');
  for (const dc of sides) coasts.at(dc).agent.refuseMoves = 'the gate is shut';
  try {
    expect(await guest.post(far, '/sign-in', { email, password })).toMatchObject({
      status: 200,
      dc: servedBy(far, 'ny'),
    });
    expect((await guest.get('ny', '/cart')).json.count).toBe(oneHome ? 1 : 0);
    const { body } = await guest.page('ny', '/cart');
    expect(body.includes('still on its way here')).toBe(!oneHome);
  } finally {
    for (const dc of sides) coasts.at(dc).agent.refuseMoves = null;
  }
  expect((await guest.get('ny', '/cart')).json.lines).toMatchObject([{ sku: 'butter-dome', quantity: 1 }]);
  expect((await guest.page('ny', '/cart')).body).not.toContain('still on its way here');
});

test('one e-mail address, one account, on both coasts', async () => {
  const { email } = await registered('ny');
  const late = await new Shopper(coasts).post(far, '/register', { email: email.toUpperCase(), password });
  const dc = servedBy(far, homeOf(far));
  expect(late).toMatchObject({ status: 409, dc, json: { error: { code: 'LK_CLAIM_TAKEN' } } });
  for (let i = 0; i < 10; i++) {
    const address = `race${i}@example.com`;
    const both = await Promise.all(
      sides.map((dc) => new Shopper(coasts).post(dc, '/register', { email: address, password })),
    );
    expect(both.map((answer) => answer.status).sort()).toEqual([201, ...sides.slice(1).map(() => 409)]);
  }
  for (const dc of sides) {
    const count = async () => (await coasts.rows(dc, "SELECT FROM accounts WHERE email LIKE 'race%'")).length;
    await until(`all winners are in ${dc}`, async () => (await count()) === 10);
    expect(await coasts.rows(dc, 'SELECT kind, detail FROM lanekeeper.incident')).toEqual([]);
  }
});

// Of an approach without claims there is nothing to say here, and the other way round: so they are not declared for it.
if (!oneHome)
  describe('an address is claimed before it is registered', () => {
    test('nobody can say whether an address is free: nothing is stored, and it is said why', async () => {
      const shopper = new Shopper(coasts);
      coasts.at(far).agent.silentClaims = true;
      try {
        const answer = await shopper.post(far, '/register', { email: 'unsure@example.com', password });
        expect(answer).toMatchObject({
          status: 503,
          headers: { 'retry-after': '2' },
          json: { error: { code: 'LK_CLAIM_UNAVAILABLE', retryAfterMs: 2000 } },
        });
        const form = { email: 'unsure@example.com', password, name: 'Bo' };
        const page = await shopper.send(far, '/register', form);
        expect(page.status).toBe(503);
        expect(page.body).toContain('does not answer');
        expect(page.body).toContain('value="unsure@example.com"');
      } finally {
        coasts.at(far).agent.silentClaims = false;
      }
      expect(await coasts.rows(far, "SELECT FROM accounts WHERE email = 'unsure@example.com'")).toEqual([]);
    });

    test('a registration that fails after its claim gives the claim back', async () => {
      const shopper = new Shopper(coasts);
      // The claim's home is on the other coast, so that it can be had while this one may not write.
      const email = await addressKeptIn(far);
      await lease(coasts.pair.dc('ny'), -1000);
      try {
        const answer = await shopper.post('ny', '/register', { email, password });
        expect(answer).toMatchObject({ status: 503, json: { error: { code: 'LK_NO_LEASE' } } });
        const asked = coasts.at('ny').agent.asked.filter(({ body }) => body.value === email);
        expect(asked.map(({ method }) => method)).toEqual(['POST', 'DELETE']);
      } finally {
        await lease(coasts.pair.dc('ny'), 600_000);
      }
      expect((await shopper.post('ny', '/register', { email, password })).status).toBe(201);
    });

    test('an account that is not here yet is not a wrong password', async () => {
      // The claim has arrived, the account has not: as when the streams between the coasts are slow.
      const email = 'underway@example.com';
      await coasts.rows(far, "INSERT INTO lanekeeper.claim (name, value, account) VALUES ('email', $1, 'ny_acc_x')", [
        email,
      ]);
      const shopper = new Shopper(coasts);
      expect(await shopper.post(far, '/sign-in', { email, password })).toMatchObject({
        status: 409,
        json: { error: { code: 'LK_UNKNOWN_ACCOUNT', dataCenter: far } },
      });
      const page = await shopper.send(far, '/sign-in', { email, password });
      expect(page.body).toContain('We are bringing your account over, one moment');
    });
  });

async function addressKeptIn(dc: Side): Promise<string> {
  for (let i = 0; i < 100; i++) {
    const email = `kept${i}@example.com`;
    const [row] = await coasts.rows('ny', "SELECT home FROM lanekeeper.claim_holder('email', $1)", [email]);
    if (row?.home === dc) return email;
  }
  throw new Error(`no claim is kept in ${dc}`);
}

if (oneHome)
  describe('an address is registered in the one home of all, which needs nobody', () => {
    test('no agent says anything: who registers does not notice, and it is one account', async () => {
      const email = 'quiet@example.com';
      for (const dc of sides) coasts.at(dc).agent.silentClaims = true;
      try {
        const both = sides.map((dc) => new Shopper(coasts).post(dc, '/register', { email, password }));
        expect((await Promise.all(both)).map((answer) => answer.status).sort()).toEqual([
          201,
          ...sides.slice(1).map(() => 409),
        ]);
      } finally {
        for (const dc of sides) coasts.at(dc).agent.silentClaims = false;
      }
      for (const dc of sides) {
        expect(coasts.at(dc).agent.asked.filter(({ path }) => path === '/v1/claims')).toEqual([]);
      }
    });

    test('the home may not write: nothing is stored, it is said why, and the address stays free', async () => {
      const shopper = new Shopper(coasts);
      const email = 'unsure@example.com';
      await lease(coasts.pair.dc('ny'), -1000);
      try {
        const answer = await shopper.post(far, '/register', { email, password });
        expect(answer).toMatchObject({
          status: 503,
          headers: { 'retry-after': '1' },
          json: { error: { code: 'LK_NO_LEASE', retryAfterMs: 1000 } },
        });
        const page = await shopper.send(far, '/register', { email, password, name: 'Bo' });
        expect(page.status).toBe(503);
        expect(page.body).toContain('<code>LK_NO_LEASE</code>');
      } finally {
        await lease(coasts.pair.dc('ny'), 600_000);
      }
      expect(await coasts.rows('ny', 'SELECT FROM accounts WHERE email = $1', [email])).toEqual([]);
      expect((await shopper.post(far, '/register', { email, password })).status).toBe(201);
    });

    test('an account that has not come here yet is neither a wrong password nor a free address', async () => {
      const email = 'underway@example.com';
      await streamsTo(far, 'DISABLE');
      try {
        expect((await new Shopper(coasts).post('ny', '/register', { email, password })).status).toBe(201);
        expect((await new Shopper(coasts).post(far, '/register', { email, password })).status).toBe(409);
        const shopper = new Shopper(coasts);
        const answer = await shopper.post(far, '/sign-in', { email, password });
        expect(answer, answer.body).toMatchObject({
          status: 200,
          dc: servedBy(far, 'ny'),
          json: { account: { home: 'ny' } },
        });
        expect(await coasts.rows(far, 'SELECT FROM accounts WHERE email = $1', [email])).toEqual([]);
      } finally {
        await streamsTo(far, 'ENABLE');
      }
    });
  });

/** What the other coast writes arrives there no more, or again. */
async function streamsTo(dc: Side, action: 'ENABLE' | 'DISABLE'): Promise<void> {
  const named = await coasts.rows<{ sql: string }>(
    dc,
    "SELECT format('ALTER SUBSCRIPTION %I ' || $1, subname) AS sql FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    [action],
  );
  expect(named.length).toBeGreaterThan(0);
  for (const { sql } of named) await coasts.rows(dc, sql);
}

test('the desk: opened by its passphrase, finds by e-mail, id and number, edits at the customer’s home', async () => {
  const { shopper, email, id } = await registered('ny');
  await shopper.post('ny', '/cart', { sku: 'no-3-mug', quantity: 4 });
  await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  const { order } = (await shopper.post('ny', '/checkout', { requestId: 'desk-1' })).json;
  await until(
    `the order is in ${far}`,
    async () => (await coasts.rows(far, 'SELECT FROM orders WHERE id = $1', [order.id])).length === 1,
  );

  // Whoever works at the desk is also a customer, with a home of their own.
  const { shopper: clerk } = await registered(far);
  const path = `/desk/orders/${order.id}`;
  expect((await clerk.get(far, path)).json.error.code).toBe('SHOP_DESK_SIGN_IN');
  expect((await clerk.post(far, path, { action: 'cancel' })).status).toBe(401);
  expect((await clerk.post(far, '/desk/sign-in', { passphrase: 'open sesame' })).status).toBe(401);
  expect((await clerk.post(far, '/desk/sign-in', { passphrase: deskPassphrase })).status).toBe(200);

  const number = `${order.id.slice(-8, -4)} ${order.id.slice(-4)}`.toLowerCase();
  for (const find of [email.toUpperCase(), order.id, id, number]) {
    const found = await clerk.get(far, `/desk?find=${encodeURIComponent(find)}`);
    expect(found, find).toMatchObject({
      status: 200,
      dc: servedBy(far, homeOf(far)),
      json: { customer: { account: id, email, home: 'ny' } },
    });
    expect(found.json.orders).toHaveLength(1);
  }
  expect((await clerk.get(far, '/desk?find=nobody@example.com')).status).toBe(404);

  const change = { revision: 1, quantities: { 'no-3-mug': 2, 'bud-vase': 0 }, note: 'Two mugs only' };
  const changed = await clerk.post(far, path, change);
  expect(changed).toMatchObject({
    status: 200,
    dc: servedBy(far, 'ny'),
    json: { order: { revision: 2, total: 6800, note: 'Two mugs only', lines: [{ sku: 'no-3-mug', quantity: 2 }] } },
  });
  expect((await shopper.get('ny', '/orders')).json).toMatchObject([
    { id: order.id, total: 6800, note: 'Two mugs only' },
  ]);
  expect(await clerk.post(far, path, change)).toMatchObject({
    status: 409,
    json: { error: { code: 'SHOP_ORDER_CHANGED' } },
  });
  expect(await clerk.post(far, path, { revision: 2, quantities: { 'no-3-mug': 0 } })).toMatchObject({
    status: 409,
    json: { error: { code: 'SHOP_ORDER_EMPTY' } },
  });
  expect((await clerk.post(far, path, { revision: 2, quantities: { 'no-3-mug': 100 } })).status).toBe(400);
  const cancelled = await clerk.send(far, path, { revision: '2', 'quantity.no-3-mug': '2', action: 'cancel' });
  expect(cancelled).toMatchObject({ status: 303, headers: { location: `${path}?saved=1` } });
  const [row] = await coasts.rows('ny', 'SELECT status, revision FROM orders WHERE id = $1', [order.id]);
  expect(row).toEqual({ status: 'cancelled', revision: 3 });
  expect((await clerk.post(far, path, { action: 'cancel' })).json.error.code).toBe('SHOP_ORDER_CANCELLED');
});

test.each(['ny', far] as const)(
  'nobody can say whether the order went through, asked in %s: so it is said, and can be asked',
  async (at) => {
    const { shopper } = await registered('ny');
    await shopper.post('ny', '/cart', { sku: 'moon-jar', quantity: 1 });
    await coasts.rows(
      'ny',
      `CREATE OR REPLACE FUNCTION public.linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN NULL; END';
     DROP TRIGGER IF EXISTS linger ON public.orders;
     CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON public.orders DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.note = 'linger') EXECUTE FUNCTION public.linger()`,
    );
    const requestId = `uncertain-${at}`;
    const form = { requestId, note: 'linger' };
    const sent = shopper.send(at, '/checkout', form);
    await killCommitting();
    const page = await sent;
    expect(page.status).toBe(503);
    expect(page.body).toContain('We do not know whether your order went through');
    expect(page.body).toContain(`href="/checkout/outcome/${requestId}"`);
    const again = shopper.post(at, '/checkout', form);
    await killCommitting();
    expect(await again).toMatchObject({
      status: 503,
      json: { error: { code: 'LK_OUTCOME_UNKNOWN', requestId, dataCenter: servedBy(at, 'ny') } },
    });
    const asked = await shopper.page('ny', `/checkout/outcome/${requestId}`);
    expect(asked.body).toContain('Not recorded here, so far');
    // It was rolled back; the same form may be sent once more, and orders once.
    const ordered = await shopper.post(at, '/checkout', { requestId });
    expect(ordered.status).toBe(201);
    expect((await shopper.post('ny', '/checkout', { requestId })).json.order.id).toBe(ordered.json.order.id);
    expect((await shopper.get('ny', '/orders')).json).toHaveLength(1);
    const outcome = await shopper.page('ny', `/checkout/outcome/${requestId}`);
    expect(outcome.headers.location).toBe(`/orders/${ordered.json.order.id}?placed=1`);
  },
);

/** Waits for the backend that is in COMMIT, sleeping, and ends it. */
async function killCommitting(): Promise<void> {
  const superuser = new Client({ connectionString: coasts.pair.dc('ny').urls.superuser });
  await superuser.connect();
  try {
    await until('a commit under way', async () => {
      const { rows } = await superuser.query(
        `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query ILIKE 'commit%'`,
      );
      return rows.length > 0;
    });
  } finally {
    await superuser.end();
  }
}
