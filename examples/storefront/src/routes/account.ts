/** Register, sign in, sign out. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LanekeeperError } from 'lanekeeper';
import { type Account, findAccount, isOnItsWay, openAccount } from '../accounts/accounts.ts';
import { checkPassword, hashPassword } from '../accounts/passwords.ts';
import type { Shop } from '../shop.ts';
import { registerPage, signInPage } from '../views/account.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { email, type Fields, fieldsOf, localPath, password, text } from '../web/input.ts';
import { invalid, type Problem, problem } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';
import { settleGuest } from './cart.ts';

const minPasswordLength = 8;

/** Whose account it is comes out in the handler, so a guest's home must not decide where it runs. */
const anywhere = { config: { lanekeeper: { anywhere: true } } };

export function accountRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets, attempts, lanekeeper, settings } = shop;
  const view = async (request: FastifyRequest) => ({ visit: await visitOf(shop, request), assets });

  app.get('/register', async (request, reply) =>
    sendPage(reply, registerPage(await view(request), { next: localPath(fieldsOf(request.query).next) })),
  );

  app.post('/register', anywhere, async (request, reply) => {
    const body = fieldsOf(request.body);
    const next = localPath(body.next);
    const name = text(body, 'name', 80) ?? '';
    const refuse = (refusal: Problem) =>
      sendProblem(shop, request, reply, refusal, async () =>
        registerPage(await view(request), { next, name, email: text(body, 'email', 254) ?? '', problem: refusal }),
      );
    const checked = checkRegistration(body);
    if (checked.kind === 'invalid') return refuse(invalid(checked.fields));
    const opened = await openAccount(shop, { ...checked, name, costLog2: settings.scryptCostLog2 });
    if (opened.kind === 'taken') {
      const again = `/sign-in?next=${encodeURIComponent(next)}`;
      const message = 'Somebody, most likely you, has registered with it before.';
      return refuse(
        problem(409, 'LK_CLAIM_TAKEN', 'This e-mail address has an account already', message, {
          next: { href: again, label: 'Sign in instead' },
        }),
      );
    }
    if (opened.kind === 'unavailable') {
      request.log.warn({ reason: opened.reason }, 'no claim');
      const message = `An address must be yours alone on both coasts, and the office that keeps the list does not answer (${opened.reason}). Nothing was stored.`;
      return refuse(
        problem(503, 'LK_CLAIM_UNAVAILABLE', 'We cannot register you this minute', message, { retryAfterMs: 2000 }),
      );
    }
    await request.lanekeeper.signIn(opened.account.id, { registered: true });
    await settleGuest(shop, request);
    if (wantsJson(request)) return sendJson(reply, { account: { ...opened.account, home: lanekeeper.here } }, 201);
    return goTo(reply, next);
  });

  app.get('/sign-in', async (request, reply) =>
    sendPage(reply, signInPage(await view(request), { next: localPath(fieldsOf(request.query).next) })),
  );

  app.post('/sign-in', anywhere, async (request, reply) => {
    const body = fieldsOf(request.body);
    const next = localPath(body.next);
    const address = email(body);
    const secret = password(body);
    const refuse = (refusal: Problem) =>
      sendProblem(shop, request, reply, refusal, async () =>
        signInPage(await view(request), { next, email: address ?? '', problem: refusal }),
      );
    if (address === null || secret === null) {
      return refuse(invalid({ email: 'Please give the e-mail address and the password of the account.' }));
    }
    const waitMs = attempts.waitMs(address, request.ip, Date.now());
    if (waitMs > 0) return refuse(tooMany(waitMs));
    const account = await findAccount(db, { email: address });
    const right = await isPasswordOf(account, secret, settings.scryptCostLog2);
    if (account === null && (await isOnItsWay(db, address))) throw new LanekeeperError('LK_UNKNOWN_ACCOUNT');
    if (account === null || !right) {
      attempts.failed(address, request.ip, Date.now());
      return refuse(
        problem(
          401,
          'SHOP_WRONG_PASSWORD',
          'This e-mail and password do not go together',
          'Please look at both once more.',
        ),
      );
    }
    attempts.succeeded(address);
    // Nothing was written so far: should the account be at home elsewhere, all of this is done once more there.
    await request.lanekeeper.signIn(account.id);
    await settleGuest(shop, request);
    if (wantsJson(request)) {
      const { id, name } = account;
      return sendJson(reply, { account: { id, email: address, name, home: request.lanekeeper.home } });
    }
    return goTo(reply, next);
  });

  app.post('/sign-out', anywhere, async (request, reply) => {
    await request.lanekeeper.signOut();
    return wantsJson(request) ? sendJson(reply, { account: null }) : goTo(reply, '/');
  });
}

/** Without an account the same work is done for nothing, so that the time it takes tells nothing. */
async function isPasswordOf(account: Account | null, secret: string, costLog2: number): Promise<boolean> {
  const hash = account?.passwordHash ?? null;
  if (hash !== null) return checkPassword(secret, hash);
  await hashPassword(secret, costLog2);
  return false;
}

type Checked =
  | { readonly kind: 'valid'; readonly email: string; readonly password: string }
  | { readonly kind: 'invalid'; readonly fields: Readonly<Record<string, string>> };

function checkRegistration(body: Fields): Checked {
  const address = email(body);
  const secret = password(body);
  if (address !== null && secret !== null && secret.length >= minPasswordLength) {
    return { kind: 'valid', email: address, password: secret };
  }
  const fields: Record<string, string> = {};
  if (address === null) fields.email = 'We need an e-mail address, like you@example.com.';
  if (secret === null || secret.length < minPasswordLength) {
    fields.password = `The password needs at least ${minPasswordLength} characters.`;
  }
  return { kind: 'invalid', fields };
}

export function tooMany(waitMs: number): Problem {
  const minutes = Math.max(1, Math.ceil(waitMs / 60_000));
  const message = `That was tried too often with the wrong word. It can be tried again in ${minutes === 1 ? 'a minute' : `${minutes} minutes`}.`;
  return problem(429, 'SHOP_TOO_MANY_ATTEMPTS', 'Let us wait a little', message, { retryAfterMs: waitMs });
}
