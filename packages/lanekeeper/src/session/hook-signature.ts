/**
 * The signature of what Lanekeeper tells a URL of yours (`hooks` in the configuration), as in `Lanekeeper-Signature`:
 * `t=<seconds since 1970>,v1=<hex of HMAC-SHA256(secret, t + '.' + body)>`. The time is signed too, so that what somebody has
 * recorded is not good for ever.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export const hookSignatureHeader = 'Lanekeeper-Signature';

/** How far the signed time may be from the receiver's. Default 5 minutes. */
const defaultToleranceMs = 5 * 60_000;
const shape = /^t=(\d{1,15}),v1=([0-9a-f]{64})$/;

export type HookVerdict =
  | { readonly kind: 'genuine' }
  | { readonly kind: 'refused'; readonly reason: 'malformed' | 'forged' | 'stale' };

export function signHook(secret: string, body: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000);
  return `t=${seconds},v1=${mac(secret, seconds, body).toString('hex')}`;
}

/** For receivers. `body` is the text of the request as it came: parsed and printed again it is another one. */
export function verifyHook(
  secret: string,
  signature: string | undefined,
  body: string,
  options: { readonly nowMs?: number; readonly toleranceMs?: number } = {},
): HookVerdict {
  const { nowMs = Date.now(), toleranceMs = defaultToleranceMs } = options;
  const [, t, v1] = shape.exec(signature ?? '') ?? [];
  if (t === undefined || v1 === undefined) return { kind: 'refused', reason: 'malformed' };
  const seconds = Number(t);
  if (!timingSafeEqual(Buffer.from(v1, 'hex'), mac(secret, seconds, body)))
    return { kind: 'refused', reason: 'forged' };
  if (Math.abs(nowMs - seconds * 1000) > toleranceMs) return { kind: 'refused', reason: 'stale' };
  return { kind: 'genuine' };
}

function mac(secret: string, seconds: number, body: string): Buffer {
  return createHmac('sha256', secret).update(`${seconds}.${body}`).digest();
}
