/** `/in/:dc?to=/cart`: the same page from another data center, with the session, whatever its host is called. */
import type { FastifyInstance } from 'fastify';
import type { Shop } from '../shop.ts';
import { sendProblem } from '../web/answer.ts';
import { fieldsOf, localPath } from '../web/input.ts';
import { notFound } from '../web/problems.ts';

export function elsewhereRoutes(app: FastifyInstance, shop: Shop): void {
  app.get<{ Params: { dc: string } }>('/in/:dc', async (request, reply) => {
    const { dc } = request.params;
    if (!Object.hasOwn(shop.lanekeeper.configuration.dataCenters, dc)) {
      return sendProblem(shop, request, reply, notFound('page'));
    }
    const address = request.lanekeeper.addressIn(dc, localPath(fieldsOf(request.query).to));
    return reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer').redirect(address, 303);
  });
}
