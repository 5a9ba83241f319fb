/** The pages of the shop on a server: their routes, who may send forms to them, and what a customer reads when something goes wrong. */
import formBody from '@fastify/formbody';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { findLanekeeperError } from 'lanekeeper';
import { accountRoutes } from '../routes/account.ts';
import { assetRoutes } from '../routes/assets.ts';
import { cartRoutes } from '../routes/cart.ts';
import { catalogRoutes } from '../routes/catalog.ts';
import { checkoutRoutes } from '../routes/checkout.ts';
import { deskRoutes } from '../routes/desk.ts';
import { elsewhereRoutes } from '../routes/elsewhere.ts';
import { orderRoutes } from '../routes/orders.ts';
import { sendJson, sendProblem } from './answer.ts';
import type { Front } from './front.ts';
import { isOurOrigin } from './origin.ts';
import { notFound, problem } from './problems.ts';
import { humanRefusals, refusalProblem } from './refusals.ts';
import { bodyLimitBytes } from './server.ts';

export async function openPages(app: FastifyInstance, front: Front): Promise<void> {
  await app.register(formBody, { bodyLimit: bodyLimitBytes });
  const origins = Object.values(front.dataCenters).map((dc) => new URL(dc.url).origin);
  guard(app, front, origins);
  humanRefusals(app, front);
  app.setErrorHandler((error: FastifyError, request, reply) => meet(front, error, request, reply));
  app.setNotFoundHandler((request, reply) => sendProblem(front, request, reply, notFound()));
  app.get('/health', async (_request, reply) => {
    const found = await front.health();
    const { here, instance } = front;
    return sendJson(reply, { ...found, dataCenter: here, instance }, found.status === 'PASS' ? 200 : 503);
  });
  for (const routes of [
    assetRoutes,
    catalogRoutes,
    cartRoutes,
    accountRoutes,
    checkoutRoutes,
    orderRoutes,
    deskRoutes,
    elsewhereRoutes,
  ]) {
    routes(app, front);
  }
}

function guard(app: FastifyInstance, front: Front, origins: readonly string[]): void {
  // A form may be answered with a redirect to another data center, which is one of us.
  const policy = [
    "default-src 'none'",
    "img-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "script-src 'self'",
    `form-action 'self' ${origins.join(' ')}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'content-security-policy': policy,
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
    });
    const { origin, host } = request.headers;
    const site = request.headers['sec-fetch-site'];
    const secFetchSite = Array.isArray(site) ? site[0] : site;
    if (isOurOrigin({ method: request.method, origin, secFetchSite, host, ours: origins })) return;
    const message = 'This form was not on one of our pages, so it was not taken in. Nothing was changed.';
    return sendProblem(front, request, reply, problem(403, 'SHOP_FOREIGN_FORM', 'Where did this come from?', message));
  });
}

/** Also for what cannot be routed. */
export function meet(front: Front, error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const refusal = findLanekeeperError(error);
  if (refusal !== undefined) {
    request.log.info({ code: refusal.code, details: refusal.details }, refusal.message);
    return sendProblem(front, request, reply, refusalProblem(front, refusal));
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) {
    const message = status === 413 ? 'That is more than any form of ours holds.' : 'We could not read what was sent.';
    return sendProblem(front, request, reply, problem(status, 'SHOP_INVALID', 'That did not arrive well', message));
  }
  request.log.error({ err: error }, 'a request failed');
  const message = 'The mistake is ours and has been written down. Whatever you were doing was not saved.';
  return sendProblem(front, request, reply, problem(500, 'SHOP_BROKEN', 'Something broke', message));
}
