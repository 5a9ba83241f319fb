/** A few connections of the SDK's own to the database of every data center, made when they are needed first. */
import pg from 'pg';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';

export type Asked =
  | { readonly kind: 'answered'; readonly rows: readonly Readonly<Record<string, unknown>>[] }
  /** There was no connection: nothing was done. */
  | { readonly kind: 'unavailable'; readonly error: unknown }
  /** PostgreSQL refused (`isFault`), or the connection broke or was silent for too long. */
  | { readonly kind: 'failed'; readonly error: unknown };

export type DatabasesOptions = {
  readonly here: DataCenterName;
  /** Complete URLs, as the application's role. */
  readonly urls: ReadonlyMap<DataCenterName, string>;
  readonly applicationName: string;
};

const connections = 10;
const connectMs = 2_000;
const answerMs = 4_000;
/** One that could not be reached is left alone for so long, so that not everybody waits for it. */
const restMs = 1_000;

export class Databases {
  readonly here: DataCenterName;
  readonly names: readonly DataCenterName[];
  readonly #options: DatabasesOptions;
  readonly #pools = new Map<DataCenterName, pg.Pool>();
  readonly #restUntilMs = new Map<DataCenterName, number>();
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: DatabasesOptions) {
    this.#options = options;
    this.here = options.here;
    this.names = [options.here, ...[...options.urls.keys()].filter((name) => name !== options.here)];
  }

  /** It could not be reached a moment ago; `ask` leaves it alone. */
  rests(dc: DataCenterName): boolean {
    return performance.now() < (this.#restUntilMs.get(dc) ?? 0);
  }

  async ask(dc: DataCenterName, text: string, values: unknown[]): Promise<Asked> {
    if (this.rests(dc)) return { kind: 'unavailable', error: new Error('it could not be reached a moment ago') };
    return this.askAnyway(dc, text, values);
  }

  /** Also one that rests. */
  async askAnyway(dc: DataCenterName, text: string, values: unknown[]): Promise<Asked> {
    const asked = this.#ask(dc, text, values);
    this.#running.add(asked);
    try {
      return await asked;
    } finally {
      this.#running.delete(asked);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#running);
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
  }

  async #ask(dc: DataCenterName, text: string, values: unknown[]): Promise<Asked> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool(dc).connect();
      this.#restUntilMs.delete(dc);
    } catch (error) {
      // One that is only busy is no reason.
      if (this.#pool(dc).totalCount === 0) this.#restUntilMs.set(dc, performance.now() + restMs);
      return { kind: 'unavailable', error };
    }
    try {
      const { rows } = await client.query<Record<string, unknown>>(text, values);
      client.release();
      return { kind: 'answered', rows };
    } catch (error) {
      client.release(!isFault(error));
      return { kind: 'failed', error };
    }
  }

  #pool(dc: DataCenterName): pg.Pool {
    const known = this.#pools.get(dc);
    if (known !== undefined) return known;
    const pool = new pg.Pool({
      connectionString: this.#options.urls.get(dc) as string,
      max: connections,
      connectionTimeoutMillis: connectMs,
      query_timeout: answerMs,
      keepAlive: true,
      allowExitOnIdle: true,
      application_name: this.#options.applicationName,
    });
    pool.on('error', () => {});
    pool.on('connect', (client) => client.on('error', () => {}));
    this.#pools.set(dc, pool);
    return pool;
  }
}

/** PostgreSQL says that the statement is wrong, not that it or its server is in trouble at the moment. */
export function isFault(error: unknown): error is Error & { readonly code: string } {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return severity === 'ERROR' && typeof code === 'string' && !/^(08|40|53|55|57|58|XX)/.test(code);
}

export function reasonOf(error: unknown): string {
  const { message } = error as { message?: unknown };
  return typeof message === 'string' && message !== '' ? message : String(error);
}

export function uncertain(reason: string, cause?: unknown): LanekeeperError {
  const message = `Nobody knows whether this write lasts (${reason}): write it again, which does no harm.`;
  return new LanekeeperError('LK_OUTCOME_UNKNOWN', message, {}, { cause });
}
