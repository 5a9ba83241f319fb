/**
 * One timer for everything that is due later. Timers count whole milliseconds and may fire up to one early, so what is
 * not due yet is waited for again: nothing runs before its time, and rarely more than a millisecond after it.
 */
type Entry = { readonly atMs: number; readonly run: () => void };

export class Clock {
  /** A binary heap, soonest first. */
  readonly #heap: Entry[] = [];
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;

  /** Milliseconds since the process started, monotonic, with fractions. */
  now(): number {
    return performance.now();
  }

  /** Runs `run` once, at `atMs` or a little later. */
  at(atMs: number, run: () => void): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push({ atMs, run });
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if ((heap[parent] as Entry).atMs <= atMs) break;
      this.#swap(index, parent);
      index = parent;
    }
    this.#arm();
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    this.#heap.length = 0;
  }

  #arm(): void {
    const first = this.#heap[0];
    if (!first || first.atMs >= this.#timerAtMs) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timerAtMs = first.atMs;
    this.#timer = setTimeout(() => this.#fire(), Math.max(1, Math.ceil(first.atMs - this.now())));
  }

  #fire(): void {
    this.#timer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.now();
    for (let first = this.#heap[0]; first && first.atMs <= nowMs; first = this.#heap[0]) {
      this.#removeFirst();
      first.run();
    }
    this.#arm();
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    heap[0] = last;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= heap.length) return;
      const right = left + 1;
      const soonest = right < heap.length && (heap[right] as Entry).atMs < (heap[left] as Entry).atMs ? right : left;
      if ((heap[soonest] as Entry).atMs >= (heap[index] as Entry).atMs) return;
      this.#swap(index, soonest);
      index = soonest;
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const entry = heap[a] as Entry;
    heap[a] = heap[b] as Entry;
    heap[b] = entry;
  }
}
