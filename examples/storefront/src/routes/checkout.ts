/** `/checkout`. When nobody can say whether it went through, the customer is told so and can ask. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { findLanekeeperError } from 'lanekeeper';
import { doing } from '../shop/calls.ts';
import { checkoutPage } from '../views/cart.ts';
import { outcomePage } from '../views/orders.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf, text } from '../web/input.ts';
import { invalid, isUncertain, problem, problemOf, signInFirst } from '../web/problems.ts';
import { placeOf, plainVisit, visitOf } from '../web/visit.ts';
import { cartJson } from './cart.ts';

export function checkoutRoutes(app: FastifyInstance, front: Front): void {
  const { assets } = front;
  const view = async (request: FastifyRequest) => ({ visit: await visitOf(front, request), assets });

  app.get('/checkout', async (request, reply) => {
    const form = await front.shop(request).checkout();
    if (form.kind === 'nobody') {
      if (wantsJson(request)) return sendProblem(front, request, reply, signInFirst('/checkout'));
      return goTo(reply, '/sign-in?next=/checkout');
    }
    const { requestId, cart, email } = form;
    if (wantsJson(request)) return sendJson(reply, { requestId, cart: cartJson(cart) });
    if (cart.lines.length === 0) return goTo(reply, '/cart');
    return sendPage(reply, checkoutPage(await view(request), { cart, email, requestId }));
  });

  app.post('/checkout', doing('commitOrder'), async (request, reply) => {
    const body = fieldsOf(request.body);
    try {
      const committed = await front.shop(request).commitOrder(body);
      switch (committed.kind) {
        case 'nobody':
          return sendProblem(front, request, reply, signInFirst('/checkout'));
        case 'invalid':
          return sendProblem(front, request, reply, invalid(committed.fields));
        case 'empty':
          return sendProblem(front, request, reply, emptyCartProblem);
      }
      const { kind, id, order, durability } = committed;
      if (!wantsJson(request)) {
        return goTo(reply, `/orders/${id}?placed=1${durability === 'local' ? '&kept=here' : ''}`);
      }
      return sendJson(reply, { order: order ?? { id }, durability }, kind === 'placed' ? 201 : 200);
    } catch (error) {
      const refusal = findLanekeeperError(error);
      const requestId = text(body, 'requestId', 128);
      if (refusal === undefined || requestId === null || !isUncertain(refusal)) throw error;
      const visit = plainVisit(front, request);
      const uncertain = problemOf(refusal, 1000, (dc) => placeOf(visit, dc));
      return sendProblem(front, request, reply, { ...uncertain, requestId }, () =>
        outcomePage({ visit, assets }, { requestId, asked: false }),
      );
    }
  });

  app.get<{ Params: { requestId: string } }>('/checkout/outcome/:requestId', async (request, reply) => {
    const { requestId } = request.params;
    const outcome = await front.shop(request).outcome({ requestId });
    if (outcome.kind === 'nobody') return sendProblem(front, request, reply, signInFirst(request.url));
    if (wantsJson(request)) return sendJson(reply, outcome);
    if (outcome.kind === 'done') return goTo(reply, `/orders/${outcome.order.id}?placed=1`);
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
