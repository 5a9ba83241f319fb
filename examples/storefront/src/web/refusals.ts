/** Lanekeeper's refusals become pages: those that handlers throw, and those that are answered before a handler runs. */
import type { FastifyInstance } from 'fastify';
import { type AnswerBody, errors, LanekeeperError } from 'lanekeeper';
import { problemPage } from '../views/problem.ts';
import { wantsJson } from './answer.ts';
import type { Front } from './front.ts';
import { type Problem, problemOf } from './problems.ts';
import { plainVisit } from './visit.ts';

const retryAfterMs = 1000;

export function refusalProblem({ dataCenters }: Front, refusal: LanekeeperError): Problem {
  const after = refusal.retryable ? (refusal.details.retryAfterMs ?? retryAfterMs) : null;
  return problemOf(refusal, after, (dc) => dataCenters[dc]?.place ?? dc);
}

/** The plugin answers in JSON, which is right for programs. */
export function humanRefusals(app: FastifyInstance, front: Front): void {
  app.addHook('onSend', async (request, reply, payload) => {
    if (reply.statusCode < 400 || wantsJson(request)) return payload;
    const body = refusalIn(payload);
    if (body === null) return payload;
    const { code, message, home, retryAfterMs: after, requestId } = body.error;
    const details = {
      requestId,
      ...(home === null ? {} : { home }),
      ...(after === null ? {} : { retryAfterMs: after }),
    };
    const problem = refusalProblem(front, new LanekeeperError(code, message, details));
    const view = { visit: plainVisit(front, request), assets: front.assets };
    reply.type('text/html; charset=utf-8').removeHeader('content-length');
    return problemPage(view, problem, { repeatable: request.method === 'GET' }).text;
  });
}

function refusalIn(payload: unknown): AnswerBody | null {
  if (typeof payload !== 'string' || !payload.startsWith('{"error":')) return null;
  try {
    const body = JSON.parse(payload) as AnswerBody;
    return Object.hasOwn(errors, body.error.code) ? body : null;
  } catch {
    return null;
  }
}
