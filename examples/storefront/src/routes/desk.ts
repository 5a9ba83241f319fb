/**
 * `/desk`, the call center. Looking works in every data center; a change is made at the customer's home: `forAccount`
 * throws before anything is done when that is elsewhere, and the edge repeats the request there.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { cookieOf, DeskPass, deskCookie, deskPassAgeMs } from '../accounts/desk-pass.ts';
import { type Change, changeOrder } from '../orders/edit.ts';
import { calledPattern, findCalledOrder, listOrders, type Order, readOrder } from '../orders/orders.ts';
import { listSetAside, tryAgain } from '../payment/outbox.ts';
import type { Shop } from '../shop.ts';
import { type DeskCustomer, deskOrderPage, deskPage, deskSignInPage } from '../views/desk.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { type Fields, fieldsOf, idPattern, quantity, text } from '../web/input.ts';
import { invalid, notFound, type Problem, problem } from '../web/problems.ts';
import { plainVisit } from '../web/visit.ts';
import { tooMany } from './account.ts';

/** Whoever sits here may also be signed in as a customer, whose home has nothing to do with it. */
const ours = { config: { lanekeeper: { anywhere: true, replayable: true } } };

/** More are not looked at in one day. */
const mostSetAside = 50;

export function deskRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets, attempts, lanekeeper, settings } = shop;
  const pass = settings.deskPassphrase === null ? null : new DeskPass(settings.deskPassphrase);
  const view = (request: FastifyRequest) => ({ visit: plainVisit(shop, request), assets });

  app.post('/desk/sign-in', ours, async (request, reply) => {
    const refuse = (refusal: Problem) =>
      sendProblem(shop, request, reply, refusal, () =>
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

  app.post('/desk/sign-out', ours, async (request, reply) => {
    reply.header('set-cookie', cookie(request, '', 0));
    return wantsJson(request) ? sendJson(reply, { desk: 'closed' }) : goTo(reply, '/desk');
  });

  app.get('/desk', async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const query = text(fieldsOf(request.query), 'find', 254);
    if (query === null) {
      const setAside = await listSetAside(db, mostSetAside);
      if (wantsJson(request)) return sendJson(reply, { setAside });
      return sendPage(reply, deskPage(view(request), { setAside }));
    }
    const account = await lookUp(query);
    if (account === null) {
      const missing = notFound('customer');
      return sendProblem(shop, request, reply, missing, () => deskPage(view(request), { query, problem: missing }));
    }
    const [customer, orders] = [await customerOf(account), await listOrders(db, account)];
    if (customer === null) return sendProblem(shop, request, reply, notFound('customer'));
    if (wantsJson(request)) return sendJson(reply, { customer, orders });
    return sendPage(reply, deskPage(view(request), { query, customer, orders }));
  });

  app.get<{ Params: { id: string } }>('/desk/orders/:id', async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const found = await orderOf(request.params.id);
    if (found === null) return sendProblem(shop, request, reply, notFound('order'));
    if (wantsJson(request)) return sendJson(reply, found);
    const saved = fieldsOf(request.query).saved === '1';
    return sendPage(reply, deskOrderPage(view(request), { ...found, saved }));
  });

  app.post<{ Params: { id: string } }>('/desk/orders/:id', ours, async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const body = fieldsOf(request.body);
    const found = await orderOf(request.params.id);
    if (found === null) return sendProblem(shop, request, reply, notFound('order'));
    const { order } = found;
    const asked = readChange(body, order);
    if (asked.kind === 'invalid') return sendProblem(shop, request, reply, invalid({ quantity: asked.message }));
    const changed = await request.lanekeeper.forAccount(order.account, () =>
      db.transaction().execute((trx) => changeOrder(trx, { order: order.id, ...asked })),
    );
    const refusal = refusals[changed.kind];
    if (refusal !== undefined) {
      return sendProblem(shop, request, reply, refusal, async () => {
        const now = await orderOf(order.id);
        return deskOrderPage(view(request), { ...(now ?? found), problem: refusal });
      });
    }
    if (wantsJson(request)) return sendJson(reply, await orderOf(order.id));
    return goTo(reply, `/desk/orders/${order.id}?saved=1`);
  });

  app.post<{ Params: { id: string } }>('/desk/orders/:id/payment', ours, async (request, reply) => {
    if (!open(request)) return shut(request, reply);
    const found = await orderOf(request.params.id);
    if (found === null) return sendProblem(shop, request, reply, notFound('order'));
    const { order } = found;
    await request.lanekeeper.forAccount(order.account, () =>
      db.transaction().execute((trx) => tryAgain(trx, order.id)),
    );
    shop.payments?.wake();
    if (wantsJson(request)) return sendJson(reply, await orderOf(order.id));
    return goTo(reply, `/desk/orders/${order.id}`);
  });

  function open(request: FastifyRequest): boolean {
    return pass?.accepts(cookieOf(request.headers.cookie, deskCookie), Date.now()) ?? false;
  }

  function shut(request: FastifyRequest, reply: FastifyReply) {
    const closed = pass === null;
    const refusal = closed ? closedProblem : signInToDesk;
    return sendProblem(shop, request, reply, refusal, () => deskSignInPage(view(request), { closed }));
  }

  /** An e-mail, an order's number or id, or an account's id, to an account's id. */
  async function lookUp(query: string): Promise<string | null> {
    if (query.includes('@')) return (await findAccount(db, { email: query.toLowerCase() }))?.id ?? null;
    const called = query.replaceAll(' ', '').toUpperCase();
    if (calledPattern.test(called)) return findCalledOrder(db, called);
    if (!idPattern.test(query)) return null;
    return (await readOrder(db, query))?.account ?? (await findAccount(db, { id: query }))?.id ?? null;
  }

  async function customerOf(account: string): Promise<DeskCustomer | null> {
    const found = await findAccount(db, { id: account });
    if (found === null) return null;
    const { email, name, createdAt } = found;
    const where = await lanekeeper.whereIs(account);
    return { account, name, email, since: createdAt, home: where?.home ?? null };
  }

  async function orderOf(id: string): Promise<{ order: Order; customer: DeskCustomer } | null> {
    const order = idPattern.test(id) ? await readOrder(db, id) : null;
    const customer = order === null ? null : await customerOf(order.account);
    return order === null || customer === null ? null : { order, customer };
  }
}

type Asked =
  | { readonly kind: 'change'; readonly revision: number | null; readonly change: Change }
  | { readonly kind: 'invalid'; readonly message: string };

/** A form names lines as `quantity.<sku>`; JSON has `quantities: {sku: number}`. */
function readChange(body: Fields, order: Order): Asked {
  const shown = body.revision === undefined ? null : Number(body.revision);
  if (shown !== null && !Number.isInteger(shown))
    return { kind: 'invalid', message: 'Which revision? A whole number.' };
  if (body.action === 'cancel') return { kind: 'change', revision: shown, change: { kind: 'cancel' } };
  const listed = fieldsOf(body.quantities);
  const quantities: Record<string, number> = Object.create(null);
  for (const { sku, name } of order.lines) {
    const written = Object.hasOwn(listed, sku) ? listed[sku] : body[`quantity.${sku}`];
    if (written === undefined) continue;
    const value = quantity(written);
    if (value === null) return { kind: 'invalid', message: `How many of ${name}? A number from 0 to 99.` };
    quantities[sku] = value;
  }
  const note = body.note === undefined ? order.note : (text(body, 'note', 500) ?? '');
  return { kind: 'change', revision: shown, change: { kind: 'edit', quantities, note } };
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

const refusals: Readonly<Record<string, Problem | undefined>> = {
  'not-found': notFound('order'),
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
