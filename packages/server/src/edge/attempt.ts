/**
 * One request on its way to one destination: undici's handler, turned into the few things an exchange needs to know.
 * The exchange can abort it, or forget it: then what still comes is thrown away and the connection can be reused.
 */
import type { Duplex } from 'node:stream';
import type { Bag } from './bag.ts';
import type { EdgeContext, Waiting } from './context.ts';
import type { Destination } from './route.ts';

/** `unreachable`: not a byte was sent. `invalid`: it cannot be sent at all. */
export type FailureKind = 'unreachable' | 'broken' | 'late' | 'invalid';

/** What an attempt tells: implemented by `Exchange`. */
export type Asker = {
  readonly isOver: boolean;
  readonly isSafe: boolean;
  sending(): void;
  answered(attempt: Attempt, status: number, raw: readonly Buffer[]): void;
  data(chunk: Buffer): boolean;
  complete(trailers: readonly (Buffer | string)[] | null): void;
  failed(attempt: Attempt, kind: FailureKind): void;
  tunnel(status: number, raw: readonly Buffer[], upstream: Duplex, done: () => void): void;
};

/** Of an answer that nobody wants: more than this, and the connection is not worth it. */
const forgottenBytesMax = 64 * 1024;

type Phase = 'connecting' | 'sent' | 'answering' | 'done';

export class Attempt {
  readonly destination: Destination;
  readonly #waiting: Bag<Waiting> | null;
  slot = -1;
  #asker: Asker | null;
  #phase: Phase = 'connecting';
  #abort: ((error?: Error) => void) | null = null;
  #resume: (() => void) | null = null;
  #forgottenBytes = 0;

  constructor(asker: Asker, destination: Destination, edge: EdgeContext) {
    this.destination = destination;
    this.#asker = asker;
    if (destination.kind === 'application') {
      this.#waiting = null;
      destination.instance.busy += 1;
    } else {
      this.#waiting = edge.waitingFor.get(destination.peer.name) ?? null;
      this.#waiting?.add(this);
    }
  }

  abort(): void {
    this.#asker = null;
    this.#abort?.(new Error('Nobody waits for this any more.'));
  }

  forget(): void {
    this.#asker = null;
  }

  resume(): void {
    this.#resume?.();
  }

  /** The other edge is lost. What may have taken effect there has to wait for its answer; anything else need not. */
  giveUp(): void {
    const asker = this.#asker;
    if (asker === null || !(asker.isSafe || this.#phase === 'connecting') || this.#phase === 'answering') return;
    const kind = this.#phase === 'connecting' ? 'unreachable' : 'broken';
    this.abort();
    asker.failed(this, kind);
  }

  onConnect(abort: (error?: Error) => void): void {
    if (this.#asker === null || this.#asker.isOver) {
      abort(new Error('The client went away.'));
      return;
    }
    this.#abort = abort;
    this.#phase = 'sent';
    this.#asker.sending();
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    // 1xx: what follows is the answer; `100 Continue` the edge has said itself.
    if (status < 200) return true;
    this.#resume = resume;
    this.#phase = 'answering';
    this.#waiting?.delete(this);
    this.#asker?.answered(this, status, raw);
    return true;
  }

  onData(chunk: Buffer): boolean {
    if (this.#asker !== null) return this.#asker.data(chunk);
    this.#forgottenBytes += chunk.length;
    if (this.#forgottenBytes > forgottenBytesMax) this.#abort?.(new Error('Nobody waits for this any more.'));
    return true;
  }

  onComplete(trailers: (Buffer | string)[] | null): void {
    this.#done();
    this.#asker?.complete(trailers);
  }

  onError(error: Error): void {
    const sent = this.#phase !== 'connecting';
    this.#done();
    const asker = this.#asker;
    if (asker === null || asker.isOver) return;
    asker.failed(this, failureKind((error as { code?: unknown }).code, sent));
  }

  onUpgrade(status: number, raw: Buffer[] | string[] | null, upstream: Duplex): void {
    this.#waiting?.delete(this);
    const asker = this.#asker;
    if (asker === null) {
      this.#done();
      upstream.destroy();
      return;
    }
    asker.tunnel(status, (raw ?? []) as readonly Buffer[], upstream, () => this.#done());
  }

  #done(): void {
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    this.#waiting?.delete(this);
    if (this.destination.kind === 'application') this.destination.instance.busy -= 1;
  }
}

function failureKind(code: unknown, sent: boolean): FailureKind {
  if (code === 'UND_ERR_HEADERS_TIMEOUT') return 'late';
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') return 'invalid';
  return sent ? 'broken' : 'unreachable';
}
