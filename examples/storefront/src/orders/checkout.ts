/** From cart to order, exactly once for a request id. */

import { CompiledQuery } from 'kysely';
import type { Lanekeeper } from 'lanekeeper';
import { lockCart, readCart } from '../cart/cart.ts';
import type { Database, Writer } from '../database/connect.ts';
import { queueCharge } from '../payment/outbox.ts';
import { orderIdFor } from './order-id.ts';

export type Placed =
  | { readonly kind: 'placed' | 'repeated'; readonly order: string }
  /** There is nothing in the cart, and this request id has not bought anything before. */
  | { readonly kind: 'empty' };

type Form = { readonly account: string; readonly requestId: string; readonly note: string };

class EmptyCart extends Error {}

/**
 * Places an order of what is in the cart, to be charged later. The outcome is recorded in the same transaction as the
 * order, so pressing the button twice, or asking again after the connection broke, gives the same order and never a
 * second one. The payment service has no say in it: it may be down.
 */
export async function placeOrder(
  { db, lanekeeper }: { readonly db: Database; readonly lanekeeper: Lanekeeper },
  { account, requestId, note }: Form,
): Promise<Placed> {
  try {
    return await db.transaction().execute(async (trx) => {
      const client = {
        query: (text: string, values: unknown[]) => trx.executeQuery<unknown>(CompiledQuery.raw(text, values)),
      };
      const { kind, result } = await lanekeeper.once(requestId, client, () =>
        fill(trx, { account, requestId, note, lanekeeper }),
      );
      return { kind: kind === 'done' ? 'placed' : 'repeated', order: result.order };
    });
  } catch (error) {
    // Thrown so that the transaction takes the recorded outcome back as well: the same id may still buy something.
    if (error instanceof EmptyCart) return { kind: 'empty' };
    throw error;
  }
}

async function fill(
  trx: Writer,
  { account, requestId, note, lanekeeper }: Form & { readonly lanekeeper: Lanekeeper },
): Promise<{ order: string }> {
  const cart = await lockCart(trx, account, () => lanekeeper.id('cart'));
  const { lines, total } = await readCart(trx, account);
  if (lines.length === 0) throw new EmptyCart();
  const order = orderIdFor(account, requestId);
  await trx
    .insertInto('orders')
    .values({ id: order, account_id: account, note, total, placed_in: lanekeeper.here })
    .execute();
  await trx
    .insertInto('order_lines')
    .values(lines.map(({ sku, name, price, quantity }) => ({ order_id: order, sku, name, price, quantity })))
    .execute();
  await queueCharge(trx, { order, account, amount: total });
  await trx.deleteFrom('cart_lines').where('cart_id', '=', cart).execute();
  return { order };
}
