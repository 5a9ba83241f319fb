/** Answers: a page for people, JSON for programs, from the same route. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { problemPage } from '../views/problem.ts';
import type { Front } from './front.ts';
import type { Html } from './html.ts';
import type { Problem } from './problems.ts';
import { plainVisit, type Visit, visitOf } from './visit.ts';

/** `Accept: application/json`, or a JSON body from somebody who did not say. */
export function wantsJson(request: FastifyRequest): boolean {
  const accept = request.headers.accept ?? '*/*';
  if (accept.includes('text/html')) return false;
  if (accept.includes('application/json')) return true;
  return (request.headers['content-type'] ?? '').startsWith('application/json');
}

/** Pages are about one person and one moment: nobody in between may keep them. */
export function sendPage(reply: FastifyReply, page: Html, status = 200): FastifyReply {
  return reply
    .code(status)
    .header('cache-control', 'private, no-cache')
    .header('vary', 'accept, cookie')
    .type('text/html; charset=utf-8')
    .send(page.text);
}

export function sendJson(reply: FastifyReply, body: unknown, status = 200): FastifyReply {
  return reply
    .code(status)
    .header('cache-control', 'private, no-store')
    .header('vary', 'accept, cookie')
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(body));
}

/** After a form was taken in: on to a page that can be loaded again without doing it again. */
export function goTo(reply: FastifyReply, path: string): FastifyReply {
  return reply.header('cache-control', 'no-store').redirect(path, 303);
}

/** `page` draws the problem where it happened (a form with its fields filled in); without it there is a page of its own. */
export function sendProblem(
  front: Front,
  request: FastifyRequest,
  reply: FastifyReply,
  problem: Problem,
  page?: () => Html | Promise<Html>,
): FastifyReply | Promise<FastifyReply> {
  const { retryAfterMs } = problem;
  if (retryAfterMs !== null) reply.header('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000))));
  if (wantsJson(request)) {
    const { code, message, home, fields } = problem;
    const requestId = problem.requestId ?? front.session(request)?.requestId ?? request.id;
    const error = { code, message, dataCenter: front.here, home, retryAfterMs, requestId };
    return sendJson(reply, { error: fields === undefined ? error : { ...error, fields } }, problem.status);
  }
  if (page !== undefined) {
    return Promise.resolve(page()).then((drawn) => sendPage(reply, drawn, problem.status));
  }
  return problemVisit(front, request, problem).then((visit) => {
    const repeatable = request.method === 'GET';
    return sendPage(reply, problemPage({ visit, assets: front.assets }, problem, { repeatable }), problem.status);
  });
}

/** When something is wrong with the shop, it is not asked for the decoration. */
async function problemVisit(front: Front, request: FastifyRequest, { status }: Problem): Promise<Visit> {
  if (status >= 500 || front.session(request) === null) return plainVisit(front, request);
  return visitOf(front, request).catch(() => plainVisit(front, request));
}
