/**
 * The whole, as customers meet it: the lab, an edge in each data center, one account used from all of them at once. What customers were
 * told is compared with what the databases hold (D1, C1), and who wrote what with the databases' own record (W1, E1, G1).
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approachToTest, oneHome } from '../support/approach.ts';
import { runSql } from '../support/clusters.ts';
import { dataCenterOf, type TestLab } from '../support/lab.ts';
import { finishAudit, readDeeds, startAudit } from '../support/origin-audit.ts';
import { applyTrouble, settled } from '../support/settled.ts';
import { Shopper } from '../support/shopper.ts';
import { sides } from '../support/sides.ts';
import { storefrontLab } from '../support/storefront-lab.ts';

/** Long under the usual approach; otherwise as long as it takes to see that every customer is written in one place. */
const { seconds, customers, races, signInEvery } =
  approachToTest === 'full-active-active' && sides.length === 2
    ? { seconds: 60, customers: 32, races: 200, signInEvery: 20 }
    : { seconds: 12, customers: 12, races: 40, signInEvery: 6 };
/** However busy the machine is: each signs in once more and checks out. */
const fewestRounds = signInEvery / 2 + 3;

let lab: TestLab;
beforeAll(async () => {
  lab = await storefrontLab();
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

test('the same e-mail registered in all data centers at the same moment, again and again: one wins, replication never stops', {
  timeout: 180_000,
}, async () => {
  const names = Object.keys(lab.line.dataCenters);
  const supers = Object.fromEntries(names.map((name) => [name, dataCenterOf(lab, name).databases.superuser]));
  const wins = new Map<string, number>();
  const rounds = Array.from({ length: races }, (_, i) => i);
  await inParallel(8, rounds, async (i) => {
    const email = `twice-${i}@example.org`;
    const told = await Promise.all(
      names.map((name) =>
        new Shopper(dataCenterOf(lab, name).edge).tell('POST', '/register', {
          email,
          password: 'correct horse battery',
          name,
        }),
      ),
    );
    const won = names.filter((_, n) => told[n]?.kind === 'done');
    expect(won, JSON.stringify(told)).toHaveLength(1);
    expect(
      told.filter((one) => one.kind === 'refused' && one.answer.status === 409),
      JSON.stringify(told),
    ).toHaveLength(names.length - 1);
    wins.set(won[0] ?? '', (wins.get(won[0] ?? '') ?? 0) + 1);
  });
  await settled(supers);
  for (const name of names) {
    const rows = await runSql<{ n: number }>(
      dataCenterOf(lab, name).databases.owner,
      "SELECT count(*)::int AS n FROM accounts WHERE email LIKE 'twice-%'",
    );
    expect(rows[0]?.n, name).toBe(races);
  }
  expect(await applyTrouble(supers)).toEqual({});
  console.info(`won: ${JSON.stringify([...wins])}`);
});

test(`${customers} customers, each signed in in all data centers at once, for ${seconds} s`, {
  timeout: 240_000,
}, async () => {
  const names = Object.keys(lab.line.dataCenters);
  const supers = Object.fromEntries(names.map((name) => [name, dataCenterOf(lab, name).databases.superuser]));
  const products = (await new Shopper(dataCenterOf(lab, 'ny').edge).once('GET', '/products')).body as { sku: string }[];
  expect(products.length).toBeGreaterThan(5);
  await startAudit(supers);
  const deeds = Object.fromEntries(
    await Promise.all(Object.entries(supers).map(async ([name, url]) => [name, await readDeeds(url)] as const)),
  );

  const end = Date.now() + seconds * 1000;
  const ledgers = await Promise.all(Array.from({ length: customers }, (_, i) => shop(i, names, products, end)));

  const unknown = ledgers.flatMap((ledger) => ledger.unknown);
  const added = ledgers.reduce((sum, ledger) => sum + ledger.added, 0);
  const ordered = ledgers.reduce((sum, ledger) => sum + ledger.orders.size, 0);
  console.info(
    `added ${added}, orders ${ordered}, unknown ${unknown.length}, asked to try again ${ledgers.reduce((sum, l) => sum + l.retries, 0)}, signed in again ${ledgers.reduce((sum, l) => sum + l.signIns, 0)}`,
  );
  expect(added).toBeGreaterThan(customers * fewestRounds);
  expect(ordered).toBeGreaterThanOrEqual(customers);

  await settled(supers);
  for (const ledger of ledgers) {
    for (const name of names) {
      const rows = await runSql<{ carts: number; orders: number; ids: string[] }>(
        dataCenterOf(lab, name).databases.owner,
        `SELECT (SELECT coalesce(sum(l.quantity), 0)::int FROM carts c JOIN cart_lines l ON l.cart_id = c.id WHERE c.account_id = $1) AS carts,
                (SELECT coalesce(sum(l.quantity), 0)::int FROM orders o JOIN order_lines l ON l.order_id = o.id WHERE o.account_id = $1) AS orders,
                (SELECT coalesce(array_agg(o.id), '{}') FROM orders o WHERE o.account_id = $1) AS ids`,
        [ledger.account],
      );
      const found = rows[0];
      if (!found) throw new Error('no row');
      const kept = found.carts + found.orders;
      // D1: everything that was acknowledged, and nothing that nobody asked for.
      expect(kept, `${ledger.email} in ${name}`).toBeGreaterThanOrEqual(ledger.added);
      expect(kept, `${ledger.email} in ${name}`).toBeLessThanOrEqual(ledger.added + ledger.unknown.length);
      for (const id of ledger.orders) expect(found.ids).toContain(id);
      expect(found.ids.length).toBeLessThanOrEqual(ledger.orders.size + ledger.unknown.length);
    }
  }

  const audit = await finishAudit(
    supers,
    [
      { name: 'public.accounts', column: 'id' },
      { name: 'public.orders', column: 'account_id' },
      { name: 'public.carts', column: 'account_id' },
      { name: 'public.order_lines', column: 'order_id', through: 'public.orders' },
      { name: 'public.cart_lines', column: 'cart_id', through: 'public.carts' },
    ],
    { deeds },
  );
  console.info(JSON.stringify({ local: audit.localWrites, accepted: audit.acceptances }));
  expect(audit.violations).toEqual([]);
  expect(audit.regressions).toEqual([]);
  // The test means nothing unless both wrote and accounts moved; with one home for all, one writes and nothing moves.
  for (const name of names) {
    if (oneHome && name !== 'ny') expect(audit.localWrites[name]).toBe(0);
    else expect(audit.localWrites[name]).toBeGreaterThan(customers);
  }
  const moves = Object.values(audit.acceptances).reduce((a, b) => a + b, 0);
  expect(moves > 0).toBe(!oneHome);

  expect(await applyTrouble(supers)).toEqual({});
  // Each pair.
  for (const name of names.slice(1)) {
    const verified = await lab.command('verify', '--dc', name, '--json');
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  }
  expect(unknown).toEqual([]);
});

async function inParallel<T>(width: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    }),
  );
}

type Ledger = {
  readonly account: string;
  readonly email: string;
  /** Quantity that the shop said it has put into the cart. */
  added: number;
  readonly orders: Set<string>;
  readonly unknown: string[];
  retries: number;
  signIns: number;
};

/** Browsers of one customer, one in front of each edge, all adding and checking out all the time. */
async function shop(
  i: number,
  names: readonly string[],
  products: readonly { sku: string }[],
  end: number,
): Promise<Ledger> {
  const email = `customer-${i}-${Date.now()}@example.org`;
  const password = 'correct horse battery';
  const home = names[i % names.length] ?? '';
  const first = new Shopper(dataCenterOf(lab, home).edge);
  const registered = await first.tell('POST', '/register', { email, password, name: `Customer ${i}` });
  if (registered.kind !== 'done') throw new Error(`register: ${JSON.stringify(registered)}`);
  const account = (registered.answer.body as { account: { id: string } }).account.id;
  const ledger: Ledger = { account, email, added: 0, orders: new Set(), unknown: [], retries: 0, signIns: 0 };
  await Promise.all(
    names.map(async (name, n) => {
      const shopper = new Shopper(dataCenterOf(lab, name).edge);
      const signedIn = await shopper.tell('POST', '/sign-in', { email, password });
      if (signedIn.kind !== 'done') throw new Error(`sign-in in ${name}: ${JSON.stringify(signedIn)}`);
      for (let round = 0; Date.now() < end || round < fewestRounds; round++) {
        const sku = products[(i + round) % products.length]?.sku;
        const told = await shopper.tell('POST', '/cart', { sku, quantity: 1 });
        if (told.kind === 'done') ledger.added++;
        else ledger.unknown.push(`cart in ${name}: ${JSON.stringify(told)}`);
        if (round % 5 === 4) await checkOut(shopper, ledger, `${email}-${name}-${round}`);
        if (round % signInEvery === signInEvery / 2 + n) {
          // Idle accounts move at sign-in; these are in use, so an operator moves some of them.
          if (i % 4 === 0 && !oneHome)
            await lab.command(
              'rehome',
              account,
              '--to',
              names[(names.indexOf(home) + 1 + round) % names.length] ?? '',
              '--json',
            );
          ledger.signIns++;
          await shopper.tell('POST', '/sign-in', { email, password });
        }
        await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 400));
      }
      ledger.retries += shopper.retries;
    }),
  );
  return ledger;
}

async function checkOut(shopper: Shopper, ledger: Ledger, requestId: string): Promise<void> {
  const told = await shopper.tell('POST', '/checkout', { requestId });
  if (told.kind === 'done') ledger.orders.add((told.answer.body as { order: { id: string } }).order.id);
  else if (told.kind === 'unknown') ledger.unknown.push(`checkout: ${told.why}`);
  // Refused: the other browser has just checked out the cart.
}
