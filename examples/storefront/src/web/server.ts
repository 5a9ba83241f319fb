/** The HTTP server that all three programs have in common. */
import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import type { Settings } from '../settings.ts';

export const bodyLimitBytes = 64 * 1024;

export type FrameworkError = (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => unknown;

/** `frameworkErrors` meets what cannot even be routed. */
export function createServer(here: string, settings: Settings, frameworkErrors?: FrameworkError): FastifyInstance {
  const app = fastify({
    logger: { level: settings.logLevel, base: { dc: here } },
    // One line for each request is the edge's to write.
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: settings.trustProxy,
    bodyLimit: bodyLimitBytes,
    // While we close, the edge may still send over connections that it holds; they are answered and then closed.
    return503OnClosing: false,
    // A request id of 128 characters, each of which may take nine in a URL.
    routerOptions: { maxParamLength: 1200 },
    ...(frameworkErrors === undefined ? {} : { frameworkErrors }),
  });
  letGoOnClose(app);
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
