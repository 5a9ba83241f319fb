/**
 * Connections to one application instance or one other edge, kept alive and reused.
 *
 * The handlers given to `dispatch` are undici 7's older form (`onHeaders` with raw bytes, `onData` that returns false to
 * pause): the newer form parses every header into an object first, which nobody here reads. undici is pinned for that.
 */
import { isIP } from 'node:net';
import type { Readable } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';

export type UpstreamLimits = {
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** Until the answer begins. */
  readonly headersTimeoutMs: number;
  /** Between two pieces of an answer. */
  readonly bodyTimeoutMs: number;
};

export type Outgoing = {
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: Buffer | Readable | null;
  /** The protocol to change to, or null. */
  readonly upgrade: string | null;
  /** An answer that may pause for as long as it likes. */
  readonly endless: boolean;
};

/** undici reads `servername`, but its types do not name it. */
type SendOptions = Dispatcher.DispatchOptions & { servername?: string };

export class Upstream {
  readonly origin: string;
  /** Host and port, as a Host header names it. */
  readonly host: string;
  readonly #limits: UpstreamLimits;
  /** Whose certificate is expected; undici would go by each request's Host instead. */
  readonly #servername: string | null;
  #pool: Pool;

  constructor(origin: string, limits: UpstreamLimits) {
    this.origin = origin;
    const { host, hostname, protocol } = new URL(origin);
    this.host = host;
    const isName = isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
    // Over plain http nobody looks at it, and having one saves undici from deriving it.
    this.#servername = isName || protocol === 'http:' ? hostname : null;
    this.#limits = limits;
    this.#pool = this.#newPool();
  }

  send(outgoing: Outgoing, handler: Dispatcher.DispatchHandler): void {
    const { method, path, headers, body, upgrade } = outgoing;
    const options: SendOptions = { method: method as Dispatcher.HttpMethod, path, headers, body };
    if (this.#servername !== null) options.servername = this.#servername;
    if (upgrade !== null) options.upgrade = upgrade;
    if (outgoing.endless) options.bodyTimeout = 0;
    // undici closes the connection after each HEAD in case the server sends a body against the rules; Node's parser would
    // refuse such an answer, so the connection is as good as any other.
    if (method === 'HEAD') options.reset = false;
    this.#pool.dispatch(options, handler);
  }

  /** The status of a GET, or null when none came in time. */
  async probe(path: string, headers: string[], timeoutMs: number): Promise<number | null> {
    try {
      const { statusCode, body } = await this.#pool.request({
        method: 'GET',
        path,
        headers,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal: AbortSignal.timeout(timeoutMs),
      });
      await body.dump();
      return statusCode;
    } catch {
      return null;
    }
  }

  /** New requests get new connections; those under way have `graceMs` to finish on the old ones. */
  renew(graceMs: number): void {
    const old = this.#pool;
    this.#pool = this.#newPool();
    const end = (): void => void old.destroy().catch(() => {});
    const timer = setTimeout(end, graceMs);
    timer.unref();
    old.close().then(
      () => clearTimeout(timer),
      () => {},
    );
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  #newPool(): Pool {
    const { connections, connectTimeoutMs, headersTimeoutMs, bodyTimeoutMs } = this.#limits;
    return new Pool(this.origin, {
      connections,
      pipelining: 1,
      connect: { timeout: connectTimeoutMs },
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyTimeoutMs,
      // Below what Node, nginx and the like allow an idle connection, so that they seldom close one just when it is used.
      keepAliveTimeout: 4_000,
      maxHeaderSize: 64 * 1024,
    });
  }
}
