/**
 * Slows down guessing of passwords. Only failures count, per e-mail and per address, in this process: an attacker gets a
 * multiple of the limit by the number of instances, which does not help much against scrypt.
 */
export type AttemptLimits = { readonly windowMs: number; readonly perEmail: number; readonly perAddress: number };

export const defaultLimits: AttemptLimits = { windowMs: 10 * 60_000, perEmail: 8, perAddress: 80 };

/** More keys than this are not kept; the oldest are forgotten first. */
const maxKeys = 20_000;

type Window = { failures: number; readonly endsAt: number };

export class Attempts {
  readonly #limits: AttemptLimits;
  readonly #windows = new Map<string, Window>();

  constructor(limits: AttemptLimits = defaultLimits) {
    this.#limits = limits;
  }

  /** How long to wait before another try, in milliseconds; 0: go ahead. `now` is milliseconds since 1970. */
  waitMs(email: string, address: string, now: number): number {
    return Math.max(
      this.#wait(`email ${email}`, this.#limits.perEmail, now),
      this.#wait(`address ${address}`, this.#limits.perAddress, now),
    );
  }

  failed(email: string, address: string, now: number): void {
    this.#count(`email ${email}`, now);
    this.#count(`address ${address}`, now);
  }

  /** The right password clears the e-mail, not the address: guessing others' from there still counts. */
  succeeded(email: string): void {
    this.#windows.delete(`email ${email}`);
  }

  #wait(key: string, limit: number, now: number): number {
    const window = this.#windows.get(key);
    if (window === undefined || window.endsAt <= now || window.failures < limit) return 0;
    return window.endsAt - now;
  }

  #count(key: string, now: number): void {
    const window = this.#windows.get(key);
    if (window !== undefined && window.endsAt > now) {
      window.failures += 1;
      return;
    }
    this.#windows.delete(key);
    if (this.#windows.size >= maxKeys) {
      const oldest = this.#windows.keys().next();
      if (!oldest.done) this.#windows.delete(oldest.value);
    }
    this.#windows.set(key, { failures: 1, endsAt: now + this.#limits.windowMs });
  }
}
