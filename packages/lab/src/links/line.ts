/**
 * One direction of one connection: a queue of what is on its way, in the order it was sent, each with the time it
 * arrives. Any number of chunks are under way at once, so a delay costs no throughput.
 */
import type { Clock } from './clock.ts';
import type { Direction } from './direction.ts';

export type Parcel =
  | { readonly kind: 'bytes'; readonly chunk: Buffer }
  /** The opening handshake and its answer, which take their time as well. */
  | { readonly kind: 'open' }
  | { readonly kind: 'opened' }
  | { readonly kind: 'end' }
  | { readonly kind: 'reset' };

export type LineEnds = {
  /** Hands a parcel over where it arrives. False: take no more until `unblock()`. */
  deliver(parcel: Parcel): boolean;
  /** The sender has to wait, or may go on. */
  pause(): void;
  resume(): void;
};

/**
 * While the opposite direction is cut, no acknowledgement gets through: a real sender would stop when its window is
 * full. This is that window.
 */
const unacknowledgedBytesMax = 64 * 1024;

export class Line {
  readonly #clock: Clock;
  readonly #direction: Direction;
  readonly #opposite: Direction;
  readonly #ends: LineEnds;
  #queue: { atMs: number; readonly parcel: Parcel }[] = [];
  /** The queue's first entry; those before it have been delivered. */
  #head = 0;
  #lastAtMs = 0;
  #heldBytes = 0;
  #unacknowledgedBytes = 0;
  #paused = false;
  #blocked = false;
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(clock: Clock, direction: Direction, opposite: Direction, ends: LineEnds) {
    this.#clock = clock;
    this.#direction = direction;
    this.#opposite = opposite;
    this.#ends = ends;
    direction.lines.add(this);
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  send(parcel: Parcel): void {
    if (this.#closed) return;
    const bytes = sizeOf(parcel);
    const nowMs = this.#clock.now();
    // Never before what was sent earlier: bytes of one connection keep their order whatever the jitter.
    this.#lastAtMs = Math.max(this.#lastAtMs, this.#direction.arrivalMs(bytes, nowMs));
    this.#queue.push({ atMs: this.#lastAtMs, parcel });
    this.#hold(bytes);
    if (!this.#paused && this.#heldBytes >= this.#direction.lineLimitBytes()) {
      this.#paused = true;
      this.#ends.pause();
    }
    this.advance();
  }

  /** The receiver can take more. */
  unblock(): void {
    this.#blocked = false;
    this.advance();
  }

  /** After healing: nothing that was held arrives before `atMs`. */
  restamp(atMs: number): void {
    this.#unacknowledgedBytes = 0;
    for (let index = this.#head; index < this.#queue.length; index += 1) {
      const entry = this.#queue[index] as { atMs: number };
      entry.atMs = Math.max(entry.atMs, atMs);
    }
    this.#lastAtMs = Math.max(this.#lastAtMs, atMs);
    this.advance();
  }

  /** Delivers what is due, and sees to it that this is called again when more is. */
  advance(): void {
    const nowMs = this.#clock.now();
    while (!this.#closed && !this.#blocked && this.#head < this.#queue.length) {
      if (this.#direction.settings.mode !== 'open') return;
      const entry = this.#queue[this.#head] as { atMs: number; readonly parcel: Parcel };
      if (entry.atMs > nowMs) {
        this.#wakeAt(entry.atMs);
        return;
      }
      const bytes = sizeOf(entry.parcel);
      if (this.#opposite.settings.mode === 'open') this.#unacknowledgedBytes = 0;
      else if (this.#unacknowledgedBytes + bytes > unacknowledgedBytesMax) return;
      else this.#unacknowledgedBytes += bytes;
      this.#head += 1;
      this.#hold(-bytes);
      this.#direction.bytes += bytes;
      if (!this.#ends.deliver(entry.parcel)) this.#blocked = true;
      this.#compact();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#direction.lines.delete(this);
    this.#hold(-this.#heldBytes);
    this.#queue = [];
    this.#head = 0;
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (bytes >= 0) this.#direction.hold(bytes);
    else {
      this.#direction.release(-bytes);
      if (this.#paused && !this.#closed && this.#heldBytes <= this.#direction.lineLimitBytes() / 2) {
        this.#paused = false;
        this.#ends.resume();
      }
    }
  }

  #wakeAt(atMs: number): void {
    if (atMs >= this.#wakeAtMs) return;
    this.#wakeAtMs = atMs;
    this.#clock.at(atMs, () => {
      this.#wakeAtMs = Number.POSITIVE_INFINITY;
      this.advance();
    });
  }

  #compact(): void {
    if (this.#head < 1024 && this.#head < this.#queue.length) return;
    this.#queue.splice(0, this.#head);
    this.#head = 0;
  }
}

function sizeOf(parcel: Parcel): number {
  return parcel.kind === 'bytes' ? parcel.chunk.length : 0;
}
