/**
 * Each form carries a request id of its own: pressing twice, or sending it again after the connection broke, gives the
 * same order. When nobody can say whether it went through (`LK_OUTCOME_UNKNOWN`), one can ask.
 */
import { findAccount } from '../accounts/accounts.ts';
import { readCart } from '../cart/cart.ts';
import { placeOrder } from '../orders/checkout.ts';
import { readHistory } from '../orders/history.ts';
import { listOrders, readOrder } from '../orders/orders.ts';
import type { Shop } from '../shop/shop.ts';
import { idPattern, requestIdPattern, text } from '../web/input.ts';
import type { Back, Caller } from './back.ts';
import { settleGuestOnLook } from './cart.ts';

const nobody = { kind: 'nobody' } as const;

export function checkoutOperations(
  back: Back,
  caller: Caller,
): Pick<Shop, 'checkout' | 'commitOrder' | 'outcome' | 'orders' | 'order' | 'orderHistory'> {
  const { db, lanekeeper, payments } = back;
  const { scope } = caller;
  return {
    checkout: async () => {
      const { account } = scope;
      if (account === null) return nobody;
      await settleGuestOnLook(back, caller);
      const cart = await readCart(db, account);
      const found = await findAccount(db, { id: account });
      return { kind: 'form', requestId: lanekeeper.id('req'), cart, email: found?.email ?? '' };
    },

    commitOrder: async (fields) => {
      const { account } = scope;
      if (account === null) return nobody;
      const requestId = text(fields, 'requestId', 128);
      if (requestId === null || !requestIdPattern.test(requestId)) {
        const missing = 'A checkout needs a request id of its own, so that sending it twice orders once.';
        return { kind: 'invalid', fields: { requestId: missing } };
      }
      const placed = await placeOrder(back, { account, requestId, note: text(fields, 'note', 500) ?? '' });
      if (placed.kind === 'empty') return placed;
      if (placed.kind === 'placed') payments?.wake();
      const { kind, order: id } = placed;
      const { durability } = scope;
      return { kind, id, order: await readOrder(db, id), durability };
    },

    outcome: async (fields) => {
      const { account, dataCenter, home } = scope;
      if (account === null) return nobody;
      const requestId = text(fields, 'requestId', 128);
      const outcome =
        requestId !== null && requestIdPattern.test(requestId)
          ? await lanekeeper.outcome<{ order: string }>(requestId)
          : ({ kind: 'unknown' } as const);
      // The record says which order; the order says whose it is.
      const order = outcome.kind === 'done' ? await readOrder(db, outcome.result.order) : null;
      if (outcome.kind === 'done' && order?.account === account) {
        return { kind: 'done', order, dataCenter: outcome.dataCenter };
      }
      return { kind: 'unknown', dataCenter, home };
    },

    orders: async () => {
      const { account } = scope;
      return account === null ? nobody : { kind: 'orders', orders: await listOrders(db, account) };
    },

    orderHistory: async () => {
      const { account } = scope;
      return account === null ? nobody : { kind: 'history', history: await readHistory(db, account) };
    },

    order: async (fields) => {
      const { account } = scope;
      if (account === null) return nobody;
      const id = text(fields, 'id', 128);
      const order = id !== null && idPattern.test(id) ? await readOrder(db, id) : null;
      // Somebody else's order is no order: whether it exists is not told.
      return order === null || order.account !== account ? { kind: 'not-found' } : { kind: 'found', order };
    },
  };
}
