/**
 * A data center dies in the middle of buying: its customers send the same form once more in the other one. One form, one
 * order, one charge; also when the money had moved and the answer was lost, and when the dead one comes back. The whole
 * lab, as a user starts it. Needs a build.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Movement } from '../../../examples/storefront/src/payment-service/journal.ts';
import { split } from '../../support/approach.ts';
import { runSql } from '../../support/clusters.ts';
import { Customer, type TestLab } from '../../support/lab.ts';
import { storefrontLab } from '../../support/storefront-lab.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const wait = { timeout: 90_000, interval: 250 };

let lab: TestLab;
beforeAll(async () => {
  lab = await storefrontLab();
});
afterAll(() => lab?.stop());

type Side = 'ny' | 'la';
type Buyer = { readonly customer: Customer; readonly requestId: string };
type Placed = { readonly order: { readonly id: string; readonly payment: { readonly state: string } } };

const edge = (name: Side): string => lab.line.dataCenters[name]!.edge;
let buyers = 0;

/** Registered in ny, with two bud vases in the cart. */
async function buyer(): Promise<Buyer> {
  buyers += 1;
  const customer = new Customer();
  const body = { email: `survivor${buyers}@example.com`, password: 'correct horse battery' };
  expect((await customer.ask(`${edge('ny')}/register`, { body })).status).toBe(201);
  await customer.ask(`${edge('ny')}/cart`, { body: { sku: 'bud-vase', quantity: 2 } });
  return { customer, requestId: `form-${buyers}` };
}

/** The status, and 0 when there was no answer. */
async function press({ customer, requestId }: Buyer, at: Side): Promise<{ status: number; body: Placed }> {
  return customer
    .ask(`${edge(at)}/checkout`, { body: { requestId } })
    .catch(() => ({ status: 0, body: null as never }));
}

/** As a patient customer: until it is taken. Returns the order. */
async function pressUntilTaken(one: Buyer, at: Side): Promise<string> {
  let order = '';
  await expect
    .poll(async () => {
      const { status, body } = await press(one, at);
      if (status === 200 || status === 201) order = body.order.id;
      return order !== '' || status;
    }, wait)
    .toBe(true);
  return order;
}

async function movements(order: string): Promise<readonly Movement[]> {
  const response = await fetch(`${lab.line.payments}/movements?order=${order}`);
  return ((await response.json()) as { movements: Movement[] }).movements;
}

async function all(site: Side, action: 'kill' | 'start'): Promise<void> {
  const backends = split ? ['backend-1', 'backend-2'] : [];
  for (const name of ['postgres', 'agent', 'edge', 'app-1', 'app-2', ...backends]) await processDo(site, name, action);
}

/** Without the time that a command takes to start. */
async function processDo(site: string, name: string, action: string): Promise<void> {
  const { url, token } = lab.line.switchboard;
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/${site}/${name}/${action}`, { method: 'POST', headers });
  expect(response.status, await response.text()).toBe(200);
}

const link = async (...args: readonly string[]): Promise<void> => {
  expect((await lab.command('lab', 'link', ...args)).code).toBe(0);
};

test('ny dies: what was ordered is ordered, what was charged is not charged again, and nothing is bought twice', async () => {
  // Ordered while the payment service is down.
  await processDo('payments', 'service', 'stop');
  const early = await buyer();
  const earlyOrder = await pressUntilTaken(early, 'ny');
  await processDo('payments', 'service', 'start');
  await expect.poll(() => movements(earlyOrder), wait).toHaveLength(1);

  // The money moves, and ny does not hear of it: it gives up after 5 s, and here opening a connection takes 3.5 s and the
  // answer as long again. Connections that are open already would be quicker.
  await processDo('payments', 'service', 'stop');
  await processDo('payments', 'service', 'start');
  await link('payments', 'ny', '--one-way', '--rtt', '3500ms');
  const unheard = await buyer();
  const unheardOrder = await pressUntilTaken(unheard, 'ny');
  await expect.poll(() => movements(unheardOrder), wait).toHaveLength(1);

  // Ordered, and nobody can ask for the money.
  await link('ny', 'payments', '--cut');
  const waiting = await buyer();
  const waitingOrder = await pressUntilTaken(waiting, 'ny');
  const stateIn = async (order: string): Promise<unknown> => {
    const { databases } = lab.line.dataCenters.la!;
    return (await runSql(databases.application, 'SELECT state FROM payments WHERE id = $1', [order]))[0];
  };
  for (const order of [unheardOrder, waitingOrder]) expect(await stateIn(order)).toEqual({ state: 'due' });
  expect(await movements(waitingOrder)).toEqual([]);

  // Pressing at the very moment.
  const caught = await Promise.all(Array.from({ length: 8 }, () => buyer()));
  const pressed = caught.map(async (one, i) => {
    await new Promise((resolve) => setTimeout(resolve, i * 8));
    return press(one, 'ny');
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  await all('ny', 'kill');
  const heard = await Promise.all(pressed);

  // Everybody sends the same form once more, to la.
  const expected = new Map<string, Buyer>([
    [earlyOrder, early],
    [unheardOrder, unheard],
    [waitingOrder, waiting],
  ]);
  for (const [order, one] of [...expected]) expect(await pressUntilTaken(one, 'la')).toBe(order);
  for (const [i, one] of caught.entries()) {
    const order = await pressUntilTaken(one, 'la');
    const told = heard[i]!;
    if (told.status === 201) expect(order).toBe(told.body.order.id);
    expected.set(order, one);
  }
  expect(expected.size).toBe(11);
  await chargedOnce(expected, 'la');

  // ny comes back, with whatever it knows that nobody was told.
  await link('ny', 'payments', '--heal', '--rtt', '60ms');
  await all('ny', 'start');
  const back = async (): Promise<number | null> => (await lab.command('verify', '--json')).code;
  await expect.poll(back, { timeout: 90_000, interval: 1_000 }).toBe(0);
  await chargedOnce(expected, 'ny');
});

/** Each has this one order and no other, as seen from `dc`, and it was charged once. */
async function chargedOnce(expected: ReadonlyMap<string, Buyer>, dc: Side): Promise<void> {
  for (const [order, { customer }] of expected) {
    const orders = async (): Promise<unknown> => (await customer.ask(`${edge(dc)}/orders`)).body;
    await expect.poll(orders, wait).toMatchObject([{ id: order, payment: { state: 'paid', charged: 5800 } }]);
    expect(await movements(order)).toMatchObject([{ key: order, kind: 'charge', amount: 5800 }]);
  }
  const { databases } = lab.line.dataCenters[dc]!;
  const rows = await runSql<{ id: string }>(
    databases.application,
    "SELECT o.id FROM orders o JOIN accounts a ON a.id = account_id WHERE email LIKE 'survivor%'",
  );
  expect(rows.map((row) => row.id).sort()).toEqual([...expected.keys()].sort());
}
