/** `/cart` */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Cart } from '../cart/lines.ts';
import { doing } from '../shop/calls.ts';
import type { CartChange } from '../shop/shop.ts';
import { cartPage } from '../views/cart.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf, text } from '../web/input.ts';
import { invalid, notFound } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function cartRoutes(app: FastifyInstance, front: Front): void {
  const { assets } = front;

  app.get('/cart', async (request, reply) => {
    const { cart, guestCartLate } = await front.shop(request).cart();
    if (wantsJson(request)) return sendJson(reply, cartJson(cart));
    const added = text(fieldsOf(request.query), 'added', 64);
    const visit = await visitOf(front, request);
    return sendPage(reply, cartPage({ visit, assets }, cart, { guestCartLate, ...(added === null ? {} : { added }) }));
  });

  app.post('/cart', doing('addToCart'), async (request, reply) =>
    changed(request, reply, await front.shop(request).addToCart(fieldsOf(request.body))),
  );

  const set = async (request: FastifyRequest<{ Params: { sku: string } }>, reply: FastifyReply) => {
    const { quantity } = fieldsOf(request.body);
    return changed(request, reply, await front.shop(request).setInCart({ sku: request.params.sku, quantity }));
  };
  app.put('/cart/:sku', doing('setInCart'), set);
  // Forms know no PUT.
  app.post('/cart/:sku', doing('setInCart'), set);

  function changed(request: FastifyRequest, reply: FastifyReply, change: CartChange) {
    switch (change.kind) {
      case 'invalid':
        return sendProblem(front, request, reply, invalid(change.fields));
      case 'no-such-piece':
        return sendProblem(front, request, reply, notFound('piece'));
      case 'changed':
        if (wantsJson(request)) return sendJson(reply, cartJson(change.cart));
        return goTo(reply, change.added ? `/cart?added=${change.sku}` : '/cart');
    }
  }
}

export function cartJson(cart: Cart): Cart & { currency: string } {
  return { ...cart, currency: 'USD' };
}
