/** Orders are taken while the payment service is down, and charged later, once: whatever dies in between. */
import net from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { homeOf, oneHome, routing, servedBy } from '../../support/approach.ts';
import { far, type Side, sides } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import { switchOver } from './hand-switchover.ts';
import { type PaymentProcess, paymentProcess } from './payment-service.ts';
import { originOf, Shopper } from './shopper.ts';
import { deskPassphrase, startTwoCoasts, type TwoCoasts } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let service: PaymentProcess;
let coasts: TwoCoasts;
beforeAll(async () => {
  service = await paymentProcess();
  coasts = await startTwoCoasts({ env: { STOREFRONT_PAYMENT_URL: service.url } });
});
afterAll(async () => {
  await coasts?.stop();
  await service?.stop();
});
beforeEach(() => service.start());
afterEach(async () => {
  // The one home of all is where every test expects it.
  if (writtenIn === far) await moved('*', 'ny');
});

let customers = 0;
/** Only of one home for all. */
let writtenIn: Side = 'ny';

/** `at`: the coast where he asks. */
type Customer = { readonly shopper: Shopper; readonly id: string; readonly at: Side };

/** Registered there, with something in the cart. */
async function customer(at: Side, sku = 'bud-vase', quantity = 1): Promise<Customer> {
  customers += 1;
  const shopper = new Shopper(coasts);
  const form = { email: `payer${customers}@example.com`, password: 'correct horse' };
  const answer = await shopper.post(at, '/register', form);
  expect(answer.status, answer.body).toBe(201);
  await shopper.post(at, '/cart', { sku, quantity });
  return { shopper, id: answer.json.account.id, at };
}

async function ordered({ shopper, at }: Customer, requestId = 'form-1'): Promise<string> {
  const answer = await shopper.post(at, '/checkout', { requestId });
  expect(answer.status, answer.body).toBe(201);
  return answer.json.order.id;
}

type Row = { state: string; attempts: number; settled_in: string | null; receipt: string | null };

async function payment(id: string, dc: Side = 'ny'): Promise<Row | undefined> {
  const rows = await coasts.rows<Row>(dc, 'SELECT state, attempts, settled_in, receipt FROM payments WHERE id = $1', [
    id,
  ]);
  return rows[0];
}

async function settledEverywhere(id: string, state = 'done'): Promise<void> {
  for (const dc of sides) {
    await until(`${id} is ${state} in ${dc}`, async () => (await payment(id, dc))?.state === state, 60_000);
  }
}

async function chargedOnce(order: string, amount: number): Promise<void> {
  expect(await service.movements(order)).toMatchObject([{ key: order, kind: 'charge', amount }]);
}

test('the payment service is down: orders are taken and say so; it comes up: each is charged once, at home', async () => {
  await service.kill('SIGTERM');
  const all = await Promise.all([customer('ny'), customer('la'), customer('ny'), customer(far)]);
  const orders = await Promise.all(all.map((one) => ordered(one)));
  const [first, order] = [all[0]!, orders[0]!];
  await until('it was tried', async () => ((await payment(order))?.attempts ?? 0) > 0);
  const pending = await first.shopper.get('ny', `/orders/${order}`);
  expect(pending.json).toMatchObject({
    status: 'placed',
    payment: { state: 'pending', charged: 0, outstanding: 2900 },
  });
  await until('the page says why', async () => {
    return (await first.shopper.page('ny', `/orders/${order}`)).body.includes('does not answer at the moment');
  });
  expect((await first.shopper.page('ny', `/orders/${order}`)).body).toContain('Payment pending.');
  expect((await first.shopper.page('ny', '/orders')).body).toContain('data-payment="pending"');
  expect(await service.movements()).toEqual([]);

  await service.start();
  for (const [i, id] of orders.entries()) {
    await settledEverywhere(id);
    await chargedOnce(id, 2900);
    expect((await payment(id))?.settled_in).toBe(homeOf(all[i]!.at));
  }
  const paid = await first.shopper.page(far, `/orders/${order}`);
  expect(paid.body).toContain('Paid.');
  expect(paid.body).toContain((await payment(order))!.receipt);
});

test('the payment service is killed when the money has moved and nobody has heard: it is one charge', async () => {
  await service.start({ PAYMENT_ANSWER_DELAY_MS: '3000' });
  const who = await customer('ny');
  const order = await ordered(who);
  await until('the money has moved', async () => (await service.movements(order)).length === 1);
  await service.kill('SIGKILL');
  await until('the shop knows that it knows nothing', async () => {
    const { json } = await who.shopper.get('ny', `/orders/${order}`);
    return json.payment.state === 'pending' && json.payment.problem !== null;
  });
  await service.start();
  await settledEverywhere(order);
  await chargedOnce(order, 2900);
  expect((await payment(order))?.attempts).toBeGreaterThan(1);
});

test('pressed five times at once, on both coasts: one order, one charge', async () => {
  const { shopper, id } = await customer(far, 'egg-cups', 2);
  const presses = ([far, 'ny', 'la', 'ny', far] as const).map((dc) =>
    shopper.post(dc, '/checkout', { requestId: 'five' }),
  );
  const answers = await Promise.all(presses);
  expect(answers.map((answer) => answer.status).sort()).toEqual([200, 200, 200, 200, 201]);
  const order = answers[0]!.json.order.id;
  expect(new Set(answers.map((answer) => answer.json.order.id))).toEqual(new Set([order]));
  await settledEverywhere(order);
  await chargedOnce(order, 6400);
  expect(await coasts.rows(far, 'SELECT FROM payments WHERE account_id = $1', [id])).toHaveLength(1);
});

test('the reply is lost: sent once more by way of the other coast, it is the same order and one charge', async () => {
  for (const waitMs of [0, 1, 3, 6, 10, 15, 25, 60]) {
    const who = await customer('ny');
    const body = JSON.stringify({ requestId: 'lost' });
    await sendAndHangUp(who, '/checkout', body, waitMs);
    const again = await who.shopper.post(far, '/checkout', { requestId: 'lost' });
    expect([200, 201], again.body).toContain(again.status);
    expect(again.dc).toBe(servedBy(far, 'ny'));
    const { id } = again.json.order;
    const outcome = await who.shopper.get('ny', '/checkout/outcome/lost');
    expect(outcome.json).toMatchObject({ kind: 'done', order: { id } });
    await settledEverywhere(id);
    await chargedOnce(id, 2900);
    expect((await who.shopper.get(far, '/orders')).json).toHaveLength(1);
    expect((await who.shopper.get(far, '/checkout/outcome/lost')).json).toMatchObject({ dataCenter: 'ny' });
  }
});

/** Sends a whole request to the edge and is gone before, while or after it is answered. */
async function sendAndHangUp({ shopper, at }: Customer, path: string, body: string, waitMs: number): Promise<void> {
  const { hostname, port } = new URL(coasts.at(at).edge.url);
  const socket = net.connect(Number(port), hostname);
  const cookie = [...shopper.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${new URL(originOf(coasts.at(at))).host}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `cookie: ${cookie}`,
  ];
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.write(`${head.join('\r\n')}\r\n\r\n${body}`, () => resolve()));
  await new Promise((resolve) => setTimeout(resolve, waitMs));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.resetAndDestroy();
  await closed;
}

test('both coasts ask at the same moment for the same charge: it is one', async () => {
  const who = await customer('ny');
  await service.kill('SIGTERM');
  const order = await ordered(who);
  await service.start({ PAYMENT_ANSWER_DELAY_MS: '200' });
  const body = JSON.stringify({ order, account: who.id, amount: 2900, currency: 'USD' });
  const headers = { 'content-type': 'application/json', 'idempotency-key': order };
  const ask = () => fetch(`${service.url}/charges`, { method: 'POST', headers, body });
  const answers = await Promise.all([ask(), ask(), ask()]);
  const receipts = await Promise.all(
    answers.map(async (answer) => ((await answer.json()) as { receipt: string }).receipt),
  );
  expect(new Set(receipts).size).toBe(1);
  await settledEverywhere(order);
  await chargedOnce(order, 2900);
  expect((await payment(order))?.receipt).toBe(receipts[0]);
});

/** With one home for all, everything moves. */
async function moved(account: string, to: Side): Promise<void> {
  if (oneHome) {
    await switchOver(coasts, to === far ? 'ny' : far, to);
    writtenIn = to;
    return;
  }
  const result = await coasts.at(to).lanekeeper.move(account, to);
  expect(result).toMatchObject({ kind: 'moved', home: to });
}

test('the account moves between order and charge: its new home charges', async () => {
  await service.kill('SIGTERM');
  const who = await customer('ny');
  const order = await ordered(who);
  await moved(who.id, far);
  await service.start();
  await settledEverywhere(order);
  await chargedOnce(order, 2900);
  expect((await payment(order))?.settled_in).toBe(far);
  expect((await who.shopper.get('ny', `/orders/${order}`)).json.payment).toMatchObject({
    state: 'paid',
    charged: 2900,
  });
});

test('the account moves while the charge is under way: it does not wait for it, and there is one', async () => {
  await service.start({ PAYMENT_ANSWER_DELAY_MS: '2500' });
  const who = await customer('ny');
  const order = await ordered(who);
  await until('the money has moved', async () => (await service.movements(order)).length === 1);
  const startMs = performance.now();
  await moved(who.id, far);
  expect(performance.now() - startMs).toBeLessThan(2500);
  await settledEverywhere(order);
  await chargedOnce(order, 2900);
  // New York heard the answer and could not write it down any more; Los Angeles asked again. Unless its connection leads there.
  const settled = routing === 'connection' ? { settled_in: 'ny', attempts: 1 } : { settled_in: far, attempts: 2 };
  expect(await payment(order)).toMatchObject(settled);
});

test('what is declined is set aside where everybody sees it, holds up nobody, and can be tried again', async () => {
  await service.start({ PAYMENT_LIMIT: '100000' });
  const rich = await customer('ny', 'moon-jar', 99);
  const order = await ordered(rich);
  await settledEverywhere(order, 'declined');
  const next = await customer('ny');
  const small = await ordered(next);
  await settledEverywhere(small);
  expect(await service.movements(order)).toEqual([]);
  expect((await rich.shopper.page('ny', `/orders/${order}`)).body).toContain('Payment declined.');

  const clerk = new Shopper(coasts);
  await clerk.post(far, '/desk/sign-in', { passphrase: deskPassphrase });
  expect((await clerk.page(far, '/desk')).body).toContain(`data-set-aside="${order}"`);
  expect((await clerk.get(far, '/desk')).json.setAside).toMatchObject([{ order, state: 'declined', attempts: 1 }]);
  const page = await clerk.page(far, `/desk/orders/${order}`);
  expect(page.body).toContain('we charge at most 100000 cents at once');
  await service.start({ PAYMENT_LIMIT: '100000000' });
  const again = await clerk.send(far, `/desk/orders/${order}/payment`, {});
  expect(again, again.body).toMatchObject({ status: 303, dc: servedBy(far, 'ny') });
  await settledEverywhere(order);
  expect(await service.movements(order)).toHaveLength(1);
  expect((await clerk.get(far, '/desk')).json.setAside).toEqual([]);
});

test('the desk changes and cancels: the difference is given back, and what was not charged yet never is', async () => {
  const clerk = new Shopper(coasts);
  await clerk.post('ny', '/desk/sign-in', { passphrase: deskPassphrase });
  const who = await customer('ny', 'no-3-mug', 3);
  const order = await ordered(who);
  await settledEverywhere(order);
  const changed = await clerk.post('ny', `/desk/orders/${order}`, { quantities: { 'no-3-mug': 1 } });
  expect(changed.json.order).toMatchObject({ total: 3400, revision: 2, payment: { charged: 10_200 } });
  await settledEverywhere(`${order}.2`);
  await clerk.post('ny', `/desk/orders/${order}`, { action: 'cancel' });
  await settledEverywhere(`${order}.3`);
  expect(await service.movements(order)).toMatchObject([
    { kind: 'charge', amount: 10_200 },
    { kind: 'refund', amount: 6800 },
    { kind: 'refund', amount: 3400 },
  ]);
  expect((await who.shopper.page('ny', `/orders/${order}`)).body).toContain('Money returned.');

  await service.kill('SIGTERM');
  await coasts.rows('ny', "UPDATE payments SET due_at = now() + interval '1 hour' WHERE state = 'due'");
  const other = await customer('ny');
  const never = await untouchedOrder(other);
  expect((await clerk.post('ny', `/desk/orders/${never}`, { action: 'cancel' })).status).toBe(200);
  await settledEverywhere(never, 'withdrawn');
  await service.start();
  expect(await service.movements(never)).toEqual([]);
  expect((await other.shopper.get('ny', `/orders/${never}`)).json.payment).toMatchObject({ state: 'none', charged: 0 });
});

/** An order whose payment nobody has begun, and nobody will: as between two looks of the worker. */
async function untouchedOrder(who: Customer): Promise<string> {
  await coasts.rows(
    'ny',
    `CREATE OR REPLACE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS
       $$BEGIN NEW.due_at := now() + interval '1 hour'; RETURN NEW; END$$;
     CREATE TRIGGER later BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION public.later()`,
  );
  try {
    return await ordered(who);
  } finally {
    await coasts.rows('ny', 'DROP TRIGGER later ON payments');
  }
}
