/**
 * Short-lived tokens between our own processes, and the one that carries a session to a data center under another domain.
 *
 * - agent: lets the bearer use the admin API of any agent
 * - edge: lets the next edge believe what an edge says about a request it passes on
 * - handoff: carries a session to one named data center, once
 */
import { randomBytes } from 'node:crypto';
import type { DataCenterName } from '../model/index.ts';
import { check, type KeyRing, mint } from './ring.ts';
import { readSession, type Session, writeSession } from './session-token.ts';
import { type Refused, refused, type TokenPayload } from './token.ts';

/** Long enough for a request and for clocks that differ by `skewMs`. */
export const processTokenLifetimeMs = 30_000;
/** Long enough to follow a redirect on a bad line. */
export const handoffLifetimeMs = 60_000;

const agent = { typ: 'lk-agent+jwt', audience: 'lanekeeper-agent' } as const;
const edge = { typ: 'lk-edge+jwt', audience: 'lanekeeper-edge' } as const;
const handoffType = 'lk-handoff+jwt';

export type ProcessResult = { readonly kind: 'valid'; readonly dataCenter: DataCenterName } | Refused;

/** For `Authorization: Bearer` at any agent's admin API. */
export function mintAgentToken(ring: KeyRing, nowMs: number): string {
  return mintProcessToken(ring, agent, nowMs);
}

/** `dataCenter` is the one that asks. */
export function verifyAgentToken(ring: KeyRing, token: string, nowMs: number): ProcessResult {
  return verifyProcessToken(ring, agent, token, nowMs);
}

/** For the header `lanekeeper-edge`, from edge to edge. */
export function mintEdgeToken(ring: KeyRing, nowMs: number): string {
  return mintProcessToken(ring, edge, nowMs);
}

/** `dataCenter` is the one whose edge passed the request on. */
export function verifyEdgeToken(ring: KeyRing, token: string, nowMs: number): ProcessResult {
  return verifyProcessToken(ring, edge, token, nowMs);
}

/**
 * One token for many requests: minted again after 10 of its 30 seconds, so that signing is not part of every request and
 * the other side verifies it from memory. `mintToken` is `mintAgentToken` or `mintEdgeToken`.
 */
export function createTokenSource(
  ring: KeyRing,
  mintToken: (ring: KeyRing, nowMs: number) => string,
): (nowMs: number) => string {
  let token = '';
  let mintedAtMs = Number.NEGATIVE_INFINITY;
  return (nowMs) => {
    // A clock that was set back would otherwise keep a token that looks like one from the future.
    if (nowMs - mintedAtMs >= processTokenLifetimeMs / 3 || nowMs < mintedAtMs) {
      token = mintToken(ring, nowMs);
      mintedAtMs = nowMs;
    }
    return token;
  };
}

type Purpose = { readonly typ: string; readonly audience: string };

function mintProcessToken(ring: KeyRing, { typ, audience }: Purpose, nowMs: number): string {
  return mint(ring, { typ, audience, nowMs, lifetimeMs: processTokenLifetimeMs, content: { cl: ring.cluster } });
}

function verifyProcessToken(ring: KeyRing, { typ, audience }: Purpose, token: string, nowMs: number): ProcessResult {
  const result = check(ring, token, { typ, audience, nowMs }, readCluster);
  if (result.kind === 'refused') return result;
  if (result.content.cluster !== ring.cluster) return refused('audience');
  // Whoever signs also writes the lifetime; a data center does not get to issue standing credentials.
  if (result.expiresAtMs - result.issuedAtMs > processTokenLifetimeMs) return refused('content');
  return { kind: 'valid', dataCenter: result.issuer };
}

function readCluster(payload: TokenPayload): { readonly cluster: string } | null {
  return typeof payload.cl === 'string' ? { cluster: payload.cl } : null;
}

export type HandoffResult = { readonly kind: 'valid'; readonly session: Session } | Refused;

/** Carries `session` to `target`, whose host names share no parent domain with ours. Valid for 60 seconds, once. */
export function mintHandoff(ring: KeyRing, session: Session, target: DataCenterName, nowMs: number): string {
  const content = {
    ...writeSession(session),
    jti: randomBytes(16).toString('base64url'),
    cl: ring.cluster,
    sexp: Math.floor(session.expiresAtMs / 1000),
  };
  return mint(ring, { typ: handoffType, audience: target, nowMs, lifetimeMs: handoffLifetimeMs, content });
}

/**
 * What has been handed over to this process. One per process: another instance of the application in the same data center
 * does not know what this one accepted, so a handoff token that leaks within its 60 seconds is good once per instance.
 */
export type HandoffMemory = { readonly used: Map<string, number>; readonly maxEntries: number };

export function createHandoffMemory(maxEntries = 100_000): HandoffMemory {
  return { used: new Map(), maxEntries };
}

/** Accepts a handoff token once. `session` still has to be issued anew here; `expiresAtMs` is that of the original session. */
export function acceptHandoff(ring: KeyRing, memory: HandoffMemory, token: string, nowMs: number): HandoffResult {
  const result = check(ring, token, { typ: handoffType, audience: ring.here, nowMs }, (payload) =>
    readHandoff(ring, payload),
  );
  if (result.kind === 'refused') return result;
  const { session, jti, cluster } = result.content;
  if (cluster !== ring.cluster) return refused('audience');
  if (result.expiresAtMs - result.issuedAtMs > handoffLifetimeMs) return refused('content');
  if (session.expiresAtMs <= nowMs) return refused('expired');
  forgetExpired(memory, nowMs);
  // Full of tokens that are all still valid: refusing a newcomer is safe, forgetting one of them is not.
  if (memory.used.has(jti) || memory.used.size >= memory.maxEntries) return refused('used');
  memory.used.set(jti, result.expiresAtMs);
  return { kind: 'valid', session };
}

function readHandoff(
  ring: KeyRing,
  payload: TokenPayload,
): { readonly session: Session; readonly jti: string; readonly cluster: string } | null {
  const { jti, cl, sexp } = payload;
  const session = readSession(ring, { ...payload, exp: sexp });
  if (
    session === null ||
    typeof jti !== 'string' ||
    jti.length < 16 ||
    jti.length > 64 ||
    typeof cl !== 'string' ||
    !Number.isSafeInteger(sexp)
  )
    return null;
  return { session, jti, cluster: cl };
}

/** Entries expire in the order in which they came, give or take the clocks; so the front is where to look. */
function forgetExpired({ used }: HandoffMemory, nowMs: number): void {
  for (const [jti, expiresAtMs] of used) {
    if (expiresAtMs > nowMs) break;
    used.delete(jti);
  }
}
