/**
 * Two Kilns, the storefront: a shop that sells from two data centers and hardly notices.
 *
 * - `main.ts`, `migrate.ts`, `seed.ts`: what is started · `settings.ts`: what the environment says
 * - `app.ts` (here): puts the shop together · `shop.ts`: what the routes work with
 * - `routes/`: one file for each part of the shop · `views/`: its pages · `web/`: HTML, input, answers, assets
 * - `accounts/`, `cart/`, `orders/`, `catalog/`: what the shop knows how to do · `database/`, `migrations/`: where it keeps it
 * - `payment/`: charges what was ordered · `payment-service/`: who is asked to, a service of its own
 * - `pictures/`: draws what it sells · `health.ts`: whether it sells
 *
 * What Lanekeeper asks of an application, and where it is done. 1: an account's row is written before anything that
 * belongs to it, guests included (`routes/cart.ts`). 2: what must be unique in all data centers is claimed before it is
 * inserted (`accounts/accounts.ts`). 3: what must happen once carries a request id (`orders/checkout.ts`,
 * `payment/`). 4: work for
 * somebody else's account says whose (`routes/desk.ts`). 5: a refusal is told as it is (R6, `web/problems.ts`).
 */
import formBody from '@fastify/formbody';
import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import { findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import fastifyLanekeeper from 'lanekeeper/fastify';
import { Attempts } from './accounts/attempts.ts';
import { connect } from './database/connect.ts';
import { HealthChecks } from './health.ts';
import { PaymentWorker } from './payment/worker.ts';
import { accountRoutes } from './routes/account.ts';
import { assetRoutes } from './routes/assets.ts';
import { cartRoutes } from './routes/cart.ts';
import { catalogRoutes } from './routes/catalog.ts';
import { checkoutRoutes } from './routes/checkout.ts';
import { deskRoutes } from './routes/desk.ts';
import { elsewhereRoutes } from './routes/elsewhere.ts';
import { orderRoutes } from './routes/orders.ts';
import type { Settings } from './settings.ts';
import type { Shop } from './shop.ts';
import { sendJson, sendProblem } from './web/answer.ts';
import { loadAssets } from './web/assets.ts';
import { isOurOrigin } from './web/origin.ts';
import { notFound, problem } from './web/problems.ts';
import { humanRefusals, refusalProblem } from './web/refusals.ts';

const bodyLimitBytes = 64 * 1024;

export async function createShop(lanekeeper: Lanekeeper, settings: Settings): Promise<FastifyInstance> {
  const app = fastify({
    logger: { level: settings.logLevel, base: { dc: lanekeeper.here } },
    // One line for each request is the edge's to write.
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: settings.trustProxy,
    bodyLimit: bodyLimitBytes,
    // While we close, the edge may still send over connections that it holds; they are answered and then closed.
    return503OnClosing: false,
    // A request id of 128 characters, each of which may take nine in a URL.
    routerOptions: { maxParamLength: 1200 },
    // What cannot be routed has passed no plugin.
    frameworkErrors: (error, request, reply) => {
      reply.header('lanekeeper-data-center', lanekeeper.here);
      return meet(shop, error, request, reply);
    },
  });
  const pool = lanekeeper.pool({ max: 10, application_name: `storefront ${lanekeeper.instance}` });
  const db = connect(pool, (error) => app.log.warn({ err: error }, 'an idle connection broke'));
  const shop: Shop = {
    lanekeeper,
    db,
    assets: loadAssets(),
    attempts: new Attempts(),
    settings,
    payments:
      settings.paymentUrl === null
        ? null
        : new PaymentWorker({ lanekeeper, db, url: settings.paymentUrl, log: app.log }),
  };
  const health = new HealthChecks(lanekeeper);
  app.addHook('onReady', async () => shop.payments?.start());
  app.addHook('onClose', async () => {
    await shop.payments?.stop();
    await Promise.all([shop.db.destroy(), health.close()]);
  });

  await app.register(formBody, { bodyLimit: bodyLimitBytes });
  await app.register(fastifyLanekeeper, { lanekeeper });
  const origins = Object.values(lanekeeper.configuration.dataCenters).map((dc) => new URL(dc.url).origin);
  guard(app, shop, origins);
  letGoOnClose(app);
  humanRefusals(app, shop);
  app.setErrorHandler((error: FastifyError, request, reply) => meet(shop, error, request, reply));
  app.setNotFoundHandler((request, reply) => sendProblem(shop, request, reply, notFound()));

  app.get('/health', async (_request, reply) => {
    const found = await health.look();
    const { here, instance } = lanekeeper;
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
    routes(app, shop);
  }
  return app;
}

/** A connection whose last request was under way when we closed would be kept, by the edge, until it times out. */
function letGoOnClose(app: FastifyInstance): void {
  let closing = false;
  app.addHook('preClose', async () => {
    closing = true;
  });
  app.addHook('onSend', async (_request, reply, payload) => {
    if (closing) reply.header('connection', 'close');
    return payload;
  });
}

function guard(app: FastifyInstance, shop: Shop, origins: readonly string[]): void {
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
    return sendProblem(shop, request, reply, problem(403, 'SHOP_FOREIGN_FORM', 'Where did this come from?', message));
  });
}

function meet(shop: Shop, error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const refusal = findLanekeeperError(error);
  if (refusal !== undefined) {
    request.log.info({ code: refusal.code, details: refusal.details }, refusal.message);
    return sendProblem(shop, request, reply, refusalProblem(shop, refusal));
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) {
    const message = status === 413 ? 'That is more than any form of ours holds.' : 'We could not read what was sent.';
    return sendProblem(shop, request, reply, problem(status, 'SHOP_INVALID', 'That did not arrive well', message));
  }
  request.log.error({ err: error }, 'a request failed');
  const message = 'The mistake is ours and has been written down. Whatever you were doing was not saved.';
  return sendProblem(shop, request, reply, problem(500, 'SHOP_BROKEN', 'Something broke', message));
}
