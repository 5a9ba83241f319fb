/**
 * Whether another data center's database answers, so that nobody waits long for one that does not. A connection that cannot be made
 * says so; so does a question of its own, asked while a statement has been without an answer for a while. What was lost is tried again
 * after a moment, by one, while the others are told at once.
 */
import type pg from 'pg';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';

/** How long a connection may take: a TLS and SCRAM handshake is some six round trips. */
export const laneConnectMs = 3_000;
const silenceMs = 1_000;
const pauseMs = 1_000;

/** What is known of it: it answers, or it did not when it was tried last. */
type Phase = { readonly kind: 'up' } | { readonly kind: 'lost'; readonly untilMs: number };

export class LaneHealth {
  readonly dataCenter: DataCenterName;
  readonly #here: DataCenterName;
  readonly #ask: () => Promise<unknown>;
  readonly #onLost: () => void;
  #phase: Phase = { kind: 'up' };
  /** Those who wait for a connection, to be told when there will be none. */
  readonly #waiting = new Set<(error: LanekeeperError) => void>();
  /** Connections with a statement under way, and since when. */
  readonly #working = new Map<pg.ClientBase, number>();
  /** Those made before it was lost last lead nowhere: nobody said so on a line that was cut. */
  readonly #madeAtMs = new WeakMap<pg.ClientBase, number>();
  #lostAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  #asking = false;

  /** `ask` opens a new connection and puts a question; it rejects when there is no answer within `laneConnectMs`. */
  constructor(here: DataCenterName, dataCenter: DataCenterName, ask: () => Promise<unknown>, onLost: () => void) {
    this.#here = here;
    this.dataCenter = dataCenter;
    this.#ask = ask;
    this.#onLost = onLost;
  }

  unreachable(cause?: unknown): LanekeeperError {
    const details = { home: this.dataCenter, dataCenter: this.#here };
    return new LanekeeperError('LK_HOME_UNREACHABLE', undefined, details, { cause });
  }

  /** `connect` is not even called while nothing can come of it. @throws {LanekeeperError} `LK_HOME_UNREACHABLE` */
  async reach<Client extends pg.PoolClient>(connect: () => Promise<Client>): Promise<Client> {
    const phase = this.#phase;
    if (phase.kind === 'lost') {
      if (performance.now() < phase.untilMs) throw this.unreachable();
      // This one tries; the others need not wait for what comes of it.
      this.#phase = { kind: 'lost', untilMs: performance.now() + laneConnectMs + pauseMs };
    }
    const connecting = this.#fresh(connect);
    let tell: (error: LanekeeperError) => void = () => {};
    const lost = new Promise<never>((_resolve, reject) => {
      tell = reject;
      this.#waiting.add(tell);
    });
    try {
      const client = await Promise.race([connecting, lost]);
      this.#phase = { kind: 'up' };
      return client;
    } catch (error) {
      connecting.then((client) => client.release()).catch(() => {});
      if (error instanceof LanekeeperError || saysMore(error)) throw error;
      this.#lose(error);
      throw this.unreachable(error);
    } finally {
      this.#waiting.delete(tell);
    }
  }

  /** For a pool to say. */
  made(client: pg.ClientBase): void {
    this.#madeAtMs.set(client, performance.now());
  }

  async #fresh<Client extends pg.PoolClient>(connect: () => Promise<Client>): Promise<Client> {
    for (;;) {
      const client = await connect();
      if ((this.#madeAtMs.get(client) ?? Number.POSITIVE_INFINITY) > this.#lostAtMs) return client;
      client.release(true);
    }
  }

  /** Nobody waits any longer for a connection. What is under way may have better luck. */
  #lose(cause: unknown): void {
    this.#phase = { kind: 'lost', untilMs: performance.now() + pauseMs };
    for (const tell of this.#waiting) tell(this.unreachable(cause));
    this.#onLost();
  }

  /** No new connection, and no answer on these: nobody waits for one. */
  #giveUp(silent: readonly pg.ClientBase[], cause: unknown): void {
    this.#lostAtMs = performance.now();
    for (const client of silent) {
      this.#working.delete(client);
      streamOf(client).destroy();
    }
    this.#lose(cause);
  }

  /** A statement is under way on this connection. */
  began(client: pg.ClientBase): void {
    this.#working.set(client, performance.now());
    this.#timer ??= this.#watch();
  }

  /** Nothing is. */
  ended(client: pg.ClientBase): void {
    this.#working.delete(client);
    if (this.#working.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #silent(): readonly pg.ClientBase[] {
    const beforeMs = performance.now() - silenceMs;
    return [...this.#working].filter(([, sinceMs]) => sinceMs < beforeMs).map(([client]) => client);
  }

  #watch(): NodeJS.Timeout {
    const timer = setInterval(() => {
      const silent = this.#silent();
      if (this.#asking || silent.length === 0) return;
      this.#asking = true;
      this.#ask()
        .catch((error: unknown) => {
          // Those that have been answered meanwhile are well.
          if (!saysMore(error)) this.#giveUp(this.#silent(), error);
        })
        .finally(() => {
          this.#asking = false;
        });
    }, silenceMs / 2);
    timer.unref();
    return timer;
  }
}

/** An answer of PostgreSQL, so it was reached; unless it says that it is starting or stopping. */
function saysMore(error: unknown): boolean {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown };
  return severity !== undefined && typeof code === 'string' && !/^57P0[123]$/.test(code);
}

function streamOf(client: pg.ClientBase): { destroy(): void } {
  return (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream;
}
