/**
 * The session: who is signed in, and where that account was written when the token was issued. The token is a hint that
 * any data center can verify without asking another; what counts is the deed in the database.
 */
import { randomBytes } from 'node:crypto';
import type { AccountId, DataCenterName, Epoch } from '../model/index.ts';
import { check, type KeyRing, mint } from './ring.ts';
import type { Refused, TokenPayload } from './token.ts';

export const sessionType = 'lk-session+jwt';

/** How far a session's own writes go, for those that only one data center was known to hold. */
export type Bookmark = {
  /** Which data center wrote them. */
  readonly dataCenter: DataCenterName;
  /** In that one's log, behind the last of them, as PostgreSQL prints it: `0/16B3748`. */
  readonly position: string;
  /** It counts since that one was last taken over. */
  readonly generation: number;
};

export type Session = {
  /** Random, new at every sign-in, so that a session planted before it is worth nothing after. */
  readonly id: string;
  /** The account that is signed in; null for a guest. */
  readonly account: AccountId | null;
  /** The guest account of this browser, also after sign-in, so that its cart can be taken over. */
  readonly guest: AccountId | null;
  /** Where `account`, or else `guest`, was homed when this was issued. */
  readonly home: DataCenterName;
  readonly epoch: Epoch;
  readonly bookmark: Bookmark | null;
  /** The data center that issued it. */
  readonly issuer: DataCenterName;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
};

export type NewSession = Pick<Session, 'id' | 'account' | 'guest' | 'home' | 'epoch'> & {
  /** Default: none. */
  readonly bookmark?: Bookmark | null;
};

/** 128 random bits. */
export function newSessionId(): string {
  return randomBytes(16).toString('base64url');
}

/** Signs a session of this data center. Throws LK_CONFIG without a signing key. */
export function issueSession(
  ring: KeyRing,
  session: NewSession,
  { nowMs, maxAgeMs }: { readonly nowMs: number; readonly maxAgeMs: number },
): string {
  return mint(ring, {
    typ: sessionType,
    audience: ring.cluster,
    nowMs,
    lifetimeMs: maxAgeMs,
    content: writeSession(session),
  });
}

export type SessionResult = { readonly kind: 'valid'; readonly session: Session } | Refused;

/** Verifies a session token; synchronous, and cheap when the token was seen before. */
export function verifySession(ring: KeyRing, token: string, nowMs: number): SessionResult {
  const result = check(ring, token, { typ: sessionType, audience: ring.cluster, nowMs }, (payload) =>
    readSession(ring, payload),
  );
  if (result.kind === 'refused') return result;
  return { kind: 'valid', session: result.content };
}

/** The claims of a session as they stand in a token, short because every request carries them. */
export function writeSession({ id, account, guest, home, epoch, bookmark = null }: NewSession): TokenPayload {
  return {
    ...(account === null ? {} : { sub: account }),
    home,
    ep: [epoch.term, epoch.counter],
    sid: id,
    ...(guest === null ? {} : { guest }),
    ...(bookmark === null ? {} : { bm: [bookmark.dataCenter, bookmark.position, bookmark.generation] }),
  };
}

/** Unknown claims are passed over, so that a newer version may add some while an older one still runs. */
export function readSession(ring: KeyRing, payload: TokenPayload): Session | null {
  const { sub = null, guest = null, home, ep, sid, bm, iss, iat, exp } = payload;
  if (!isAccount(sub) || !isAccount(guest) || (sub === null && guest === null)) return null;
  if (typeof home !== 'string' || !ring.dataCenters.includes(home)) return null;
  if (typeof sid !== 'string' || !/^[A-Za-z0-9_-]{16,64}$/.test(sid)) return null;
  if (!Array.isArray(ep) || ep.length !== 2 || !ep.every((part) => Number.isSafeInteger(part) && part >= 0))
    return null;
  return Object.freeze({
    id: sid,
    account: sub,
    guest,
    home,
    epoch: Object.freeze({ term: ep[0] as number, counter: ep[1] as number }),
    bookmark: readBookmark(ring, bm),
    issuer: iss as DataCenterName,
    issuedAtMs: (iat as number) * 1000,
    expiresAtMs: (exp as number) * 1000,
  });
}

/** Null for one of a data center that is no more. */
function readBookmark(ring: KeyRing, value: unknown): Bookmark | null {
  if (!Array.isArray(value) || value.length !== 3) return null;
  const [dataCenter, position, generation] = value as unknown[];
  if (typeof dataCenter !== 'string' || !ring.dataCenters.includes(dataCenter)) return null;
  if (typeof position !== 'string' || !/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/.test(position)) return null;
  if (!Number.isSafeInteger(generation)) return null;
  return Object.freeze({ dataCenter, position, generation: generation as number });
}

function isAccount(value: unknown): value is AccountId | null {
  return value === null || (typeof value === 'string' && value !== '' && value.length <= 1024 && !value.includes('\0'));
}
