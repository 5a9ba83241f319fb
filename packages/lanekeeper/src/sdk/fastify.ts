/** The Fastify plugin: an adapter over `http.ts`. Register it on the root instance; it applies to every route. */
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { Answer } from './answer.ts';
import type { Lanekeeper, RequestScope } from './api.ts';
import { runBound } from './binding.ts';
import { openVisit, type Visit } from './http.ts';
import { requireFixedHome } from './runtime.ts';

export type FastifyLanekeeperOptions = {
  /** What `createLanekeeper` returned. */
  readonly lanekeeper: Lanekeeper;
};

/** In a route's `config`: `{ lanekeeper: { replayable: true } }`. */
export type LanekeeperRouteConfig = {
  /**
   * The handler finds out itself for whom it works: signing in and out, registering, a call center. It runs where the request
   * arrives, whatever the session's home, and says by `signIn` or `forAccount` whose account it is about.
   */
  readonly anywhere?: boolean;
  /** What the handler writes has this fixed home, a name of `fixed` in the configuration, whoever it is for. */
  readonly home?: string;
  /** The handler may be run again at the account's home after a refusal in its middle: it did nothing but its own transaction. */
  readonly replayable?: boolean;
};

declare module 'fastify' {
  interface FastifyRequest {
    /** Who this request is for, and signing in and out. */
    readonly lanekeeper: RequestScope;
  }
  interface FastifyContextConfig {
    lanekeeper?: LanekeeperRouteConfig;
  }
}

const visits = new WeakMap<FastifyRequest, Visit>();
/** Errors on their way to the error handler, with the answer that Fastify's own handler would not know. */
const answers = new WeakMap<FastifyRequest, { readonly error: Error; readonly answer: Answer }>();

const plugin: FastifyPluginCallback<FastifyLanekeeperOptions> = (app, { lanekeeper }, registered) => {
  app.decorateRequest('lanekeeper', {
    getter(this: FastifyRequest): RequestScope {
      const visit = visits.get(this);
      if (visit === undefined) throw new TypeError('This request has not passed the plugin lanekeeper/fastify.');
      return visit.scope;
    },
  });

  // Sees the routes of plugins that are registered after this one, and all of them where its registration was awaited.
  app.addHook('onRoute', ({ config }) => {
    if (config?.lanekeeper?.home !== undefined) requireFixedHome(lanekeeper.configuration, config.lanekeeper.home);
  });

  app.addHook('onRequest', (request, reply, done) => {
    const { method, headers, raw } = request;
    const visit = openVisit(
      lanekeeper,
      { method, target: request.originalUrl, headers, encrypted: 'encrypted' in raw.socket },
      reply.raw,
    );
    const { anywhere = false, home, replayable = false } = request.routeOptions.config?.lanekeeper ?? {};
    if (replayable) visit.markReplayable();
    visits.set(request, visit);
    visit.arrive({ anywhere, home }).then((answer) => {
      if (answer === null) return runBound(visit.binding, done);
      return send(reply, answer);
    }, done);
  });

  // Between here and onRequest the body was read, in the context of the socket's events.
  app.addHook('preValidation', (request, _reply, done) => {
    const visit = visits.get(request);
    if (visit === undefined) done();
    else runBound(visit.binding, done);
  });

  app.addHook('onError', (request, _reply, error, done) => {
    const answer = visits.get(request)?.answer(error) ?? null;
    if (answer !== null) answers.set(request, { error, answer });
    done();
  });

  // An error handler of the application's own has the last word; Fastify's default knows nothing of R6.
  const lastWord = (request: FastifyRequest, reply: FastifyReply, payload: unknown): unknown => {
    const met = answers.get(request);
    if (met === undefined || !isDefaultErrorBody(payload, met.error)) return payload;
    reply.code(met.answer.status);
    // Fastify has counted the bytes of the body that this one replaces.
    reply.removeHeader('content-length');
    reply.headers(met.answer.headers);
    return met.answer.body;
  };

  app.addHook('onSend', (request, reply, payload, done) => {
    const settled = visits.get(request)?.settled() ?? null;
    if (settled === null) done(null, lastWord(request, reply, payload));
    else void settled.then(() => done(null, lastWord(request, reply, payload)));
  });

  registered();
};

function send(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  return reply.code(status).headers(headers).send(body);
}

function isDefaultErrorBody(payload: unknown, error: Error): boolean {
  if (typeof payload !== 'string' || !payload.startsWith('{')) return false;
  try {
    const body = JSON.parse(payload) as Record<string, unknown>;
    return typeof body.statusCode === 'number' && body.message === error.message;
  } catch {
    return false;
  }
}

/** Fastify keeps a plugin's hooks to the plugin's own routes unless it is marked like this. */
const marks = {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'lanekeeper',
  [Symbol.for('plugin-meta')]: { name: 'lanekeeper', fastify: '5.x' },
};

/** `app.register(fastifyLanekeeper, { lanekeeper })` */
export const fastifyLanekeeper: (
  app: FastifyInstance,
  options: FastifyLanekeeperOptions,
  registered: (error?: Error) => void,
) => void = Object.assign(plugin, marks);

export default fastifyLanekeeper;
