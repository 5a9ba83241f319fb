/** `routing: connection`: the home dies, database and all. What customers of another data center's application see of it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approachToTest, routing } from '../support/approach.ts';
import { type OrderShop, startOrderShop } from '../support/order-shop.ts';

let shop: OrderShop;
beforeAll(async () => {
  shop = await startOrderShop({
    approach: routing === 'connection' ? approachToTest : 'mostly-active-active',
    spawn: true,
    lease: { ttl: '2s', renewEvery: '500ms', skew: '500ms' },
  });
}, 120_000);
afterAll(() => shop?.stop(), 120_000);

test('reads go on, writes are refused with a reason until there is a successor, and what was acknowledged is there', {
  timeout: 90_000,
}, async () => {
  await shop.born('ny', ['a1', 'a2']);
  await expect.poll(async () => (await shop.agents.status('ny')).sync.recorded, { timeout: 20_000 }).toEqual(['la']);
  const [one, two] = ['a1', 'a2'].map((id) => shop.customer(id, 'ny', 'la', true));
  if (one === undefined || two === undefined) throw new Error('two customers');
  const acknowledged: string[] = [];
  expect(await shop.ask(one, 'POST', '/orders', { id: 'before' })).toMatchObject({ status: 200 });
  acknowledged.push('before');
  expect(await shop.orders('ny')).toEqual(['before']);
  // A transaction that is open over there when it dies: undone, so nothing is uncertain about it.
  const inFlight = shop.ask(two, 'POST', '/orders', { id: 'cut-off', seconds: 3 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await shop.kill('ny');
  expect(await inFlight).toMatchObject({ status: 503 });

  const refusals = new Set<string>();
  for (let i = 0; acknowledged.length < 3; i += 1) {
    if (i > 400) throw new Error(`no successor: ${[...refusals].join(', ')}`);
    const reading = await shop.ask(two, 'GET', '/orders');
    expect(reading.status, reading.body).toBe(200);
    const id = `order-${i}`;
    const { status, body, what } = await shop.ask(one, 'POST', '/orders', { id });
    if (status === 200) acknowledged.push(id);
    else {
      expect(status, `${what}: ${body}`).toBe(503);
      const { error } = JSON.parse(body);
      expect(error).toMatchObject({ dataCenter: 'la' });
      expect(error.retryAfterMs).toBeGreaterThan(0);
      refusals.add(error.code);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  expect([...refusals]).toContain('LK_HOME_UNREACHABLE');
  expect([...refusals].filter((code) => !['LK_HOME_UNREACHABLE', 'LK_NO_LEASE', 'LK_ARRIVING'].includes(code))).toEqual(
    [],
  );
  expect(await shop.orders('la')).toEqual([...acknowledged].sort());
});
