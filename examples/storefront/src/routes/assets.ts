/** `/assets/…`: compressed once, kept by browsers for ever under a name that changes with the content. */
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../web/answer.ts';
import { encodingFor } from '../web/assets.ts';
import type { Front } from '../web/front.ts';
import { notFound } from '../web/problems.ts';

export function assetRoutes(app: FastifyInstance, front: Front): void {
  app.get<{ Params: { file: string } }>('/assets/:file', async (request, reply) => {
    const found = front.assets.find(request.params.file);
    if (found === null) return sendProblem(front, request, reply, notFound());
    const { asset, name, current } = found;
    const encoding = encodingFor(request.headers['accept-encoding'], asset.type);
    if (encoding !== 'identity') reply.header('content-encoding', encoding);
    return (
      reply
        // A page of yesterday's release still finds its picture, but nobody keeps today's under yesterday's name.
        .header('cache-control', current ? 'public, max-age=31536000, immutable' : 'public, max-age=60')
        .header('vary', 'accept-encoding')
        .type(asset.type)
        .send(await front.assets.encoded(name, encoding))
    );
  });

  app.get('/favicon.ico', async (_request, reply) => reply.redirect(front.assets.path('mark.svg'), 302));
}
