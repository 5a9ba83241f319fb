/** `/desk`, the call center. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { cookieOf, DeskPass, deskCookie, deskPassAgeMs } from '../accounts/desk-pass.ts';
import { doing } from '../shop/calls.ts';
import { deskOrderPage, deskPage, deskSignInPage } from '../views/desk.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf, text } from '../web/input.ts';
import { invalid, notFound, type Problem, problem, tooMany } from '../web/problems.ts';
import { plainVisit } from '../web/visit.ts';

/** Opening and shutting it concerns nobody's account. */
const door = doing('changeOrder');

export function deskRoutes(app: FastifyInstance, front: Front): void {
  const { assets, attempts, settings } = front;
  const pass = settings.deskPassphrase === null ? null : new DeskPass(settings.deskPassphrase);
  const view = (request: FastifyRequest) => ({ visit: plainVisit(front, request), assets });

  app.post('/desk/sign-in', door, async (request, reply) => {
    const refuse = (refusal: Problem) =>
      sendProblem(front, request, reply, refusal, () =>
        deskSignInPage(view(request), { closed: pass === null, problem: refusal }),
      );
    if (pass === null) return refuse(closedProblem);
    const waitMs = attempts.waitMs('desk', request.ip, Date.now());
    if (waitMs > 0) return refuse(tooMany(waitMs));
    if (!pass.opens(text(fieldsOf(request.body), 'passphrase', 1024) ?? '')) {
      attempts.failed('desk', request.ip, Date.now());
      return refuse(problem(401, 'SHOP_WRONG_PASSWORD', 'This is not the passphrase', 'Ask at the kiln.'));
    }
    attempts.succeeded('desk');
    reply.header('set-cookie', cookie(request, pass.issue(Date.now()), deskPassAgeMs));
    return wantsJson(request) ? sendJson(reply, { desk: 'open' }) : goTo(reply, '/desk');
  });

  app.post('/desk/sign-out', door, async (request, reply) => {
    reply.header('set-cookie', cookie(request, '', 0));
    return wantsJson(request) ? sendJson(reply, { desk: 'closed' }) : goTo(reply, '/desk');
  });

  app.get('/desk', async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const query = text(fieldsOf(request.query), 'find', 254);
    if (query === null) {
      const setAside = await front.shop(request).setAside();
      if (wantsJson(request)) return sendJson(reply, { setAside });
      return sendPage(reply, deskPage(view(request), { setAside }));
    }
    const found = await front.shop(request).customer({ find: query });
    if (found === null) {
      const missing = notFound('customer');
      return sendProblem(front, request, reply, missing, () => deskPage(view(request), { query, problem: missing }));
    }
    if (wantsJson(request)) return sendJson(reply, found);
    return sendPage(reply, deskPage(view(request), { query, ...found }));
  });

  app.get<{ Params: { id: string } }>('/desk/orders/:id', async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const found = await front.shop(request).deskOrder({ id: request.params.id });
    if (found === null) return sendProblem(front, request, reply, notFound('order'));
    if (wantsJson(request)) return sendJson(reply, found);
    const saved = fieldsOf(request.query).saved === '1';
    return sendPage(reply, deskOrderPage(view(request), { ...found, saved }));
  });

  app.post<{ Params: { id: string } }>('/desk/orders/:id', doing('changeOrder'), async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const { id } = request.params;
    const changed = await front.shop(request).changeOrder({ ...fieldsOf(request.body), id });
    switch (changed.kind) {
      case 'invalid':
        return sendProblem(front, request, reply, invalid({ quantity: changed.message }));
      case 'not-found':
        return sendProblem(front, request, reply, notFound('order'));
      case 'changed': {
        const { order, customer } = changed;
        if (wantsJson(request)) return sendJson(reply, { order, customer });
        return goTo(reply, `/desk/orders/${order.id}?saved=1`);
      }
      default: {
        const refusal = refusals[changed.kind];
        return sendProblem(front, request, reply, refusal, () =>
          deskOrderPage(view(request), { ...changed, problem: refusal }),
        );
      }
    }
  });

  app.post<{ Params: { id: string } }>('/desk/orders/:id/payment', doing('retryPayment'), async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const found = await front.shop(request).retryPayment({ id: request.params.id });
    if (found === null) return sendProblem(front, request, reply, notFound('order'));
    if (wantsJson(request)) return sendJson(reply, found);
    return goTo(reply, `/desk/orders/${found.order.id}`);
  });

  function open(request: FastifyRequest): boolean {
    return pass?.accepts(cookieOf(request.headers.cookie, deskCookie), Date.now()) ?? false;
  }

  function shut(request: FastifyRequest, reply: FastifyReply) {
    const closed = pass === null;
    const refusal = closed ? closedProblem : signInToDesk;
    return sendProblem(front, request, reply, refusal, () => deskSignInPage(view(request), { closed }));
  }
}

function cookie(request: FastifyRequest, value: string, maxAgeMs: number): string {
  const secure = request.protocol === 'https' ? '; Secure' : '';
  return `${deskCookie}=${value}; Path=/desk; HttpOnly; SameSite=Strict; Max-Age=${Math.floor(maxAgeMs / 1000)}${secure}`;
}

const closedProblem = problem(
  403,
  'SHOP_DESK_CLOSED',
  'The desk is closed',
  'This shop was started without a passphrase for its desk.',
);
const signInToDesk = problem(
  401,
  'SHOP_DESK_SIGN_IN',
  'Please open the desk first',
  'It takes the passphrase of the day.',
  {
    next: { href: '/desk', label: 'To the desk' },
  },
);

const refusals = {
  stale: problem(
    409,
    'SHOP_ORDER_CHANGED',
    'Somebody else has changed this order',
    'Nothing was saved. Below is how it is now; please make the change once more if it still applies.',
  ),
  'cancelled-before': problem(
    409,
    'SHOP_ORDER_CANCELLED',
    'This order was cancelled before',
    'It can only be looked at.',
  ),
  'nothing-left': problem(
    409,
    'SHOP_ORDER_EMPTY',
    'Nothing would be left in this order',
    'Nothing was saved. Cancel the order if that is what the customer wants.',
  ),
};
