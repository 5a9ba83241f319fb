/**
 * The call center. Looking works in every data center; a change is made at the customer's home: `forAccount` throws
 * before anything is done when that is elsewhere, and the edge, or the frontend, repeats the request there.
 */
import { findAccount } from '../accounts/accounts.ts';
import { type Change, changeOrder } from '../orders/edit.ts';
import { calledPattern, findCalledOrder, listOrders, type Order, readOrder } from '../orders/orders.ts';
import { listSetAside, tryAgain } from '../payment/outbox.ts';
import type { DeskCustomer, DeskOrder, Fields, Shop } from '../shop/shop.ts';
import { fieldsOf, idPattern, quantity, text } from '../web/input.ts';
import type { Back, Caller } from './back.ts';

/** More are not looked at in one day. */
const mostSetAside = 50;

export function deskOperations(
  { db, lanekeeper, payments }: Back,
  { scope }: Caller,
): Pick<Shop, 'customer' | 'deskOrder' | 'changeOrder' | 'retryPayment' | 'setAside'> {
  return {
    customer: async (fields) => {
      const query = text(fields, 'find', 254);
      const account = query === null ? null : await lookUp(query);
      const customer = account === null ? null : await customerOf(account);
      return customer === null ? null : { customer, orders: await listOrders(db, customer.account) };
    },

    deskOrder: (fields) => orderOf(fields),

    changeOrder: async (fields) => {
      const found = await orderOf(fields);
      if (found === null) return { kind: 'not-found' };
      const { order } = found;
      const asked = readChange(fields, order);
      if (asked.kind === 'invalid') return asked;
      // Read again where it was written: here it may be on its way.
      return scope.forAccount(order.account, async () => {
        const changed = await db.transaction().execute((trx) => changeOrder(trx, { order: order.id, ...asked }));
        if (changed.kind === 'not-found') return changed;
        return { kind: changed.kind, ...((await orderOf(fields)) ?? found) };
      });
    },

    retryPayment: async (fields) => {
      const found = await orderOf(fields);
      if (found === null) return null;
      const { order } = found;
      const now = await scope.forAccount(order.account, async () => {
        await db.transaction().execute((trx) => tryAgain(trx, order.id));
        return orderOf(fields);
      });
      payments?.wake();
      return now;
    },

    setAside: () => listSetAside(db, mostSetAside),
  };

  /** An e-mail, an order's number or id, or an account's id, to an account's id. */
  async function lookUp(query: string): Promise<string | null> {
    if (query.includes('@')) return (await findAccount(db, { email: query.toLowerCase() }))?.id ?? null;
    const called = query.replaceAll(' ', '').toUpperCase();
    if (calledPattern.test(called)) return findCalledOrder(db, called);
    if (!idPattern.test(query)) return null;
    return (await readOrder(db, query))?.account ?? (await findAccount(db, { id: query }))?.id ?? null;
  }

  async function customerOf(account: string): Promise<DeskCustomer | null> {
    const found = await findAccount(db, { id: account });
    if (found === null) return null;
    const { email, name, createdAt } = found;
    const where = await lanekeeper.whereIs(account);
    return { account, name, email, since: createdAt.toISOString(), home: where?.home ?? null };
  }

  async function orderOf(fields: Fields): Promise<DeskOrder | null> {
    const id = text(fields, 'id', 128);
    const order = id !== null && idPattern.test(id) ? await readOrder(db, id) : null;
    const customer = order === null ? null : await customerOf(order.account);
    return order === null || customer === null ? null : { order, customer };
  }
}

type Asked =
  | { readonly kind: 'change'; readonly revision: number | null; readonly change: Change }
  | { readonly kind: 'invalid'; readonly message: string };

/** A form names lines as `quantity.<sku>`; JSON has `quantities: {sku: number}`. */
function readChange(body: Fields, order: Order): Asked {
  const shown = body.revision === undefined ? null : Number(body.revision);
  if (shown !== null && !Number.isInteger(shown))
    return { kind: 'invalid', message: 'Which revision? A whole number.' };
  if (body.action === 'cancel') return { kind: 'change', revision: shown, change: { kind: 'cancel' } };
  const listed = fieldsOf(body.quantities);
  const quantities: Record<string, number> = Object.create(null);
  for (const { sku, name } of order.lines) {
    const written = Object.hasOwn(listed, sku) ? listed[sku] : body[`quantity.${sku}`];
    if (written === undefined) continue;
    const value = quantity(written);
    if (value === null) return { kind: 'invalid', message: `How many of ${name}? A number from 0 to 99.` };
    quantities[sku] = value;
  }
  const note = body.note === undefined ? order.note : (text(body, 'note', 500) ?? '');
  return { kind: 'change', revision: shown, change: { kind: 'edit', quantities, note } };
}
