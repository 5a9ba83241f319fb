/**
 * A switchover under load, through real edges, applications, agents and a link with a round trip of 60 ms: no request fails, and what was
 * acknowledged is there, once, in both data centers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Customer, type OrderShop, type Outcome, startOrderShop } from '../support/order-shop.ts';

let shop: OrderShop;
beforeAll(async () => {
  // For busy machines: whoever waits, waits no longer than it takes.
  shop = await startOrderShop({ delayMs: 30, moves: { drain: '15s' } });
}, 120_000);
afterAll(() => shop?.stop(), 120_000);

const ask: OrderShop['ask'] = (...what) => shop.ask(...what);

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

test('no request fails while everything goes to the other data center, and when it is handed back', {
  timeout: 90_000,
}, async () => {
  const accounts = Array.from({ length: 40 }, (_, i) => ({ id: `a${i}`, home: i % 4 === 3 ? 'la' : 'ny' }));
  const { pair, agents } = shop;
  for (const home of pair.names) {
    await shop.born(
      home,
      accounts.filter((one) => one.home === home).map(({ id }) => id),
    );
  }
  const customers = accounts.map(({ id, home }, i) => shop.customer(id, home, i % 2 === 0 ? 'ny' : 'la', i % 3 !== 0));
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
  for (const dc of pair.names) {
    const { edge } = shop.site(dc);
    const metrics = await (await fetch(`${edge.url}/lanekeeper/metrics`)).text();
    expect(metrics).toMatch(/^lanekeeper_edge_succession_term 3$/m);
    expect(metrics).toMatch(/^lanekeeper_edge_rerouted_total [1-9]/m);
  }
  for (const dc of pair.names) await expect.poll(() => shop.orders(dc), { timeout: 10_000 }).toEqual(acknowledged);
});
