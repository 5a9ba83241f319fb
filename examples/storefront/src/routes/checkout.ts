/**
 * `/checkout`. Each form carries a request id of its own: pressing twice, or sending it again after the connection broke,
 * gives the same order. When nobody can say whether it went through, the customer is told so and can ask.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { findLanekeeperError } from 'lanekeeper';
import { findAccount } from '../accounts/accounts.ts';
import { readCart } from '../cart/cart.ts';
import { placeOrder } from '../orders/checkout.ts';
import { readOrder } from '../orders/orders.ts';
import type { Shop } from '../shop.ts';
import { checkoutPage } from '../views/cart.ts';
import { outcomePage } from '../views/orders.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { fieldsOf, requestIdPattern, text } from '../web/input.ts';
import { invalid, problem, problemOf, signInFirst } from '../web/problems.ts';
import { placeOf, plainVisit, visitOf } from '../web/visit.ts';
import { cartJson, replayable, settleGuest } from './cart.ts';

export function checkoutRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets, lanekeeper } = shop;
  const view = async (request: FastifyRequest) => ({ visit: await visitOf(shop, request), assets });

  app.get('/checkout', async (request, reply) => {
    const { account } = request.lanekeeper;
    if (account === null) {
      if (wantsJson(request)) return sendProblem(shop, request, reply, signInFirst('/checkout'));
      return goTo(reply, '/sign-in?next=/checkout');
    }
    await settleGuest(shop, request);
    const cart = await readCart(db, account);
    const requestId = lanekeeper.id('req');
    if (wantsJson(request)) return sendJson(reply, { requestId, cart: cartJson(cart) });
    if (cart.lines.length === 0) return goTo(reply, '/cart');
    const found = await findAccount(db, { id: account });
    return sendPage(reply, checkoutPage(await view(request), { cart, email: found?.email ?? '', requestId }));
  });

  app.post('/checkout', replayable, async (request, reply) => {
    const { account } = request.lanekeeper;
    if (account === null) return sendProblem(shop, request, reply, signInFirst('/checkout'));
    const body = fieldsOf(request.body);
    const requestId = text(body, 'requestId', 128);
    if (requestId === null || !requestIdPattern.test(requestId)) {
      const missing = 'A checkout needs a request id of its own, so that sending it twice orders once.';
      return sendProblem(shop, request, reply, invalid({ requestId: missing }));
    }
    try {
      const placed = await placeOrder(shop, { account, requestId, note: text(body, 'note', 500) ?? '' });
      if (placed.kind === 'empty') return sendProblem(shop, request, reply, emptyCartProblem);
      if (placed.kind === 'placed') shop.payments?.wake();
      // Null for a repetition, which wrote nothing.
      const { durability } = request.lanekeeper;
      if (!wantsJson(request)) {
        return goTo(reply, `/orders/${placed.order}?placed=1${durability === 'local' ? '&kept=here' : ''}`);
      }
      const order = await readOrder(db, placed.order);
      return sendJson(
        reply,
        { order: order ?? { id: placed.order }, durability },
        placed.kind === 'placed' ? 201 : 200,
      );
    } catch (error) {
      const refusal = findLanekeeperError(error);
      if (refusal?.code !== 'LK_OUTCOME_UNKNOWN') throw error;
      const visit = plainVisit(shop, request);
      const uncertain = problemOf(refusal, 1000, (dc) => placeOf(visit, dc));
      return sendProblem(shop, request, reply, { ...uncertain, requestId }, () =>
        outcomePage({ visit, assets }, { requestId, asked: false }),
      );
    }
  });

  app.get<{ Params: { requestId: string } }>('/checkout/outcome/:requestId', async (request, reply) => {
    const { account } = request.lanekeeper;
    if (account === null) return sendProblem(shop, request, reply, signInFirst(request.url));
    const { requestId } = request.params;
    const outcome = requestIdPattern.test(requestId)
      ? await lanekeeper.outcome<{ order: string }>(requestId)
      : ({ kind: 'unknown' } as const);
    // The record says which order; the order says whose it is.
    const order = outcome.kind === 'done' ? await readOrder(db, outcome.result.order) : null;
    if (outcome.kind === 'done' && order?.account === account) {
      if (wantsJson(request)) return sendJson(reply, { kind: 'done', order, dataCenter: outcome.dataCenter });
      return goTo(reply, `/orders/${order.id}?placed=1`);
    }
    if (wantsJson(request)) {
      const { dataCenter, home } = request.lanekeeper;
      return sendJson(reply, { kind: 'unknown', dataCenter, home });
    }
    return sendPage(reply, outcomePage(await view(request), { requestId, asked: true }));
  });
}

const emptyCartProblem = problem(
  409,
  'SHOP_EMPTY_CART',
  'There is nothing in your cart',
  'Nothing was ordered. If you have just ordered, that order is among your orders.',
  { next: { href: '/orders', label: 'See your orders' } },
);
