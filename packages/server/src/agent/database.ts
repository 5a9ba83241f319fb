/** The local database: a small pool for work, sessions of their own for the lead and for listening. */
import { Client, Pool, type PoolClient } from 'pg';
import type { Log } from './options.ts';

const connectTimeoutMs = 3_000;

export type LocalDatabaseOptions = {
  readonly url: string;
  readonly instance: string;
  readonly connections: number;
  /** The longest that any single statement may take. */
  readonly statementMs: number;
};

export class LocalDatabase {
  readonly #options: LocalDatabaseOptions;
  readonly #pool: Pool;

  constructor(options: LocalDatabaseOptions) {
    this.#options = options;
    this.#pool = new Pool({
      ...this.#config('work'),
      max: options.connections,
      // A move must not wait for a connection to be made.
      idleTimeoutMillis: 0,
      query_timeout: options.statementMs,
    });
    this.#pool.on('error', () => {});
    // One that is at work is the worker's business, whose query fails; unheard, the error would end the process.
    this.#pool.on('connect', (client) => client.on('error', () => {}));
  }

  /** Runs with a connection to itself. One that failed in a way PostgreSQL did not report is thrown away. */
  async run<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    try {
      const result = await work(client);
      client.release();
      return result;
    } catch (error) {
      client.release(!isReported(error));
      throw error;
    }
  }

  /** A connection whose end ends whatever it stands for. Queries on it fail after `timeoutMs`. */
  async session(purpose: string, timeoutMs: number): Promise<Client> {
    const client = new Client({ ...this.#config(purpose), query_timeout: timeoutMs });
    client.on('error', () => {});
    try {
      await client.connect();
    } catch (error) {
      client.end().catch(() => {});
      throw error;
    }
    return client;
  }

  /**
   * Whether anybody answers; throws what connecting throws. A server that lets its sessions finish before it stops turns
   * new ones away while the others write on, so those that are open are asked as well.
   */
  async probe(timeoutMs: number): Promise<void> {
    try {
      await this.#tryToConnect(timeoutMs);
    } catch (error) {
      if (!(await this.#openOneAnswers(timeoutMs))) throw error;
    }
  }

  async #openOneAnswers(timeoutMs: number): Promise<boolean> {
    if (this.#pool.idleCount === 0) return false;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const asked = this.run((client) => client.query('SELECT')).then(
      () => true,
      () => false,
    );
    const answered = await Promise.race([asked, late]);
    clearTimeout(timer);
    return answered;
  }

  async #tryToConnect(timeoutMs: number): Promise<void> {
    const client = new Client({ ...this.#config('probe'), connectionTimeoutMillis: timeoutMs });
    client.on('error', () => {});
    try {
      await client.connect();
    } finally {
      client.end().catch(() => {});
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  #config(purpose: string) {
    const { url, instance } = this.#options;
    return {
      connectionString: url,
      application_name: `lanekeeper agent ${instance} ${purpose}`.slice(0, 63),
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      options:
        '-c search_path=pg_catalog -c idle_in_transaction_session_timeout=15s -c default_transaction_isolation=read\\ committed',
    };
  }
}

/** PostgreSQL said what was wrong and keeps the connection. */
function isReported(error: unknown): boolean {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return typeof code === 'string' && severity === 'ERROR';
}

export type ListenerEvents = {
  message(payload: string): void;
  /** Listening from now on; what was said before is lost. */
  up(): void;
};

const firstPauseMs = 100;
const longestPauseMs = 2_000;
const heartbeatMs = 5_000;

/** Listens on a channel for as long as it is not closed, whatever happens to its connection. */
export class Listener {
  readonly #connect: () => Promise<Client>;
  readonly #channel: string;
  readonly #events: ListenerEvents;
  readonly #log: Log;
  #client: Client | null = null;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = firstPauseMs;
  #closed = false;

  constructor(connect: () => Promise<Client>, channel: string, events: ListenerEvents, log: Log) {
    this.#connect = connect;
    this.#channel = channel;
    this.#events = events;
    this.#log = log;
  }

  async start(): Promise<void> {
    let client: Client;
    try {
      client = await this.#connect();
      this.#client = client;
      client.on('error', () => this.#lost(client));
      client.on('end', () => this.#lost(client));
      client.on('notification', ({ payload }) => {
        if (payload !== undefined) this.#events.message(payload);
      });
      await client.query(`LISTEN ${client.escapeIdentifier(this.#channel)}`);
    } catch (error) {
      if (this.#client !== null) this.#lost(this.#client);
      else this.#again(error);
      return;
    }
    if (this.#closed) return void client.end().catch(() => {});
    this.#pauseMs = firstPauseMs;
    this.#events.up();
    const beat = () => {
      client.query('SELECT 1').then(
        () => {
          if (this.#client === client) this.#timer = setTimeout(beat, heartbeatMs);
        },
        () => this.#lost(client),
      );
    };
    this.#timer = setTimeout(beat, heartbeatMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }

  #lost(client: Client): void {
    if (this.#client !== client) return;
    this.#client = null;
    clearTimeout(this.#timer);
    client.end().catch(() => {});
    this.#again(new Error('the connection was lost'));
  }

  #again(error: unknown): void {
    if (this.#closed) return;
    this.#log('warn', 'not listening', { channel: this.#channel, error: String((error as Error).message ?? error) });
    this.#timer = setTimeout(() => void this.start(), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
  }
}
