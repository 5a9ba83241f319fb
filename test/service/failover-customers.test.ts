/**
 * `routing: customer`: a data center dies with its edge, its applications, its agent and its database. What customers of the other
 * edge see of it.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approachToTest, routing } from '../support/approach.ts';
import { type OrderShop, startOrderShop } from '../support/order-shop.ts';

let shop: OrderShop;
beforeAll(async () => {
  shop = await startOrderShop({
    approach: routing === 'customer' ? approachToTest : 'full-active-active',
    spawn: true,
    lease: { ttl: '2s', renewEvery: '500ms', skew: '500ms' },
  });
}, 120_000);
afterAll(() => shop?.stop(), 120_000);

test('whoever comes meanwhile waits for seconds and is served by the successor; what had been acknowledged is there', {
  timeout: 90_000,
}, async () => {
  await shop.born('ny', ['a1', 'a2', 'a3']);
  await expect.poll(async () => (await shop.agents.status('ny')).sync.recorded, { timeout: 20_000 }).toEqual(['la']);
  const [one, two, three] = ['a1', 'a2', 'a3'].map((id) => shop.customer(id, 'ny', 'la', false));
  if (one === undefined || two === undefined || three === undefined) throw new Error('three customers');
  expect(await shop.ask(one, 'POST', '/orders', { id: 'before' })).toMatchObject({ status: 200 });
  const inFlight = shop.ask(three, 'POST', '/orders', { id: 'cut-off', seconds: 3 });
  await expect
    .poll(async () =>
      (await (await fetch(`${shop.site('ny').edge.url}/lanekeeper/metrics`)).text()).match(/busy\{[^}]+\} 1$/m),
    )
    .not.toBeNull();
  const killed = shop.kill('ny');
  const meanwhile = await Promise.all([
    shop.ask(one, 'GET', '/orders'),
    shop.ask(one, 'POST', '/orders', { id: 'meanwhile' }),
    shop.ask(two, 'POST', '/orders', { id: 'another' }),
  ]);
  await killed;
  // Sent before the edge of la knew that ny was lost, one may have been broken off: then nobody can know, and that is said.
  for (const { status, what } of meanwhile) expect([200, 502], what).toContain(status);
  const unknown = await inFlight;
  expect(unknown).toMatchObject({ status: 502 });
  expect(JSON.parse(unknown.body)).toMatchObject({ error: { code: 'LK_NO_ANSWER', dataCenter: 'la', home: 'ny' } });
  const after = await shop.ask(two, 'POST', '/orders', { id: 'after' });
  expect(after).toMatchObject({ status: 200, body: '{"dataCenter":"la"}' });
  const kept = await shop.orders('la');
  expect(kept).toEqual(expect.arrayContaining(['after', 'before']));
  expect(kept).not.toContain('cut-off');
  for (const [i, id] of [undefined, 'meanwhile', 'another'].entries())
    if (id !== undefined) expect(kept.includes(id), id).toBe(meanwhile[i]?.status === 200);
});
