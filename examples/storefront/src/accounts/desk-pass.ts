/**
 * What opens the desk: a cookie signed with the passphrase, which is the same in every data center, so each recognises it
 * without asking another. Its key is derived once; changing the passphrase ends every pass.
 */
import { createHash, createHmac, scryptSync, timingSafeEqual } from 'node:crypto';

export const deskCookie = 'desk';
export const deskPassAgeMs = 12 * 60 * 60_000;

export class DeskPass {
  readonly #passphrase: Buffer;
  readonly #key: Buffer;

  constructor(passphrase: string) {
    this.#passphrase = digest(passphrase);
    this.#key = scryptSync(passphrase, 'two-kilns desk', 32);
  }

  opens(passphrase: string): boolean {
    return timingSafeEqual(digest(passphrase), this.#passphrase);
  }

  issue(now: number): string {
    const until = String(now + deskPassAgeMs);
    return `${until}.${this.#sign(until)}`;
  }

  accepts(cookie: string | undefined, now: number): boolean {
    const [until = '', signature = ''] = cookie?.split('.') ?? [];
    if (!/^\d{13}$/.test(until)) return false;
    const expected = Buffer.from(this.#sign(until));
    const given = Buffer.from(signature);
    return given.length === expected.length && timingSafeEqual(given, expected) && Number(until) > now;
  }

  #sign(until: string): string {
    return createHmac('sha256', this.#key).update(until).digest('base64url');
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** The value of a cookie, or undefined; the first one when there are several. */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const [key = '', ...rest] = pair.split('=');
    if (key.trim() === name) return rest.join('=').trim();
  }
  return undefined;
}
