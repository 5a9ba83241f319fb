/**
 * `?lanekeeper-handoff=…`: how a session comes along when a redirect leads to a host with which ours shares no parent domain. The
 * token is good once; then the cookie is set and the customer sent to the same address without it, so that it stays in no history.
 */
import { createHash } from 'node:crypto';
import { handoffParameter } from '../model/index.ts';
import { acceptHandoff, type Session } from '../session/index.ts';
import { ownerOf, type Runtime } from './runtime.ts';

export type HandoffTarget = {
  readonly token: string;
  /** Path and query without the token, always on this host. */
  readonly clean: string;
};

/** Null when the request-target carries no handoff. */
export function findHandoff(target: string): HandoffTarget | null {
  const queryAt = target.indexOf('?');
  if (queryAt < 0 || !target.startsWith('/')) return null;
  const tokens: string[] = [];
  // The rest of the query stays as it was written, letter by letter.
  const kept = target
    .slice(queryAt + 1)
    .split('&')
    .filter((pair) => {
      if (pair.split('=', 1)[0] !== handoffParameter) return true;
      tokens.push(pair.slice(handoffParameter.length + 1));
      return false;
    });
  const token = tokens[0];
  if (token === undefined) return null;
  const query = kept.join('&');
  return { token, clean: sameSitePath(target.slice(0, queryAt)) + (query === '' ? '' : `?${query}`) };
}

/** Browsers take `//evil` and `/\evil`, also with control characters in between, for another host. */
function sameSitePath(path: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: browsers drop them before they look at the slashes.
  const plain = path.replace(/[\u0000-\u0020]/g, '');
  return /^\/(?![/\\])/.test(plain) ? plain : '/';
}

/** `path` (and query) of the site at `base`, with the token when there is one. What would lead to another host leads to its front page. */
export function handoffAddress(base: string, path: string, token: string | null): string {
  const url = new URL(sameSitePath(path), base);
  if (token !== null) url.searchParams.append(handoffParameter, token);
  return url.href;
}

/** The session that the token carries, or null when it is not valid, not for us, or was used before. */
export async function consumeHandoff(runtime: Runtime, token: string): Promise<Session | null> {
  const result = acceptHandoff(runtime.ring, runtime.handoffs, token, Date.now());
  if (result.kind === 'refused') return null;
  const { session } = result;
  const account = session.account ?? session.guest;
  if (account === null) return null;
  // The memory is this process's; the other instances of this dc learn it from the outcome record, which only the home can write.
  const owner = ownerOf(runtime, account);
  const where = await runtime.deeds.whereIs(owner);
  if (where?.home !== runtime.here) return session;
  const use = `handoff:${createHash('sha256').update(token).digest('base64url')}`;
  const rows = await runtime.run('SELECT lanekeeper.record_outcome($1, $2, NULL) AS first', [use, owner]);
  return rows[0]?.first === true ? session : null;
}
