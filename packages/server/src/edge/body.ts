/**
 * A request's body on its way from the client to where it is served.
 *
 * - A small one of known length is read whole before it is sent, so that a slow client occupies no application.
 * - Any other is streamed, as fast as the receiver takes it: what is in memory does not grow with the body.
 * - Up to `keptBytesMax` of it are kept, so that it can be sent again; together not more than the budget allows.
 *
 * A body is read once. When whoever received it gives up, the rest stays unread until `readWhole` or `discard`.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Pace, Paced } from './pace.ts';
import type { BodyState } from './route.ts';

/** Bodies up to this size can be sent again (design, section 7). */
export const keptBytesMax = 64 * 1024;

/** What all requests together keep. */
export type KeepBudget = { bytes: number; readonly maxBytes: number };

export type ReadWhole = 'whole' | 'too-large' | 'broken';

/** `idle`: its receiver has given it up, and nobody reads on for the moment. */
type Phase = 'unread' | 'reading' | 'streaming' | 'idle' | 'discarding' | 'complete' | 'broken';

export class RequestBody {
  readonly #request: IncomingMessage;
  readonly #length: number | 'chunked';
  readonly #budget: KeepBudget;
  readonly #pace: Pace;
  readonly #paced: Paced;
  #phase: Phase = 'unread';
  /** Null: not all of it is here any more, or never will be. */
  #kept: Buffer[] | null = [];
  #keptBytes = 0;
  #stream: Readable | null = null;
  #whenRead: ((result: ReadWhole) => void) | null = null;

  constructor(
    request: IncomingMessage,
    length: number | 'chunked',
    budget: KeepBudget,
    pace: Pace,
    onTooSlow: () => void,
  ) {
    this.#request = request;
    this.#length = length;
    this.#budget = budget;
    this.#pace = pace;
    this.#paced = { sinceMs: 0, bytes: 0, waiting: false, onTooSlow };
    if (length === 'chunked') return;
    if (length > keptBytesMax || budget.bytes + length > budget.maxBytes) {
      this.#kept = null;
    } else {
      // Reserved at once: what is read whole before it is sent must not be lost half-way.
      this.#keptBytes = length;
      budget.bytes += length;
    }
  }

  /** Whether it is read whole first. */
  get isSmall(): boolean {
    return this.#length !== 'chunked' && this.#kept !== null;
  }

  get state(): BodyState {
    return this.#kept !== null || this.#phase === 'unread' ? 'kept' : 'gone';
  }

  get isUnread(): boolean {
    return this.#phase === 'unread';
  }

  /** All of it has arrived. */
  get isComplete(): boolean {
    return this.#phase === 'complete';
  }

  /** The bytes, when it is complete and kept. */
  get bytes(): Buffer {
    const kept = this.#kept ?? [];
    return kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept);
  }

  /** Reads what is missing, as long as it can be kept. */
  readWhole(done: (result: ReadWhole) => void): void {
    if (this.#phase === 'broken') done('broken');
    else if (this.#kept === null) done('too-large');
    else if (this.#phase === 'complete') done('whole');
    else {
      this.#whenRead = done;
      this.#read('reading');
    }
  }

  /** The body as a stream; once. */
  open(): Readable {
    const stream = new Readable({
      highWaterMark: keptBytesMax,
      read: () => {
        if (this.#stream === stream) this.#read('streaming');
      },
      // Destroyed by its receiver: the request itself lives on, to be answered.
      destroy: (error, callback) => {
        if (this.#stream === stream) {
          this.#stream = null;
          this.#pause('idle');
        }
        callback(error);
      },
    });
    this.#stream = stream;
    return stream;
  }

  /** Lets the rest arrive and be forgotten, so that the client can read an early answer. */
  discard(): void {
    this.#forget();
    this.#read('discarding');
  }

  /** The request is over. Whoever still sends what is thrown away has to go on doing so in time. */
  close(): void {
    this.#forget();
    if (this.#phase !== 'discarding') this.#pace.delete(this.#paced);
  }

  #read(phase: 'reading' | 'streaming' | 'discarding'): void {
    if (this.#phase === 'complete' || this.#phase === 'broken') return;
    if (this.#phase === 'unread') {
      this.#request.on('data', this.#onData);
      this.#request.on('end', this.#onEnd);
      this.#request.on('close', this.#onClose);
    }
    this.#phase = phase;
    // Only while we wait for the client does the clock run against him.
    if (!this.#paced.waiting) this.#pace.start(this.#paced);
    this.#request.resume();
  }

  #pause(phase: 'streaming' | 'idle'): void {
    if (this.#phase !== 'reading' && this.#phase !== 'streaming') return;
    this.#phase = phase;
    this.#pace.delete(this.#paced);
    this.#request.pause();
  }

  #onData = (chunk: Buffer): void => {
    this.#paced.bytes += chunk.length;
    if (this.#kept !== null) this.#keep(chunk);
    if (this.#stream !== null) {
      if (!this.#stream.push(chunk)) this.#pause('streaming');
    } else if (this.#phase === 'reading' && this.#kept === null) {
      this.#pause('idle');
      this.#readDone('too-large');
    }
  };

  #keep(chunk: Buffer): void {
    this.#kept?.push(chunk);
    if (this.#length !== 'chunked') return;
    const budget = this.#budget;
    if (this.#keptBytes + chunk.length > keptBytesMax || budget.bytes + chunk.length > budget.maxBytes) {
      this.#forget();
      return;
    }
    this.#keptBytes += chunk.length;
    budget.bytes += chunk.length;
  }

  #onEnd = (): void => {
    this.#phase = 'complete';
    this.#pace.delete(this.#paced);
    this.#stream?.push(null);
    this.#readDone(this.#kept === null ? 'too-large' : 'whole');
  };

  #onClose = (): void => {
    if (this.#phase === 'complete') return;
    this.#phase = 'broken';
    this.#pace.delete(this.#paced);
    this.#stream?.destroy(new Error('The client went away.'));
    this.#readDone('broken');
  };

  #readDone(result: ReadWhole): void {
    const done = this.#whenRead;
    this.#whenRead = null;
    done?.(result);
  }

  #forget(): void {
    this.#budget.bytes -= this.#keptBytes;
    this.#keptBytes = 0;
    this.#kept = null;
  }
}
