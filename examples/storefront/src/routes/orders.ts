/** `/orders`, `/orders/:id`: one's own. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { listOrders, readOrder } from '../orders/orders.ts';
import type { Shop } from '../shop.ts';
import { orderListPage, orderPage } from '../views/orders.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { fieldsOf, idPattern } from '../web/input.ts';
import { notFound, signInFirst } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function orderRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets } = shop;

  app.get('/orders', async (request, reply) => {
    const { account } = request.lanekeeper;
    if (account === null) {
      if (wantsJson(request)) return sendProblem(shop, request, reply, signInFirst('/orders'));
      return goTo(reply, '/sign-in?next=/orders');
    }
    const orders = await listOrders(db, account);
    if (wantsJson(request)) return sendJson(reply, orders);
    const found = await findAccount(db, { id: account });
    const customer = { name: found?.name ?? '', email: found?.email ?? '' };
    return sendPage(reply, orderListPage({ visit: await visitOf(shop, request), assets }, orders, customer));
  });

  app.get<{ Params: { id: string } }>('/orders/:id', async (request, reply) => {
    const { account } = request.lanekeeper;
    if (account === null) return sendProblem(shop, request, reply, signInFirst(request.url));
    const { id } = request.params;
    const order = idPattern.test(id) ? await readOrder(db, id) : null;
    // Somebody else's order is no order: whether it exists is not told.
    if (order === null || order.account !== account) return sendProblem(shop, request, reply, notFound('order'));
    if (wantsJson(request)) return sendJson(reply, order);
    const query = fieldsOf(request.query);
    const [placed, keptHere] = [query.placed === '1', query.kept === 'here'];
    return sendPage(reply, orderPage({ visit: await visitOf(shop, request), assets }, order, { placed, keptHere }));
  });
}
