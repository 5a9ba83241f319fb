/** How often an address may do something within a window. Bounded: the oldest addresses are forgotten first. */

export type Rate = { readonly max: number; readonly windowMs: number };

const addressesMax = 10_000;

export class RateLimit {
  readonly #rate: Rate;
  readonly #windows = new Map<string, { count: number; readonly sinceMs: number }>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  isExceeded(address: string, nowMs: number): boolean {
    if (this.#windows.size === 0) return false;
    const window = this.#windows.get(address);
    if (window === undefined) return false;
    if (nowMs - window.sinceMs >= this.#rate.windowMs) {
      this.#windows.delete(address);
      return false;
    }
    return window.count >= this.#rate.max;
  }

  count(address: string, nowMs: number): void {
    const window = this.#windows.get(address);
    if (window !== undefined && nowMs - window.sinceMs < this.#rate.windowMs) {
      window.count += 1;
      return;
    }
    this.#windows.delete(address);
    if (this.#windows.size >= addressesMax) {
      const oldest = this.#windows.keys().next();
      if (!oldest.done) this.#windows.delete(oldest.value);
    }
    this.#windows.set(address, { count: 1, sinceMs: nowMs });
  }
}
