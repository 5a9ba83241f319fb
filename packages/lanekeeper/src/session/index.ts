/**
 * The session room: signed tokens that any data center verifies without asking another, and the cookie that carries them.
 *
 * - `keys.ts`, `ring.ts`: key pairs, the public keys of all data centers, signing and checking with them
 * - `token.ts`: the form of a token; the one place where a signature is made or verified · `cache.ts`: verified tokens
 * - `session-token.ts`: who is signed in · `short-tokens.ts`: agents, edges, handoff · `cookie.ts`: names and parsing
 * - `hook-signature.ts`: what Lanekeeper tells URLs of yours
 *
 * Invariants. 1: one algorithm, ES256; a token's header is compared, never obeyed. 2: a token is good for one purpose
 * (`typ`), one audience, and only from the data center whose key signed it. 3: everything from the network is bounded before
 * it is parsed. 4: a refusal is a value with a reason, never a throw. 5: the token is a hint; the database decides (R1).
 */
export {
  type CookieResult,
  type CookieShape,
  clearCookies,
  cookieFor,
  findSessionCookie,
  maxCookieHeaderLength,
  type ReadSessionResult,
  reachesHost,
  serializeCookie,
  sessionOf,
} from './cookie.ts';
export { type HookVerdict, hookSignatureHeader, signHook, verifyHook } from './hook-signature.ts';
export {
  generateKeyPair,
  type KeyPair,
  type PrivateJwk,
  type PublicJwk,
  parseSigningKey,
  readSigningKey,
  type SigningKey,
} from './keys.ts';
export { createKeyRing, defaultMaxCached, type KeyRing, skewMs } from './ring.ts';
export {
  type Bookmark,
  issueSession,
  type NewSession,
  newSessionId,
  type Session,
  type SessionResult,
  verifySession,
} from './session-token.ts';
export {
  acceptHandoff,
  createHandoffMemory,
  createTokenSource,
  type HandoffMemory,
  type HandoffResult,
  handoffLifetimeMs,
  mintAgentToken,
  mintEdgeToken,
  mintHandoff,
  type ProcessResult,
  processTokenLifetimeMs,
  verifyAgentToken,
  verifyEdgeToken,
} from './short-tokens.ts';
export { maxTokenLength, type Refusal, type Refused } from './token.ts';
