/**
 * Two Kilns, the storefront: a shop that sells from two data centers and hardly notices.
 *
 * - `shop/`: what the shop can do (`shop.ts`), and two ways to have it done: `direct.ts`, on the database in this
 *   process, or `remote.ts`, by a backend
 * - the front: `routes/` one file for each part of the shop, `views/` its pages, `web/` HTML, input, answers, assets,
 *   `pictures/` draws what it sells
 * - the back: `operations/` what `direct.ts` is made of, `accounts/`, `cart/`, `orders/`, `catalog/` what the shop knows how
 *   to do, `payment/` charges what was ordered, `database/`, `migrations/` where it keeps it, `health.ts` whether it sells
 * - what is started: `main.ts` front and back in one process; or `front.ts` and `back.ts`, each in its own; `migrate.ts`,
 *   `seed.ts` · `app.ts` (here) puts the first and the last together, `web/stateless.ts` the front alone · `settings.ts`:
 *   what the environment says
 * - `payment-service/`: who is asked to move the money, a service of its own
 *
 * What Lanekeeper asks of an application, and where it is done. 1: an account's row is written before anything that
 * belongs to it, guests included (`operations/cart.ts`). 2: what must be unique in all data centers is claimed before it is
 * inserted (`accounts/accounts.ts`). 3: what must happen once carries a request id (`orders/checkout.ts`, `payment/`).
 * 4: work for somebody else's account says whose (`operations/desk.ts`). 5: a refusal is told as it is (R6,
 * `web/problems.ts`).
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Lanekeeper, RequestScope } from 'lanekeeper';
import fastifyLanekeeper from 'lanekeeper/fastify';
import { headers } from 'lanekeeper/model';
import { HealthChecks } from './health.ts';
import { type Back, callerOf, openBack } from './operations/back.ts';
import type { Settings } from './settings.ts';
import { backendRoutes } from './shop/backend.ts';
import { directShop } from './shop/direct.ts';
import { loadAssets } from './web/assets.ts';
import type { Front } from './web/front.ts';
import { meet, openPages } from './web/pages.ts';
import { createServer } from './web/server.ts';

/** Front and back in one process. */
export async function createShop(lanekeeper: Lanekeeper, settings: Settings): Promise<FastifyInstance> {
  const { here, instance, configuration } = lanekeeper;
  const app = createServer(here, settings, (error, request, reply) => {
    // What cannot be routed has passed no plugin.
    reply.header(headers.dataCenter, here);
    return meet(front, error, request, reply);
  });
  const { back, health } = openBackIn(app, lanekeeper, settings);
  const front: Front = {
    here,
    instance,
    dataCenters: configuration.dataCenters,
    settings,
    assets: loadAssets(),
    attempts: back.attempts,
    shop: (request) => directShop(back, callerOf(request)),
    session: scopeOf,
    addressIn: (request, dc, path) => request.lanekeeper.addressIn(dc, path),
    health: () => health.look(),
  };
  await app.register(fastifyLanekeeper, { lanekeeper });
  await openPages(app, front);
  return app;
}

/** The back alone: JSON for frontends. */
export async function createBack(lanekeeper: Lanekeeper, settings: Settings): Promise<FastifyInstance> {
  const { here, instance } = lanekeeper;
  const app = createServer(here, settings);
  const { back, health } = openBackIn(app, lanekeeper, settings);
  await app.register(fastifyLanekeeper, { lanekeeper });
  backendRoutes(app, back);
  app.get('/health', async (_request, reply) => {
    const found = await health.look();
    return reply.code(found.status === 'PASS' ? 200 : 503).send({ ...found, dataCenter: here, instance });
  });
  return app;
}

function openBackIn(
  app: FastifyInstance,
  lanekeeper: Lanekeeper,
  settings: Settings,
): { readonly back: Back; readonly health: HealthChecks } {
  const back = openBack(lanekeeper, settings, app.log);
  const health = new HealthChecks(lanekeeper);
  app.addHook('onReady', async () => back.payments?.start());
  app.addHook('onClose', async () => {
    await back.payments?.stop();
    await Promise.all([back.db.destroy(), health.close()]);
  });
  return { back, health };
}

function scopeOf(request: FastifyRequest): RequestScope | null {
  try {
    return request.lanekeeper;
  } catch {
    return null;
  }
}
