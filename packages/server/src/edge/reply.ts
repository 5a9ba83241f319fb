/**
 * The answer on its way to the client, as fast as he reads. Most answers are one small piece: it goes out together with its
 * head, as one string.
 */
import type { ServerResponse } from 'node:http';
import type { Answer } from './answers.ts';
import type { Pace, Paced } from './pace.ts';

/** Writing one string costs less than writing a string and a buffer, as long as copying it is cheap. */
const heldBytesMax = 16 * 1024;

/** Whose reply it is: implemented by `Exchange`. */
export type Replier = {
  /** The client has not read for too long. */
  tooSlow(): void;
  /** After `data` returned false: the client can take more again. */
  drained(): void;
};

export class Reply {
  readonly #response: ServerResponse;
  readonly #pace: Pace;
  readonly #replier: Replier;
  #stall: Paced | null = null;
  #flowing = false;
  /** The first piece of an answer whose length is known may wait for the rest of what has arrived already. */
  #mayHold = false;
  #held: Buffer | null = null;

  constructor(response: ServerResponse, pace: Pace, replier: Replier) {
    this.#response = response;
    this.#pace = pace;
    this.#replier = replier;
  }

  get isBegun(): boolean {
    return this.#response.headersSent;
  }

  /** All of it has been handed to the system. */
  get isThrough(): boolean {
    return this.#response.writableFinished;
  }

  sayContinue(): void {
    this.#response.writeContinue();
  }

  /** Throws when a value cannot be a header's. */
  head(status: number, headers: string[], hasLength: boolean): void {
    this.#response.writeHead(status, headers);
    this.#mayHold = hasLength;
    // The beginning of an event stream shall not wait for its first event.
    if (!hasLength) process.nextTick(flush, this);
  }

  /** Returns false when the client cannot take more for now; then `drained` is called when he can. */
  data(chunk: Buffer): boolean {
    if (this.#mayHold && chunk.length <= heldBytesMax) {
      this.#mayHold = false;
      this.#held = chunk;
      process.nextTick(flush, this);
      return true;
    }
    this.#release();
    return this.#write(chunk);
  }

  end(trailers: [string, string][]): void {
    if (trailers.length > 0) this.#response.addTrailers(trailers);
    const held = this.#held;
    this.#held = null;
    if (held === null) this.#response.end();
    else this.#response.end(held.toString('latin1'), 'latin1');
  }

  /** An answer of the edge itself, whole. */
  whole(
    { status, headers, body }: Answer,
    { close, hasBody }: { readonly close: boolean; readonly hasBody: boolean },
  ): void {
    this.#response.writeHead(status, close ? [...headers, 'Connection', 'close'] : [...headers]);
    this.#response.end(hasBody ? body : undefined);
  }

  /** Ends the connection where it is, so that the client can tell that something is missing. */
  cut(): void {
    this.#response.destroy();
  }

  /** Nobody reads it any more. */
  close(): void {
    this.#held = null;
    this.#mayHold = false;
    if (this.#stall !== null) this.#pace.delete(this.#stall);
  }

  /** What has been held, or has been announced, goes out now. */
  flush(): void {
    if (this.#response.destroyed || this.#response.writableEnded) return;
    this.#release();
    if (!this.#flowing) this.#response.flushHeaders();
  }

  #release(): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    this.#write(held);
  }

  #write(chunk: Buffer): boolean {
    this.#flowing = true;
    this.#mayHold = false;
    if (this.#response.write(chunk)) return true;
    if (this.#stall === null) {
      const stall: Paced = { sinceMs: 0, bytes: 0, waiting: false, onTooSlow: () => this.#replier.tooSlow() };
      this.#stall = stall;
      this.#response.on('drain', () => {
        this.#pace.delete(stall);
        this.#replier.drained();
      });
    }
    if (!this.#stall.waiting) this.#pace.start(this.#stall);
    return false;
  }
}

function flush(reply: Reply): void {
  reply.flush();
}
