/** The front alone: pages, and nothing that would be missed when the process is gone. Whatever is done, a backend does. */
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify';
import type { Backend, Frontend } from 'lanekeeper/frontend';
import { headers } from 'lanekeeper/model';
import { Attempts } from '../accounts/attempts.ts';
import type { Settings } from '../settings.ts';
import { remoteShop } from '../shop/remote.ts';
import { loadAssets } from './assets.ts';
import type { Front } from './front.ts';
import { meet, openPages } from './pages.ts';
import { createServer } from './server.ts';

export async function createFront(frontend: Frontend, settings: Settings, instance: string): Promise<FastifyInstance> {
  const { here, configuration } = frontend;
  const app = createServer(here, settings, (error, request, reply) => {
    reply.header(headers.dataCenter, here);
    return meet(front, error, request, reply);
  });
  const backends = new WeakMap<FastifyRequest, Backend>();
  const front: Front = {
    here,
    instance,
    dataCenters: configuration.dataCenters,
    settings,
    assets: loadAssets(),
    attempts: new Attempts(),
    shop: (request) => remoteShop(backends.get(request) as Backend),
    session: (request) => {
      const backend = backends.get(request);
      if (backend === undefined) return null;
      return { account: null, home: null, ...backend.session, requestId: backend.requestId };
    },
    // The data centers' hosts share a parent domain, and so the session.
    addressIn: (_request, dc, path) => new URL(path, configuration.dataCenters[dc]?.url).href,
    health: () => backendHealth(frontend, app.log),
  };
  app.addHook('onRequest', async (request, reply) => {
    const { headers: incoming, raw } = request;
    const { remoteAddress } = raw.socket;
    backends.set(request, frontend.backend({ headers: incoming, remoteAddress, encrypted: 'encrypted' in raw.socket }));
    reply.header(headers.dataCenter, here);
  });
  app.addHook('onSend', async (request, reply, payload) => {
    const backend = backends.get(request);
    for (const text of backend?.setCookies ?? []) reply.header('set-cookie', text);
    if (backend?.durability) reply.header(headers.durability, backend.durability);
    return payload;
  });
  await openPages(app, front);
  return app;
}

/** A front sells when a backend does, first of all one of its own data center. */
async function backendHealth(frontend: Frontend, log: FastifyBaseLogger): ReturnType<Front['health']> {
  try {
    const response = await frontend.backend({ headers: {} }).fetch('/health', { at: 'here' });
    const { status, ...rest } = (await response.json()) as Awaited<ReturnType<Front['health']>>;
    return { ...rest, status: response.ok && status === 'PASS' ? 'PASS' : 'FAIL' };
  } catch (error) {
    log.debug({ err: error }, 'no backend');
    return { status: 'FAIL' };
  }
}
