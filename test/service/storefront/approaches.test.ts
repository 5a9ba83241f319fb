/**
 * One customer's day under each of the five approaches: the same shop, the same requests on both coasts, the same result.
 * What differs is where she is written, and who serves her.
 */
import { type ApproachName, approaches } from 'lanekeeper/model';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Side, sides } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import { Shopper } from './shopper.ts';
import { deskPassphrase, startTwoCoasts, type TwoCoasts } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const password = 'correct horse';

describe.each(Object.keys(approaches) as ApproachName[])('%s', (approach) => {
  const { homes, routing } = approaches[approach];
  /** She registers on the west coast. */
  const home = homes === 'single' ? 'ny' : 'la';
  const away = home === 'ny' ? 'la' : 'ny';
  /** The edge takes the customer home; otherwise she stays where she is. */
  const servedBy = (asked: Side) => (routing === 'customer' ? home : asked);

  let coasts: TwoCoasts;
  beforeAll(async () => {
    coasts = await startTwoCoasts({ approach });
  });
  afterAll(() => coasts?.stop());

  async function known(dc: Side, table: string, id: string): Promise<void> {
    await until(`${id} is in ${table} of ${dc}`, async () => {
      return (await coasts.rows(dc, `SELECT FROM ${table} WHERE id = $1`, [id])).length === 1;
    });
  }

  test('a day in the shop', async () => {
    const ada = new Shopper(coasts);
    const email = 'ada@example.com';
    const shelf = await ada.get('la', '/products?category=pouring');
    expect(shelf).toMatchObject({ status: 200, dc: 'la', json: expect.arrayContaining([expect.anything()]) });

    // As a guest, then as a customer: the cart comes along.
    expect(await ada.post('la', '/cart', { sku: 'quart-jug', quantity: 2 })).toMatchObject({
      status: 200,
      dc: servedBy('la'),
      json: { count: 2 },
    });
    const registered = await ada.post('la', '/register', { email, password, name: 'Ada' });
    expect(registered, registered.body).toMatchObject({
      status: 201,
      dc: servedBy('la'),
      json: { account: { email, home } },
    });
    const { id } = registered.json.account;
    for (const dc of sides) await known(dc, 'accounts', id);
    expect(await ada.get('la', '/cart')).toMatchObject({ status: 200, json: { count: 2, total: 14400 } });
    expect((await new Shopper(coasts).post('ny', '/register', { email, password })).json).toMatchObject({
      error: { code: 'LK_CLAIM_TAKEN' },
    });

    // The other coast, in the middle of it: same session, same cart, and what she puts in is there at once.
    expect((await ada.page('ny', '/cart')).body).toContain('Quart Jug');
    const put = await ada.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
    expect(put).toMatchObject({ status: 200, dc: servedBy('ny'), json: { count: 3 } });
    expect(await ada.get('ny', '/cart')).toMatchObject({ json: { count: 3, total: 17300 } });
    const page = await ada.page('ny', '/checkout');
    expect(page.body).toContain(`data-home="${home}"`);
    expect(page.body).toContain(`data-here="${servedBy('ny')}"`);

    // One order, however often and wherever the button is pressed.
    const form = { requestId: 'ada-1', note: 'Mind the dog' };
    const ordered = await ada.post('ny', '/checkout', form);
    expect(ordered, ordered.body).toMatchObject({
      status: 201,
      json: { order: { total: 17300, placedIn: routing === 'connection' ? 'ny' : home } },
    });
    const { order } = ordered.json;
    for (const dc of sides) await known(dc, 'orders', order.id);
    for (const dc of sides) {
      expect(await ada.post(dc, '/checkout', form)).toMatchObject({ status: 200, json: { order: { id: order.id } } });
      expect((await ada.get(dc, '/checkout/outcome/ada-1')).json).toMatchObject({
        kind: 'done',
        order: { id: order.id },
      });
      expect((await ada.get(dc, '/orders')).json).toMatchObject([{ id: order.id, note: 'Mind the dog' }]);
      expect((await ada.page(dc, '/orders')).body).toContain(email);
      expect(await coasts.rows(dc, 'SELECT FROM orders')).toHaveLength(1);
    }

    // Out, and in again on the other coast, with what she chose there as a guest; a wrong password is one.
    expect((await ada.post('la', '/sign-out')).json).toEqual({ account: null });
    expect((await ada.get('ny', '/orders')).status).toBe(401);
    expect((await ada.post(away, '/sign-in', { email, password: 'wrong battery' })).status).toBe(401);
    expect((await ada.post(away, '/cart', { sku: 'oil-bottle', quantity: 1 })).json).toMatchObject({ count: 1 });
    const back = await ada.post(away, '/sign-in', { email, password });
    expect(back).toMatchObject({ status: 200, json: { account: { id, home } } });
    expect((await ada.get('la', `/orders/${order.id}`)).json).toMatchObject({ id: order.id });

    expect((await ada.get(home, '/cart')).json.lines).toMatchObject([{ sku: 'oil-bottle', quantity: 1 }]);

    // She calls; whoever answers sits on the other coast than her account.
    const clerk = new Shopper(coasts);
    const at = away;
    expect((await clerk.get(at, `/desk?find=${email}`)).status).toBe(401);
    expect((await clerk.post(at, '/desk/sign-in', { passphrase: deskPassphrase })).status).toBe(200);
    expect((await clerk.get(at, `/desk?find=${email}`)).json).toMatchObject({ customer: { account: id, home } });
    const change = { revision: 1, quantities: { 'quart-jug': 1 }, note: 'One jug' };
    const changed = await clerk.post(at, `/desk/orders/${order.id}`, change);
    expect(changed, changed.body).toMatchObject({ status: 200, json: { order: { revision: 2, total: 10100 } } });
    expect((await clerk.post(at, `/desk/orders/${order.id}`, change)).json.error.code).toBe('SHOP_ORDER_CHANGED');
    expect((await ada.get(home, `/orders/${order.id}`)).json).toMatchObject({ total: 10100, note: 'One jug' });

    // All of it was written in one place, and both coasts have all of it.
    const deed = homes === 'single' ? '*' : id;
    for (const dc of sides) {
      expect(await coasts.rows(dc, 'SELECT home FROM lanekeeper.deed WHERE account = $1', [deed])).toEqual([{ home }]);
      const total = async () => (await coasts.rows(dc, 'SELECT total FROM orders'))[0]?.total;
      await until(`the change is in ${dc}`, async () => (await total()) === 10100);
      expect(await coasts.rows(dc, 'SELECT kind, detail FROM lanekeeper.incident')).toEqual([]);
    }
  });
});
