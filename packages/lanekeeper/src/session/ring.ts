/** What a process needs to sign and to verify: made once at start, from the configuration and the environment. */
import type { KeyObject } from 'node:crypto';
import type { Configuration, Environment } from '../config/index.ts';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import { VerifiedTokens } from './cache.ts';
import { publicKeysOf, type RingKey, readSigningKey, type SigningKey } from './keys.ts';
import { maxTokenLength, openToken, type Refused, refused, signToken, type TokenPayload } from './token.ts';

/** How far ahead another data center's clock may be before its tokens look like forgeries. Expiry has no such allowance. */
export const skewMs = 5000;

/** Enough for the customers of a busy hour; about 1 KiB each. */
export const defaultMaxCached = 20_000;

export type KeyRing = {
  readonly cluster: string;
  readonly here: DataCenterName;
  readonly dataCenters: readonly DataCenterName[];
  /** Null in a process that only verifies. */
  readonly signingKey: SigningKey | null;
  readonly publicKeys: ReadonlyMap<string, RingKey>;
  readonly verified: VerifiedTokens<VerifiedToken>;
};

type VerifiedToken = {
  readonly typ: string;
  readonly issuer: DataCenterName;
  readonly audience: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly content: unknown;
};

/**
 * The key ring of this process. The private key comes from `signingKey`, else from the environment (see
 * `readSigningKey`). Throws LK_CONFIG when the private key belongs to another data center than `configuration.here`, or
 * when the configuration does not know its public half: everybody else would refuse what it signs.
 */
export function createKeyRing(
  configuration: Configuration,
  {
    env = {},
    signingKey = readSigningKey(env),
    maxCached = defaultMaxCached,
  }: {
    readonly env?: Environment | undefined;
    readonly signingKey?: SigningKey | null | undefined;
    /** How many verified tokens are remembered. Default 20,000. */
    readonly maxCached?: number | undefined;
  } = {},
): KeyRing {
  const publicKeys = publicKeysOf(configuration);
  if (signingKey !== null) {
    const { kid, dataCenter } = signingKey;
    if (dataCenter !== configuration.here) {
      throw new LanekeeperError(
        'LK_CONFIG',
        `The signing key ${kid} belongs to ${dataCenter}, and this process is in ${configuration.here}.`,
      );
    }
    const known = publicKeys.get(kid);
    if (known === undefined) {
      throw new LanekeeperError(
        'LK_CONFIG',
        `The public half of the signing key ${kid} is not in \`sessions.keys\`: everybody would refuse what it signs.`,
      );
    }
    const { x, y } = known.publicKey.export({ format: 'jwk' });
    if (x !== signingKey.publicJwk.x || y !== signingKey.publicJwk.y) {
      throw new LanekeeperError(
        'LK_CONFIG',
        `The key ${kid} in \`sessions.keys\` is not the public half of the signing key: a new pair needs a new number.`,
      );
    }
  }
  return {
    cluster: configuration.cluster,
    here: configuration.here,
    dataCenters: Object.keys(configuration.dataCenters),
    signingKey,
    publicKeys,
    verified: new VerifiedTokens(maxCached),
  };
}

export type Minting = {
  readonly typ: string;
  readonly audience: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
  readonly content: TokenPayload;
};

/** Signs `content` with issuer, audience and times. Throws LK_CONFIG when this process has no signing key. */
export function mint(ring: KeyRing, { typ, audience, nowMs, lifetimeMs, content }: Minting): string {
  if (ring.signingKey === null) {
    throw new LanekeeperError(
      'LK_CONFIG',
      'This process has no signing key: set LANEKEEPER_SIGNING_KEY or LANEKEEPER_SIGNING_KEY_FILE.',
    );
  }
  const issuedAt = Math.floor(nowMs / 1000);
  const expiresAt = Math.floor((nowMs + lifetimeMs) / 1000);
  return signToken(ring.signingKey, typ, { iss: ring.here, aud: audience, ...content, iat: issuedAt, exp: expiresAt });
}

export type Verified<Content> =
  | {
      readonly kind: 'valid';
      readonly issuer: DataCenterName;
      readonly issuedAtMs: number;
      readonly expiresAtMs: number;
      readonly content: Content;
    }
  | Refused;

/**
 * Verifies everything about a token. `read` turns the payload into what such a token holds, or null when it does not; it is
 * called once per token, its result is remembered.
 */
export function check<Content>(
  ring: KeyRing,
  token: string,
  { typ, audience, nowMs }: { readonly typ: string; readonly audience: string; readonly nowMs: number },
  read: (payload: TokenPayload) => Content | null,
): Verified<Content> {
  if (token.length > maxTokenLength) return refused('too-long');
  const remembered = ring.verified.get(token);
  if (remembered !== undefined && remembered.typ === typ)
    return checkTimes(ring, token, remembered as VerifiedToken & { content: Content }, audience, nowMs);

  const opened = openToken(token, typ, (kid): KeyObject | undefined => ring.publicKeys.get(kid)?.publicKey);
  if (opened.kind === 'refused') return opened;
  const { payload } = opened;
  const issuer = ring.publicKeys.get(opened.kid)!.dataCenter;
  if (payload.iss !== issuer) return refused('issuer');
  const issuedAtMs = seconds(payload.iat);
  const expiresAtMs = seconds(payload.exp);
  const content = read(payload);
  if (
    typeof payload.aud !== 'string' ||
    issuedAtMs === null ||
    expiresAtMs === null ||
    expiresAtMs < issuedAtMs ||
    content === null
  ) {
    return refused('content');
  }
  const verified = { typ, issuer, audience: payload.aud, issuedAtMs, expiresAtMs, content };
  const result = checkTimes(ring, token, verified, audience, nowMs);
  if (result.kind === 'valid') ring.verified.set(token, verified);
  return result;
}

function checkTimes<Content>(
  ring: KeyRing,
  token: string,
  verified: VerifiedToken & { readonly content: Content },
  audience: string,
  nowMs: number,
): Verified<Content> {
  const { issuer, issuedAtMs, expiresAtMs, content } = verified;
  if (verified.audience !== audience) return refused('audience');
  if (nowMs >= expiresAtMs) {
    ring.verified.delete(token);
    return refused('expired');
  }
  if (issuedAtMs > nowMs + skewMs) return refused('from-the-future');
  return { kind: 'valid', issuer, issuedAtMs, expiresAtMs, content };
}

/** JWT times are seconds since 1970 (RFC 7519, NumericDate); ours are whole and in this age. */
function seconds(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < 1e11 ? value * 1000 : null;
}
