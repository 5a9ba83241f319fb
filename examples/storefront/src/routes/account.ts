/** Register, sign in, sign out. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { doing } from '../shop/calls.ts';
import { registerPage, signInPage } from '../views/account.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { email, fieldsOf, localPath, text } from '../web/input.ts';
import { invalid, type Problem, problem, tooMany } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function accountRoutes(app: FastifyInstance, front: Front): void {
  const { assets } = front;
  const view = async (request: FastifyRequest) => ({ visit: await visitOf(front, request), assets });

  app.get('/register', async (request, reply) =>
    sendPage(reply, registerPage(await view(request), { next: localPath(fieldsOf(request.query).next) })),
  );

  app.post('/register', doing('register'), async (request, reply) => {
    const body = fieldsOf(request.body);
    const next = localPath(body.next);
    const refuse = (refusal: Problem) =>
      sendProblem(front, request, reply, refusal, async () =>
        registerPage(await view(request), {
          next,
          name: text(body, 'name', 80) ?? '',
          email: text(body, 'email', 254) ?? '',
          problem: refusal,
        }),
      );
    const registered = await front.shop(request).register(body);
    switch (registered.kind) {
      case 'invalid':
        return refuse(invalid(registered.fields));
      case 'taken':
        return refuse(taken(next));
      case 'unavailable':
        return refuse(unavailable(registered.reason));
      case 'registered':
        return wantsJson(request) ? sendJson(reply, { account: registered.account }, 201) : goTo(reply, next);
    }
  });

  app.get('/sign-in', async (request, reply) =>
    sendPage(reply, signInPage(await view(request), { next: localPath(fieldsOf(request.query).next) })),
  );

  app.post('/sign-in', doing('signIn'), async (request, reply) => {
    const body = fieldsOf(request.body);
    const next = localPath(body.next);
    const refuse = (refusal: Problem) =>
      sendProblem(front, request, reply, refusal, async () =>
        signInPage(await view(request), { next, email: email(body) ?? '', problem: refusal }),
      );
    const signedIn = await front.shop(request).signIn(body);
    switch (signedIn.kind) {
      case 'invalid':
        return refuse(invalid(signedIn.fields));
      case 'too-many':
        return refuse(tooMany(signedIn.waitMs));
      case 'wrong':
        return refuse(wrong);
      case 'signed-in':
        return wantsJson(request) ? sendJson(reply, { account: signedIn.account }) : goTo(reply, next);
    }
  });

  app.post('/sign-out', doing('signOut'), async (request, reply) => {
    await front.shop(request).signOut();
    return wantsJson(request) ? sendJson(reply, { account: null }) : goTo(reply, '/');
  });
}

const wrong = problem(
  401,
  'SHOP_WRONG_PASSWORD',
  'This e-mail and password do not go together',
  'Please look at both once more.',
);

function taken(next: string): Problem {
  const message = 'Somebody, most likely you, has registered with it before.';
  return problem(409, 'LK_CLAIM_TAKEN', 'This e-mail address has an account already', message, {
    next: { href: `/sign-in?next=${encodeURIComponent(next)}`, label: 'Sign in instead' },
  });
}

function unavailable(reason: string): Problem {
  const message = `An address must be yours alone on both coasts, and the office that keeps the list does not answer (${reason}). Nothing was stored.`;
  return problem(503, 'LK_CLAIM_UNAVAILABLE', 'We cannot register you this minute', message, { retryAfterMs: 2000 });
}
