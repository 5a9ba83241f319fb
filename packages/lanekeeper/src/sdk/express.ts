/** The Express middleware: an adapter over `http.ts`. Mount it before body parsers and routes, its error handler after them. */
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { Answer } from './answer.ts';
import type { Lanekeeper, RequestScope } from './api.ts';
import { runBound } from './binding.ts';
import { openVisit, type Visit } from './http.ts';
import { requireFixedHome } from './runtime.ts';

declare global {
  namespace Express {
    interface Request {
      /** Who this request is for, and signing in and out. */
      lanekeeper: RequestScope;
    }
  }
}

const visits = new WeakMap<Request, Visit>();

export type LanekeeperExpressOptions = {
  /**
   * Requests whose handler finds out itself for whom it works: signing in and out, registering, a call center. They run where they
   * arrive, whatever the session's home. Default: none.
   */
  readonly anywhere?: (request: Request) => boolean;
  /**
   * Requests whose writes have a fixed home, whoever they are for; by name of `fixed` in the configuration, for example
   * `{ checkout: (request) => request.path.startsWith('/checkout') }`. Default: none.
   */
  readonly homes?: Readonly<Record<string, (request: Request) => boolean>>;
};

/**
 * `app.use(lanekeeperExpress(lanekeeper))`
 * @throws {LanekeeperError} `LK_CONFIG` when `homes` names a fixed home that the configuration does not have
 */
export function lanekeeperExpress(
  lanekeeper: Lanekeeper,
  { anywhere = () => false, homes = {} }: LanekeeperExpressOptions = {},
): RequestHandler {
  for (const name of Object.keys(homes)) requireFixedHome(lanekeeper.configuration, name);
  const homeOf = (request: Request) => Object.keys(homes).find((name) => homes[name]?.(request));
  return (request, response, next) => {
    const { method, originalUrl, headers, socket } = request;
    const visit = openVisit(
      lanekeeper,
      { method, target: originalUrl, headers, encrypted: 'encrypted' in socket },
      response,
    );
    visits.set(request, visit);
    request.lanekeeper = visit.scope;
    visit.arrive({ anywhere: anywhere(request), home: homeOf(request) }).then((answer) => {
      if (answer === null) return runBound(visit.binding, next);
      return send(response, answer);
    }, next);
  };
}

/** `app.use(lanekeeperExpressErrors())`, after the routes: answers refusals as R6 wants it and leaves other errors alone. */
export function lanekeeperExpressErrors(): ErrorRequestHandler {
  return (error, request, response, next) => {
    const answer = visits.get(request)?.answer(error) ?? null;
    if (answer === null || response.headersSent) next(error);
    else send(response, answer);
  };
}

/**
 * In front of a handler, `app.post('/cart', replayable, handler)`: it may be run again at the account's home after a refusal in its
 * middle, since it did nothing but its own transaction.
 */
export const replayable: RequestHandler = (request, _response, next) => {
  visits.get(request)?.markReplayable();
  next();
};

function send(response: Response, { status, headers, body }: Answer): void {
  response.status(status).set(headers).send(body);
}
