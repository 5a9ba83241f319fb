/**
 * Compact JWS (RFC 7515) with one pinned algorithm, ES256, and nothing negotiable: what the header of a token says is
 * compared with what we would have written, never obeyed (RFC 8725). Signing and checking here know nothing about what a
 * token is for; that is in `claims.ts`.
 */
import { type KeyObject, sign, verify } from 'node:crypto';

/** Why a token or a cookie was refused. For logs and metrics; a client only learns that it was. */
export type Refusal =
  /** Longer than `maxTokenLength`; not looked at. */
  | 'too-long'
  /** Not three parts of base64url, or not JSON inside: truncated, mangled or something else altogether. */
  | 'malformed'
  /** `alg` is not ES256: `none`, HMAC with a public key, any swap. */
  | 'algorithm'
  /** The header names anything beside `alg`, `kid` and `typ`: `jku`, `x5u`, `jwk`, `crit`… */
  | 'header'
  /** A token of ours for another purpose. */
  | 'purpose'
  /** `kid` is not in the key ring. */
  | 'unknown-key'
  | 'signature'
  /** `iss` is not the data center whose key signed it. */
  | 'issuer'
  /** For another cluster, or another data center. */
  | 'audience'
  | 'expired'
  /** Issued more than `skewMs` from now. */
  | 'from-the-future'
  /** Signed, but its content is not what such a token holds. */
  | 'content'
  /** One-time, and used before. */
  | 'used'
  /** More than one session cookie: nobody can say which one the customer meant. */
  | 'duplicate-cookie'
  /** The Cookie header is longer than `maxCookieHeaderLength`; not looked at. */
  | 'cookie-too-long';

export type Refused = { readonly kind: 'refused'; readonly reason: Refusal };

export function refused(reason: Refusal): Refused {
  return { kind: 'refused', reason };
}

/** In characters, which for a token are bytes. Ours have about 400. */
export const maxTokenLength = 4096;

export type TokenPayload = Readonly<Record<string, unknown>>;

export type Opened =
  | { readonly kind: 'opened'; readonly kid: string; readonly typ: string; readonly payload: TokenPayload }
  | Refused;

export function signToken(
  key: { readonly kid: string; readonly privateKey: KeyObject },
  typ: string,
  payload: TokenPayload,
): string {
  const input = `${encodeJson({ alg: 'ES256', typ, kid: key.kid })}.${encodeJson(payload)}`;
  const signature = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** Checks form, header and signature, in this order: nothing is parsed that is too long, nothing verified that is not ours. */
export function openToken(token: string, typ: string, publicKeyOf: (kid: string) => KeyObject | undefined): Opened {
  if (token.length > maxTokenLength) return refused('too-long');
  const parts = token.split('.', 4);
  if (parts.length !== 3) return refused('malformed');
  const [headerPart, payloadPart, signaturePart] = parts as [string, string, string];
  const header = decodeJson(headerPart);
  if (header === null) return refused('malformed');
  if (header.alg !== 'ES256') return refused('algorithm');
  if (Object.keys(header).length !== 3 || typeof header.kid !== 'string' || typeof header.typ !== 'string')
    return refused('header');
  if (header.typ !== typ) return refused('purpose');
  const publicKey = publicKeyOf(header.kid);
  if (publicKey === undefined) return refused('unknown-key');
  const signature = decode(signaturePart);
  // Re-encoded, because the last character of 64 bytes has four bits that mean nothing: sixteen spellings of one token.
  if (signature === null || signature.length !== 64 || signature.toString('base64url') !== signaturePart)
    return refused('malformed');
  const input = Buffer.from(`${headerPart}.${payloadPart}`, 'latin1');
  if (!verify('sha256', input, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)) return refused('signature');
  const payload = decodeJson(payloadPart);
  if (payload === null) return refused('malformed');
  return { kind: 'opened', kid: header.kid, typ, payload };
}

function encodeJson(value: TokenPayload): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): Buffer | null {
  // Node's decoder skips what it does not know; here every character counts.
  return /^[A-Za-z0-9_-]+$/.test(part) ? Buffer.from(part, 'base64url') : null;
}

function decodeJson(part: string): TokenPayload | null {
  const bytes = decode(part);
  if (bytes === null) return null;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as TokenPayload) : null;
  } catch {
    return null;
  }
}
