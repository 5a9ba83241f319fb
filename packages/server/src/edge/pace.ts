/**
 * Clients that are too slow on purpose or for good: a body that trickles in, an answer that nobody reads. One timer for
 * all of them.
 */

export type Paced = {
  /** Since when we have been waiting for the client. */
  sinceMs: number;
  /** What he sent since then. */
  bytes: number;
  waiting: boolean;
  readonly onTooSlow: () => void;
};

export type PaceLimits = {
  /** Time that is free. */
  readonly graceMs: number;
  /** On average, beyond that. */
  readonly minBytesPerSecond: number;
};

export function isTooSlow(
  { sinceMs, bytes }: Pick<Paced, 'sinceMs' | 'bytes'>,
  limits: PaceLimits,
  nowMs: number,
): boolean {
  return nowMs - sinceMs > limits.graceMs + (bytes / limits.minBytesPerSecond) * 1_000;
}

const sweepEveryMs = 500;

export class Pace {
  readonly #limits: PaceLimits;
  readonly #waiting = new Set<Paced>();
  readonly #timer: NodeJS.Timeout;

  constructor(limits: PaceLimits) {
    this.#limits = limits;
    this.#timer = setInterval(() => this.#sweep(), sweepEveryMs);
    this.#timer.unref();
  }

  start(paced: Paced): void {
    paced.sinceMs = performance.now();
    paced.bytes = 0;
    paced.waiting = true;
    this.#waiting.add(paced);
  }

  delete(paced: Paced): void {
    paced.waiting = false;
    this.#waiting.delete(paced);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#waiting.clear();
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const paced of this.#waiting) {
      if (!isTooSlow(paced, this.#limits, nowMs)) continue;
      this.delete(paced);
      paced.onTooSlow();
    }
  }
}
