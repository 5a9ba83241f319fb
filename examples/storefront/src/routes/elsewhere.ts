/** `/in/:dc?to=/cart`: the same page from another data center, with the session, whatever its host is called. */
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf, localPath } from '../web/input.ts';
import { notFound } from '../web/problems.ts';

export function elsewhereRoutes(app: FastifyInstance, front: Front): void {
  app.get<{ Params: { dc: string } }>('/in/:dc', async (request, reply) => {
    const { dc } = request.params;
    if (!Object.hasOwn(front.dataCenters, dc)) {
      return sendProblem(front, request, reply, notFound('page'));
    }
    const address = front.addressIn(request, dc, localPath(fieldsOf(request.query).to));
    return reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer').redirect(address, 303);
  });
}
