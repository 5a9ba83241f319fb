/** `/orders`, `/orders/history`, `/orders/:id`: one's own. */
import type { FastifyInstance } from 'fastify';
import { orderListPage, orderPage } from '../views/orders.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf } from '../web/input.ts';
import { notFound, signInFirst } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function orderRoutes(app: FastifyInstance, front: Front): void {
  const { assets } = front;

  app.get('/orders', async (request, reply) => {
    const found = await front.shop(request).orders();
    if (found.kind === 'nobody') {
      if (wantsJson(request)) return sendProblem(front, request, reply, signInFirst('/orders'));
      return goTo(reply, '/sign-in?next=/orders');
    }
    if (wantsJson(request)) return sendJson(reply, found.orders);
    const [visit, summed] = await Promise.all([visitOf(front, request), front.shop(request).orderHistory()]);
    const history = summed.kind === 'history' ? summed.history : null;
    return sendPage(reply, orderListPage({ visit, assets }, found.orders, history));
  });

  app.get('/orders/history', async (request, reply) => {
    const found = await front.shop(request).orderHistory();
    if (found.kind === 'nobody') return sendProblem(front, request, reply, signInFirst('/orders'));
    return wantsJson(request) ? sendJson(reply, found.history) : goTo(reply, '/orders');
  });

  app.get<{ Params: { id: string } }>('/orders/:id', async (request, reply) => {
    const found = await front.shop(request).order({ id: request.params.id });
    if (found.kind === 'nobody') return sendProblem(front, request, reply, signInFirst(request.url));
    if (found.kind === 'not-found') return sendProblem(front, request, reply, notFound('order'));
    if (wantsJson(request)) return sendJson(reply, found.order);
    const query = fieldsOf(request.query);
    const [placed, keptHere] = [query.placed === '1', query.kept === 'here'];
    const view = { visit: await visitOf(front, request), assets };
    return sendPage(reply, orderPage(view, found.order, { placed, keptHere }));
  });
}
