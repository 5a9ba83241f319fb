/**
 * The agent's HTTP API, version 1. Everything but `/health` and `/metrics` needs a token of one of our data centers
 * (`Authorization: Bearer`). An agent that does not lead passes the request on to the one that does.
 *
 *   GET    /health                  200 PASS, 503 FAIL
 *   GET    /metrics                 for Prometheus
 *   GET    /status                  AgentStatus
 *   GET    /v1/configuration        what data centers should agree on, as the leading agent has it, and its digest
 *   GET    /v1/accounts/:account    where an account is written, and whether it is in use
 *   POST   /v1/moves                MoveRequest → MoveAnswer
 *   POST   /v1/claims               {name, value, account} → ClaimAnswer; DELETE gives it back
 *   POST   /v1/buffer              {writes: [{table, row, remove}]} → {answers: BufferedAnswer[]}: writes to buffered tables
 *   GET    /v1/successions          failovers and switchovers; ?after=TERM&waitMs=N answers when there is a newer one
 *   POST   /v1/failovers            take over what another data center holds; /v1/switchovers: give away what is held here
 *   POST   /v1/rejoin               come back after a takeover, where that waits for a person
 *   POST   /v1/gives                between agents: the destination asks the home for an account
 *   POST   /v1/seen                 between agents: {deeds: [{account, epoch}]} that name your data center are here as well
 */
import { createServer as createHttpServer, type Server as HttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { AccountId, DataCenterName, Epoch } from 'lanekeeper/model';
import { type KeyRing, verifyAgentToken } from 'lanekeeper/session';
import type { GiveOutcome, GiveRequest } from '../ownership/index.ts';
import { type HandoverBackend, handoverRoutes, successionsPath } from './api-handover.ts';
import { type Buffering, bufferPath, bufferRoutes } from './buffering.ts';
import type { ClaimAnswer, ClaimRequest } from './claims.ts';
import type { MoveAnswer, MoveRequest } from './moves.ts';
import type { Log } from './options.ts';
import { forwardedHeader, type PeerAnswer, type PeerCall } from './peers.ts';
import { type SeenDeed, seenRoute } from './seen.ts';

export type Health = { readonly status: 'PASS' | 'FAIL'; readonly details: Readonly<Record<string, unknown>> };

export type AccountAnswer =
  | {
      readonly kind: 'account';
      readonly account: AccountId;
      readonly home: DataCenterName;
      readonly epoch: Epoch;
      readonly accepted: boolean;
      readonly draining: boolean;
      /** Known only at its home; null elsewhere. */
      readonly inUse: boolean | null;
    }
  | { readonly kind: 'unknown-account'; readonly account: AccountId };

/** What the API needs of the agent behind it. Everything but health and metrics is asked of the leader only. */
export type ApiBackend = HandoverBackend & {
  health(): Health;
  metrics(): Promise<{ readonly text: string; readonly contentType: string }>;
  /** Null: this agent leads. Otherwise where the leader is, if anybody knows. */
  leaderElsewhere(): { readonly url: string | null } | null;
  passOn(url: string, call: PeerCall): Promise<PeerAnswer>;
  status(): Promise<object>;
  configuration(): object;
  account(account: AccountId): Promise<AccountAnswer>;
  move(request: MoveRequest): Promise<MoveAnswer>;
  claim(request: ClaimRequest): Promise<ClaimAnswer>;
  give(request: GiveRequest): Promise<GiveOutcome | null>;
  /** Another data center has a deed that names this one. */
  seen(peer: DataCenterName, deed: SeenDeed): void;
  /** Null where nothing is buffered. Any agent's. */
  readonly append: Buffering['append'] | null;
};

export type ApiOptions = {
  readonly keys: KeyRing;
  readonly backend: ApiBackend;
  readonly log: Log;
  readonly tls: { readonly cert: string; readonly key: string } | null;
};

declare module 'fastify' {
  interface FastifyRequest {
    /** The data center whose key signed the caller's token. */
    caller: DataCenterName;
  }
}

const bodyLimit = 16 * 1024;
const keepAliveMs = 10 * 60_000;
const longestWaitMs = 60_000;
const defaultWaitMs = 10_000;
const passOnMarginMs = 2_000;

const accountSchema = { type: 'string', minLength: 1, maxLength: 512 } as const;
const epochSchema = {
  type: ['object', 'null'],
  required: ['term', 'counter'],
  additionalProperties: false,
  properties: { term: { type: 'integer', minimum: 1 }, counter: { type: 'integer', minimum: 0 } },
} as const;
const reasonSchema = { type: ['string', 'null'], maxLength: 200 } as const;

/** Why a token is refused that one of our keys has signed: only to such a caller is it said, with what to do. */
const signedButRefused: Readonly<Record<string, string>> = {
  expired:
    'It has expired: a token lasts 30 s. Make a new one; if this one was new, compare the clocks of both machines.',
  'from-the-future': 'It comes from the future: compare the clocks of both machines.',
  audience: 'It is for another cluster: `cluster` must be the same in every configuration.',
};

export function buildApi({ keys, backend, log, tls }: ApiOptions): FastifyInstance {
  const api = Fastify({
    bodyLimit,
    forceCloseConnections: true,
    serverFactory: (handler: RequestListener): HttpServer => {
      const server = tls === null ? createHttpServer(handler) : createHttpsServer(tls, handler);
      server.keepAliveTimeout = keepAliveMs;
      return server;
    },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  const dataCenterSchema = { type: 'string', enum: [...backend.dataCenters] };

  api.get('/health', async (_, reply) => {
    const { status, details } = backend.health();
    return reply.code(status === 'PASS' ? 200 : 503).send({ status, ...details });
  });
  api.get('/metrics', async (_, reply) => {
    const { text, contentType } = await backend.metrics();
    return reply.type(contentType).send(text);
  });

  api.decorateRequest('caller', '');
  api.setErrorHandler((error: { statusCode?: number; validation?: unknown; message: string }, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) log('error', 'request failed', { path: request.url, error: error.message });
    const message = status >= 500 ? 'The agent failed to answer; its log says why.' : error.message;
    const kind = status >= 500 ? 'unavailable' : 'invalid';
    return reply.code(status).send({ kind, reason: message, error: { code: 'LK_AGENT_UNAVAILABLE', message } });
  });
  api.setNotFoundHandler((_, reply) => reply.code(404).send({ kind: 'invalid', reason: 'There is no such path.' }));

  api.register(async (guarded) => {
    guarded.addHook('onRequest', async (request, reply) => {
      const token = /^Bearer ([\w.-]+)$/.exec(request.headers.authorization ?? '')?.[1];
      const verified = token === undefined ? null : verifyAgentToken(keys, token, Date.now());
      if (verified?.kind === 'valid') {
        request.caller = verified.dataCenter;
        return;
      }
      const why = verified === null ? 'no token' : verified.reason;
      log('warn', 'refused a token', { path: request.url, from: request.ip, why });
      const help = verified?.kind === 'refused' ? signedButRefused[verified.reason] : undefined;
      const message = `The token is not one of ours, or not for this purpose.${help === undefined ? '' : ` ${help}`}`;
      await reply.code(401).send({ kind: 'unauthorized', reason: message, error: { code: 'LK_BAD_TOKEN', message } });
    });
    // After the body is checked, before anything is done.
    guarded.addHook('preHandler', async (request, reply) =>
      // Every agent can answer these, and has to also while nobody leads.
      request.routeOptions.url === successionsPath || request.routeOptions.url === bufferPath
        ? undefined
        : passOnUnlessLeading(backend, request, reply),
    );
    handoverRoutes(guarded, backend, log);
    bufferRoutes(guarded, backend.append);
    seenRoute(guarded, (peer, deed) => backend.seen(peer, deed));

    guarded.get('/status', () => backend.status());
    guarded.get('/v1/configuration', () => backend.configuration());
    guarded.get<{ Params: { account: string } }>(
      '/v1/accounts/:account',
      { schema: { params: { type: 'object', properties: { account: accountSchema } } } },
      ({ params }) => backend.account(params.account),
    );

    guarded.post<{ Body: Partial<MoveRequest> & { account: string; to: string } }>(
      '/v1/moves',
      {
        schema: {
          body: {
            type: 'object',
            required: ['account', 'to'],
            additionalProperties: false,
            properties: {
              account: accountSchema,
              to: dataCenterSchema,
              ifIdle: { type: 'boolean' },
              waitMs: { type: 'integer', minimum: 1, maximum: longestWaitMs },
              reason: reasonSchema,
              epoch: epochSchema,
            },
          },
        },
      },
      async ({ body, caller }) => {
        const { account, to, ifIdle = false, waitMs = defaultWaitMs, reason = null, epoch = null } = body;
        const answer = await backend.move({ account, to, ifIdle, waitMs, reason, epoch });
        log('info', 'move', { caller, account, to, ifIdle, why: reason, ...answer });
        return answer;
      },
    );

    guarded.post<{ Body: Omit<GiveRequest, 'withinMs'> & { withinMs: number; reason?: string | null } }>(
      '/v1/gives',
      {
        schema: {
          body: {
            type: 'object',
            required: ['account', 'to', 'ifIdle', 'withinMs', 'expected'],
            additionalProperties: false,
            properties: {
              account: accountSchema,
              to: dataCenterSchema,
              ifIdle: { type: 'boolean' },
              withinMs: { type: 'number', minimum: 1, maximum: longestWaitMs },
              expected: epochSchema,
              reason: reasonSchema,
            },
          },
        },
      },
      async ({ body, caller }, reply) => {
        const { account, to, ifIdle, withinMs, expected } = body;
        // Nobody but the destination has looked at the destination's gate.
        if (caller !== to)
          return reply.code(403).send({ kind: 'invalid', reason: `${caller} may ask for accounts for itself only.` });
        const outcome = await backend.give({ account, to, ifIdle, withinMs, expected });
        if (outcome === null) return reply.code(503).send({ kind: 'unavailable', reason: 'no agent leads here' });
        log('info', 'give', { caller, account, to, ifIdle, why: body.reason ?? null, ...outcome });
        return outcome;
      },
    );

    for (const [method, kind] of [
      ['POST', 'claim'],
      ['DELETE', 'release'],
    ] as const) {
      guarded.route<{ Body: { name: string; value: string; account: string; passedOn?: boolean } }>({
        method,
        url: '/v1/claims',
        schema: {
          body: {
            type: 'object',
            required: ['name', 'value', 'account'],
            additionalProperties: false,
            properties: {
              name: { type: 'string', minLength: 1, maxLength: 63 },
              value: { type: 'string', minLength: 1, maxLength: 2048 },
              account: accountSchema,
              passedOn: { type: 'boolean' },
            },
          },
        },
        handler: async ({ body, caller }) => {
          const { name, value, account, passedOn = false } = body;
          const answer = await backend.claim({ kind, name, value, account, passedOn });
          log('info', kind, { caller, name, account, ...answer });
          return answer;
        },
      });
    }
  });
  return api;
}

/** Answers by the leader's answer when this agent does not lead. */
async function passOnUnlessLeading(
  backend: ApiBackend,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply | undefined> {
  const elsewhere = backend.leaderElsewhere();
  if (elsewhere === null) return undefined;
  const nobody = { kind: 'unavailable', reason: 'No agent leads in this data center now: try again in a moment.' };
  const { url } = elsewhere;
  if (url === null || request.headers[forwardedHeader] !== undefined) return reply.code(503).send(nobody);
  const { waitMs } = (request.body ?? {}) as { waitMs?: unknown };
  const answer = await backend.passOn(url, {
    method: request.method as PeerCall['method'],
    path: request.url,
    ...(request.body === undefined || request.body === null ? {} : { body: request.body }),
    timeoutMs: (typeof waitMs === 'number' ? waitMs : defaultWaitMs) + passOnMarginMs,
    ...(request.headers.authorization === undefined ? {} : { authorization: request.headers.authorization }),
  });
  if (answer.kind !== 'answered') return reply.code(503).send(nobody);
  return reply.code(answer.status).send(answer.body);
}
