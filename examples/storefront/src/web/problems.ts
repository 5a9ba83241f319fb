/**
 * What went wrong, in words for a customer (R6): what happened, what it means for what they were doing, and what to do
 * next. Lanekeeper's own errors keep their codes; the shop's begin with `SHOP_`.
 */
import type { LanekeeperError } from 'lanekeeper';

export type Problem = {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  /** One or two sentences; also the message of the JSON answer. */
  readonly message: string;
  /** Null: the same request will not succeed later either. */
  readonly retryAfterMs: number | null;
  readonly home: string | null;
  readonly requestId: string | null;
  /** A page that helps. */
  readonly next?: { readonly href: string; readonly label: string };
  /** Field names with what is wrong with them, for forms. */
  readonly fields?: Readonly<Record<string, string>>;
};

export type ProblemOptions = Partial<Omit<Problem, 'status' | 'code' | 'title' | 'message'>>;

export function problem(
  status: number,
  code: string,
  title: string,
  message: string,
  options: ProblemOptions = {},
): Problem {
  return { status, code, title, message, retryAfterMs: null, home: null, requestId: null, ...options };
}

export const notFound = (what = 'page'): Problem =>
  problem(
    404,
    'SHOP_NOT_FOUND',
    `There is no such ${what}`,
    `We looked on every shelf, in both kilns. This ${what} is not here.`,
    {
      next: { href: '/', label: 'Back to the shop' },
    },
  );

export const invalid = (fields: Readonly<Record<string, string>>): Problem =>
  problem(400, 'SHOP_INVALID', 'Something is missing', Object.values(fields).join(' '), { fields });

export const signInFirst = (next: string): Problem =>
  problem(
    401,
    'SHOP_SIGN_IN_FIRST',
    'Please sign in first',
    'This belongs to an account. Your cart is kept meanwhile.',
    {
      next: { href: `/sign-in?next=${encodeURIComponent(next)}`, label: 'Sign in' },
    },
  );

export function tooMany(waitMs: number): Problem {
  const minutes = Math.max(1, Math.ceil(waitMs / 60_000));
  const message = `That was tried too often with the wrong word. It can be tried again in ${minutes === 1 ? 'a minute' : `${minutes} minutes`}.`;
  return problem(429, 'SHOP_TOO_MANY_ATTEMPTS', 'Let us wait a little', message, { retryAfterMs: waitMs });
}

/** Nobody knows whether it was done: the commit was cut off, or the answer of a backend. */
export function isUncertain({ code }: Pick<LanekeeperError, 'code'>): boolean {
  return code === 'LK_OUTCOME_UNKNOWN' || code === 'LK_NO_ANSWER' || code === 'LK_LATE_ANSWER';
}

type Words = readonly [title: string, message: string];

/** `place` turns a data center's name into its city. */
export function problemOf(error: LanekeeperError, retryAfterMs: number | null, place: (dc: string) => string): Problem {
  const home = error.details.home ?? null;
  const there = home === null ? 'its home' : place(home);
  const [title, message] = wordsFor(error.code, there);
  const requestId = error.details.requestId ?? null;
  const options: ProblemOptions = { retryAfterMs, home, requestId };
  return problem(error.status, error.code, title, message, options);
}

function wordsFor(code: LanekeeperError['code'], there: string): Words {
  switch (code) {
    case 'LK_WRONG_HOME':
      return [
        `Your account is kept in ${there}`,
        `Nothing was changed. What you asked for is done in ${there}, where your account is written; please try once more and we will take you there.`,
      ];
    case 'LK_ARRIVING':
    case 'LK_UNKNOWN_ACCOUNT':
      return [
        'We are bringing your account over, one moment',
        'It is on its way to this side of the country and is being checked for completeness. Nothing is lost, and nothing was changed just now.',
      ];
    case 'LK_MOVING':
      return [
        'Your account is moving house, one moment',
        `It is just leaving for ${there}. Nothing was changed; the same request will work in a moment.`,
      ];
    case 'LK_NO_LEASE':
      return [
        'You can look, but not buy, for a moment',
        'This side of the shop cannot prove that it may take orders right now, so it does not. Nothing was changed. Browsing works; please try again shortly.',
      ];
    case 'LK_HOME_UNREACHABLE':
      return [
        `We cannot reach ${there} right now`,
        `Your account is written in ${there}, and the line there is down. Nothing was changed and nothing is lost. Browsing works meanwhile.`,
      ];
    case 'LK_CLAIM_TAKEN':
      return [
        'This e-mail address has an account already',
        'Somebody, most likely you, has registered with it before. Sign in instead.',
      ];
    case 'LK_CLAIM_UNAVAILABLE':
    case 'LK_AGENT_UNAVAILABLE':
      return [
        'We cannot register you this minute',
        'An e-mail address must be yours alone on both coasts, and the office that keeps the list does not answer. Nothing was stored; please try again shortly.',
      ];
    case 'LK_OUTCOME_UNKNOWN':
    case 'LK_NO_ANSWER':
    case 'LK_LATE_ANSWER':
      return [
        'We do not know whether that went through',
        'The connection broke at the very moment of saving. It may have been saved, or not. Do not start over: ask for the outcome first.',
      ];
    case 'LK_NO_APPLICATION':
      return [
        'The shop is closed for a moment',
        'Nobody behind the counter answers right now. Nothing was changed; please try again shortly.',
      ];
    case 'LK_LOOP':
      return [
        'We passed your request round in a circle',
        'Both sides thought the other one has your account. Nothing was changed. This usually settles by itself within seconds.',
      ];
    case 'LK_BAD_TOKEN':
      return ['Your session is not valid any more', 'Please sign in again. Nothing was changed.'];
    default:
      return ['This did not work', 'The mistake is ours and has been written down. Nothing was changed.'];
  }
}
