/** The shop on one coast: its pages, its JSON, its errors, against a real database behind a real edge. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { goods } from '../../../examples/storefront/src/catalog/goods.ts';
import { lease } from '../../support/applied.ts';
import { oneHome } from '../../support/approach.ts';
import { far, type Side } from '../../support/sides.ts';
import { originOf, Shopper } from './shopper.ts';
import { startTwoCoasts, type TwoCoasts } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let coasts: TwoCoasts;
beforeAll(async () => {
  coasts = await startTwoCoasts();
});
afterAll(() => coasts?.stop());

const password = 'correct horse';
let customers = 0;

function email(): string {
  customers += 1;
  return `customer${customers}@example.com`;
}

async function registered(dc: Side = 'ny'): Promise<{ shopper: Shopper; email: string; id: string }> {
  const shopper = new Shopper(coasts);
  const address = email();
  const answer = await shopper.post(dc, '/register', { email: address, password, name: 'Ada' });
  expect(answer.status, answer.body).toBe(201);
  return { shopper, email: address, id: answer.json.account.id };
}

test('the catalog: all of it, one of it, a part of it; prices are cents', async () => {
  const shopper = new Shopper(coasts);
  const all = await shopper.get(far, '/products');
  expect(all).toMatchObject({ status: 200, dc: far });
  expect(all.json).toHaveLength(goods.length);
  expect(all.json[0]).toMatchObject({ sku: 'no-3-mug', name: 'No. 3 Mug', price: 3400, category: 'drinking' });
  const skus = async (path: string) =>
    (await shopper.get('ny', path)).json.map((product: { sku: string }) => product.sku);
  expect(await skus('/products?category=pouring')).toEqual([
    'quart-jug',
    'half-pint-creamer',
    'two-cup-teapot',
    'oil-bottle',
  ]);
  expect(await skus('/products?q=mugs')).toContain('no-3-mug');
  expect(await skus('/products?q=teap')).toEqual(['two-cup-teapot']);
  expect(await skus(`/products?q=${encodeURIComponent('100% _\\')}`)).toEqual([]);
  expect((await shopper.get('ny', '/products/moon-jar')).json).toMatchObject({ sku: 'moon-jar', madeIn: 'Ojai' });
  expect(await shopper.get('ny', '/products/no-such-thing')).toMatchObject({
    status: 404,
    json: { error: { code: 'SHOP_NOT_FOUND', dataCenter: 'ny', home: null, retryAfterMs: null } },
  });
});

test('every page is a page: a title, a main part, a way to skip to it, and who served it', async () => {
  const { shopper } = await registered();
  await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  const paths = ['/', '/products', '/products?q=blue', '/products/salt-pig', '/cart', '/sign-in', '/register'];
  for (const path of [...paths, '/checkout', '/orders', '/desk', '/nowhere', '/checkout/outcome/none']) {
    const page = await shopper.page('ny', path);
    expect(page.headers['content-type'], path).toBe('text/html; charset=utf-8');
    expect(page.headers['content-security-policy'], path).toContain("default-src 'none'");
    expect(page.body, path).toMatch(/<title>[^<]*Two Kilns/);
    expect(page.body, path).toContain('<a class="skip" href="#main">');
    expect(page.body, path).toContain('<main id="main"');
    expect(page.body, path).toContain('data-here="ny"');
    expect(page.body.match(/<h1/g), path).toHaveLength(1);
    expect(page.dc, path).toBe('ny');
  }
});

test('what people type is text, not markup', async () => {
  const shopper = new Shopper(coasts);
  const evil = '<script>alert(1)</script>"\'&';
  const form = { email: email(), password, name: evil, next: '/orders' };
  expect(await shopper.send('ny', '/register', form)).toMatchObject({ status: 303, headers: { location: '/orders' } });
  const orders = await shopper.page('ny', '/orders');
  expect(orders.body).toContain('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;');
  const search = await shopper.page('ny', `/products?q=${encodeURIComponent(evil)}`);
  for (const { body } of [orders, search]) expect(body).not.toContain('<script>alert');
});

test('after sign-in nobody is sent to another host', async () => {
  for (const next of ['https://evil.example/', '//evil.example', '/\\evil.example', 'javascript:alert(1)']) {
    const form = { email: email(), password, next };
    const answer = await new Shopper(coasts).send('ny', '/register', form);
    expect(answer, next).toMatchObject({ status: 303, headers: { location: '/' } });
  }
});

test('a guest gets an account at the first write, not by looking', async () => {
  const shopper = new Shopper(coasts);
  const count = async () => (await coasts.rows('ny', 'SELECT FROM accounts')).length;
  const before = await count();
  await shopper.page('ny', '/');
  expect((await shopper.get('ny', '/cart')).json).toEqual({ lines: [], count: 0, total: 0, currency: 'USD' });
  expect((await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 0 })).json.lines).toEqual([]);
  expect(await count()).toBe(before);
  const written = await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 2 });
  expect(written).toMatchObject({ status: 200, json: { lines: [{ sku: 'bud-vase', quantity: 2 }], total: 5800 } });
  expect(await count()).toBe(before + 1);
  const deeds = await coasts.rows(
    'ny',
    `SELECT d.home, a.email FROM accounts a JOIN lanekeeper.deed d ON d.account = ${oneHome ? "'*'" : 'a.id'}
      JOIN carts c ON c.account_id = a.id JOIN cart_lines l ON l.cart_id = c.id WHERE l.sku = 'bud-vase' AND a.email IS NULL`,
  );
  expect(deeds).toEqual([{ home: 'ny', email: null }]);
});

test('a cart adds, sets, removes, and keeps within bounds', async () => {
  const shopper = new Shopper(coasts);
  const line = async (method: string, path: string, json: unknown) =>
    (await shopper.ask('ny', method, path, { json })).json.lines?.find(
      (one: { sku: string }) => one.sku === 'egg-cups',
    );
  expect(await line('POST', '/cart', { sku: 'egg-cups' })).toMatchObject({ quantity: 1 });
  expect(await line('POST', '/cart', { sku: 'egg-cups', quantity: 3 })).toMatchObject({ quantity: 4, total: 12800 });
  expect(await line('PUT', '/cart/egg-cups', { quantity: 2 })).toMatchObject({ quantity: 2 });
  expect(await line('POST', '/cart', { sku: 'egg-cups', quantity: 99 })).toMatchObject({ quantity: 99 });
  expect(await line('PUT', '/cart/egg-cups', { quantity: 0 })).toBeUndefined();
  for (const quantity of [-1, 100, 1.5, 'many', null, {}]) {
    const answer = await shopper.post('ny', '/cart', { sku: 'egg-cups', quantity });
    expect(answer, String(quantity)).toMatchObject({ status: 400, json: { error: { code: 'SHOP_INVALID' } } });
  }
  expect((await shopper.post('ny', '/cart', { sku: 'unheard-of', quantity: 1 })).status).toBe(404);
  const form = await shopper.send('ny', '/cart', { sku: 'quart-jug', quantity: '2' });
  expect(form).toMatchObject({ status: 303, headers: { location: '/cart?added=quart-jug' } });
  expect((await shopper.page('ny', '/cart')).body).toContain('data-cart-count>2<');
});

test('registering, signing in and out', async () => {
  const { shopper, email: address, id } = await registered();
  expect(id).toMatch(/^ny_acc_[0-9A-Z]{26}$/);
  expect((await shopper.get('ny', '/orders')).json).toEqual([]);
  await shopper.post('ny', '/sign-out');
  expect(await shopper.get('ny', '/orders')).toMatchObject({
    status: 401,
    json: { error: { code: 'SHOP_SIGN_IN_FIRST' } },
  });
  expect(await shopper.page('ny', '/orders')).toMatchObject({
    status: 303,
    headers: { location: '/sign-in?next=/orders' },
  });
  const wrong = await shopper.post('ny', '/sign-in', { email: address, password: 'incorrect horse' });
  expect(wrong).toMatchObject({ status: 401, json: { error: { code: 'SHOP_WRONG_PASSWORD' } } });
  const right = await shopper.post('ny', '/sign-in', { email: address.toUpperCase(), password });
  expect(right).toMatchObject({ status: 200, json: { account: { id, email: address, name: 'Ada', home: 'ny' } } });
  const [row] = await coasts.rows('ny', 'SELECT password_hash FROM accounts WHERE id = $1', [id]);
  expect(row?.password_hash).toMatch(/^scrypt\$8\$8\$3\$/);
});

test('a registration that cannot be: what is wrong, field by field', async () => {
  const shopper = new Shopper(coasts);
  const answer = await shopper.post('ny', '/register', { email: 'nobody', password: 'short' });
  expect(answer).toMatchObject({ status: 400, json: { error: { code: 'SHOP_INVALID' } } });
  expect(Object.keys(answer.json.error.fields)).toEqual(['email', 'password']);
  const page = await shopper.send('ny', '/register', { email: 'nobody', password: 'short', name: 'Bo' });
  expect(page.status).toBe(400);
  expect(page.body).toContain('value="nobody"');
  expect(page.body).toContain('aria-describedby="password-wrong"');
  expect(page.body).not.toContain('value="short"');
});

test('guessing passwords is slow', async () => {
  const { email: address } = await registered();
  const shopper = new Shopper(coasts);
  for (let i = 0; i < 8; i++) {
    expect((await shopper.post('ny', '/sign-in', { email: address, password: `guess ${i}` })).status).toBe(401);
  }
  const answer = await shopper.post('ny', '/sign-in', { email: address, password });
  expect(answer).toMatchObject({ status: 429, json: { error: { code: 'SHOP_TOO_MANY_ATTEMPTS' } } });
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(500);
});

test('a checkout pressed twice is one order; also five times at once', async () => {
  const { shopper } = await registered();
  await shopper.post('ny', '/cart', { sku: 'no-3-mug', quantity: 2 });
  await shopper.post('ny', '/cart', { sku: 'moon-jar', quantity: 1 });
  const form = await shopper.get('ny', '/checkout');
  const { requestId } = form.json;
  expect(form.json.cart.total).toBe(27_800);
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => shopper.post('ny', '/checkout', { requestId, note: 'By Friday' })),
  );
  expect(answers.map((answer) => answer.status).sort()).toEqual([200, 200, 200, 200, 201]);
  const ids = new Set(answers.map((answer) => answer.json.order.id));
  expect(ids.size).toBe(1);
  const [id] = ids;
  const orders = (await shopper.get('ny', '/orders')).json;
  expect(orders).toMatchObject([
    {
      id,
      status: 'placed',
      note: 'By Friday',
      total: 27_800,
      placedIn: 'ny',
      lines: [
        { sku: 'no-3-mug', quantity: 2, price: 3400, total: 6800 },
        { sku: 'moon-jar', quantity: 1 },
      ],
    },
  ]);
  expect((await shopper.get('ny', '/cart')).json.count).toBe(0);
  expect(await shopper.get('ny', `/checkout/outcome/${requestId}`)).toMatchObject({
    json: { kind: 'done', order: { id }, dataCenter: 'ny' },
  });
  const again = await shopper.post('ny', '/checkout', { requestId: 'another-request' });
  expect(again).toMatchObject({ status: 409, json: { error: { code: 'SHOP_EMPTY_CART' } } });
  // What bought nothing may still buy something.
  await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  expect((await shopper.post('ny', '/checkout', { requestId: 'another-request' })).status).toBe(201);
  const ids8 = await coasts.rows<{ id: string }>('ny', 'SELECT id FROM order_lines');
  for (const row of ids8) expect(Number(row.id) % 8).toBe(1);
});

test('an order that only one data center has so far says so; a repetition claims nothing', async () => {
  const { shopper } = await registered();
  await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  // No agent has said that the other coast keeps up, so nobody is waited for.
  const placed = await shopper.send('ny', '/checkout', { requestId: 'alone' });
  const path = placed.headers.location ?? '';
  expect(path).toMatch(/^\/orders\/ord_\w+\?placed=1&kept=here$/);
  expect((await shopper.page('ny', path)).body).toContain('So far only New York has it in its book');
  const again = await shopper.post('ny', '/checkout', { requestId: 'alone' });
  expect(again).toMatchObject({ status: 200, json: { durability: null } });
  expect((await shopper.send('ny', '/checkout', { requestId: 'alone' })).headers.location).toMatch(/\?placed=1$/);
});

test('a checkout needs a customer and a request id', async () => {
  const guest = new Shopper(coasts);
  await guest.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  expect((await guest.post('ny', '/checkout', { requestId: 'r1' })).status).toBe(401);
  expect((await guest.get('ny', '/cart')).json.count).toBe(1);
  const { shopper } = await registered();
  for (const requestId of [undefined, '', 'line\nbreak', 'x'.repeat(129), 7]) {
    expect((await shopper.post('ny', '/checkout', { requestId })).status, String(requestId)).toBe(400);
  }
});

test('a request id may be long and strange, and asked for again', async () => {
  const { shopper } = await registered();
  for (const requestId of ['x'.repeat(128), 'Ünïcode, mit Leerzeichen & 100 %/?#', '器'.repeat(128)]) {
    await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
    const { order } = (await shopper.post('ny', '/checkout', { requestId })).json;
    const outcome = await shopper.get('ny', `/checkout/outcome/${encodeURIComponent(requestId)}`);
    expect(outcome.json, requestId).toMatchObject({ kind: 'done', order: { id: order.id } });
  }
});

test('somebody else’s order is no order, and their request ids say nothing', async () => {
  const { shopper: one } = await registered();
  const { shopper: other } = await registered();
  await one.post('ny', '/cart', { sku: 'salt-pig', quantity: 1 });
  const { id } = (await one.post('ny', '/checkout', { requestId: 'mine' })).json.order;
  expect((await one.get('ny', `/orders/${id}`)).json.id).toBe(id);
  expect((await other.get('ny', `/orders/${id}`)).status).toBe(404);
  expect((await other.get('ny', '/checkout/outcome/mine')).json).toEqual({
    kind: 'unknown',
    dataCenter: 'ny',
    home: 'ny',
  });
  await other.post('ny', '/cart', { sku: 'salt-pig', quantity: 1 });
  const own = await other.post('ny', '/checkout', { requestId: 'mine' });
  expect(own.json.order.id).not.toBe(id);
});

test('what a guest chose comes along at registration and at sign-in, once', async () => {
  const { shopper: customer, email: address } = await registered();
  await customer.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  const guest = new Shopper(coasts);
  await guest.post('ny', '/cart', { sku: 'bud-vase', quantity: 2 });
  await guest.post('ny', '/cart', { sku: 'moon-jar', quantity: 1 });
  expect((await guest.post('ny', '/sign-in', { email: address, password })).status).toBe(200);
  const cart = async () => (await guest.get('ny', '/cart')).json.lines;
  const expected = [
    { sku: 'bud-vase', quantity: 3 },
    { sku: 'moon-jar', quantity: 1 },
  ];
  expect(await cart()).toMatchObject(expected);
  expect(await cart()).toMatchObject(expected);
  const fresh = new Shopper(coasts);
  await fresh.post('ny', '/cart', { sku: 'egg-cups', quantity: 1 });
  await fresh.post('ny', '/register', { email: email(), password });
  expect((await fresh.get('ny', '/cart')).json.lines).toMatchObject([{ sku: 'egg-cups', quantity: 1 }]);
});

test('forms from elsewhere are not taken in; those of the other coast are', async () => {
  const { shopper } = await registered();
  const form = { sku: 'bud-vase', quantity: '1' };
  const from = (headers: Record<string, string>) =>
    shopper.ask('ny', 'POST', '/cart', { form, headers, accept: 'text/html' });
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ]) {
    const refused = await from(headers as unknown as Record<string, string>);
    expect(refused.status, JSON.stringify(headers)).toBe(403);
    expect(refused.body).toContain('SHOP_FOREIGN_FORM');
  }
  expect((await from({ origin: originOf(coasts.at(far)), 'sec-fetch-site': 'same-site' })).status).toBe(303);
});

test('bodies that are no bodies', async () => {
  const shopper = new Shopper(coasts);
  const type = { 'content-type': 'application/json' };
  for (const json of [[], 'text', 7]) expect((await shopper.post('ny', '/cart', json)).status).toBe(400);
  const send = (form: Record<string, string>, headers: Record<string, string>) =>
    shopper.ask('ny', 'POST', '/cart', { form, headers });
  expect(await send({ a: '{' }, type)).toMatchObject({ status: 400, json: { error: { code: 'SHOP_INVALID' } } });
  expect((await send({ a: 'x'.repeat(70_000) }, {})).status).toBe(413);
  expect((await send({ a: 'b' }, { 'content-type': 'text/plain' })).status).toBe(400);
  expect((await send({ a: 'b' }, { 'content-type': 'image/png' })).status).toBe(415);
});

test('addresses that are no addresses', async () => {
  const shopper = new Shopper(coasts);
  for (const path of ['/%zz', '/products/%ff%fe', `/orders/${'x'.repeat(3000)}`]) {
    const page = await shopper.ask('ny', 'GET', path, { accept: 'text/html', direct: true });
    expect([400, 401, 404, 414], path).toContain(page.status);
    expect(page.dc, path).toBe('ny');
    expect(page.body, path).toContain('<main id="main"');
    const json = await shopper.ask('ny', 'GET', path, { direct: true });
    expect(json.json.error.code, path).toMatch(/^SHOP_/);
  }
});

test('pictures, style and font: compressed, and kept for ever under their own name', async () => {
  const shopper = new Shopper(coasts);
  const { body } = await shopper.page('ny', '/');
  const paths = [...body.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((match) => match[1]!);
  expect(new Set(paths).size).toBe(goods.length + 5);
  for (const path of new Set(paths)) {
    const asset = await shopper.get(far, path);
    expect(asset.status, path).toBe(200);
    expect(asset.headers['cache-control'], path).toContain('immutable');
  }
  const picture = paths.find((path) => path.includes('quart-jug'))!;
  const { port } = new URL(coasts.at('ny').edge.url);
  const response = await fetch(`http://127.0.0.1:${port}${picture}`, { headers: { 'accept-encoding': 'br' } });
  expect(response.headers.get('content-encoding')).toBe('br');
  const plain = (await shopper.get('ny', picture)).body;
  expect(await response.text()).toBe(plain);
  const old = picture.replace(/\.[\w-]{10}\.svg$/, '.0123456789.svg');
  expect((await shopper.get('ny', old)).headers['cache-control']).not.toContain('immutable');
  expect((await shopper.get('ny', '/assets/nothing.svg')).status).toBe(404);
});

test('health: writes an order, deletes it, reads, searches; without a lease it does not sell', async () => {
  const shopper = new Shopper(coasts);
  const rows = async () => (await coasts.rows('ny', 'SELECT FROM orders')).length;
  const before = await rows();
  const well = await shopper.get('ny', '/health');
  expect(well).toMatchObject({ status: 200, json: { status: 'PASS', passed: 1, dataCenter: 'ny' } });
  expect(well.json.checks).toHaveLength(4);
  expect(await rows()).toBe(before);
  await lease(coasts.pair.dc('ny'), -1000);
  try {
    await new Promise((resolve) => setTimeout(resolve, 600));
    const ill = await shopper.get('ny', '/health');
    expect(ill).toMatchObject({ status: 503, json: { status: 'FAIL', passed: 0.5 } });
    expect(ill.json.checks[0]).toMatchObject({ name: 'write an order', passed: false });
    expect(ill.json.checks[0].reason).toContain('lease');
  } finally {
    await lease(coasts.pair.dc('ny'), 600_000);
  }
});

test('a refusal is told in words to people and in JSON to programs', async () => {
  const { shopper } = await registered();
  await lease(coasts.pair.dc('ny'), -1000);
  try {
    const form = await shopper.send('ny', '/cart', { sku: 'bud-vase', quantity: '1' });
    expect(form.status).toBe(503);
    expect(form.headers['retry-after']).toBeDefined();
    expect(form.body).toContain('You can look, but not buy, for a moment');
    expect(form.body).toContain('<code>LK_NO_LEASE</code>');
    expect(await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 })).toMatchObject({
      status: 503,
      json: { error: { code: 'LK_NO_LEASE', dataCenter: 'ny', retryAfterMs: 1000 } },
    });
    // Reads go on.
    expect((await shopper.page('ny', '/cart')).status).toBe(200);
  } finally {
    await lease(coasts.pair.dc('ny'), 600_000);
  }
});
