/** Virtual time and seeded chance: everything that happens in a simulated schedule follows from its seed. */

export type Random = {
  /** At least 0, less than 1. */
  next(): number;
  /** A whole number from `low` to `high`, both possible. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
};

/** Mulberry32: small, fast, and good enough to tell schedules apart. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  return {
    next,
    between,
    chance: (probability) => next() < probability,
    pick: (items) => items[between(0, items.length - 1)] as (typeof items)[number],
  };
}

type Entry = { readonly atMs: number; readonly order: number; readonly run: () => void };

/** A queue of things to happen, in time and, at the same time, in the order in which they were scheduled. */
export class Timeline {
  nowMs = 0;
  /** How many things have happened. */
  events = 0;
  #order = 0;
  readonly #heap: Entry[] = [];

  at(atMs: number, run: () => void): void {
    this.#push({ atMs: Math.max(atMs, this.nowMs), order: this.#order++, run });
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  runUntil(endMs: number): void {
    for (let entry = this.#heap[0]; entry !== undefined && entry.atMs <= endMs; entry = this.#heap[0]) {
      this.#pop();
      this.nowMs = entry.atMs;
      this.events++;
      entry.run();
    }
    this.nowMs = endMs;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const above = (index - 1) >> 1;
      if (!before(entry, heap[above] as Entry)) break;
      heap[index] = heap[above] as Entry;
      index = above;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let below = index * 2 + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && before(heap[below + 1] as Entry, heap[below] as Entry)) below++;
      if (!before(heap[below] as Entry, last)) break;
      heap[index] = heap[below] as Entry;
      index = below;
    }
    heap[index] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
