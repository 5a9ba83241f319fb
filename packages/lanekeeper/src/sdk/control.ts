/**
 * The control connection: the one session on which this instance hears of moves and deeds. It has to lead straight to PostgreSQL,
 * since LISTEN does not survive a pooler in transaction mode. It reconnects for ever, with growing pauses.
 *
 * While it is down this instance is not enlisted: moves do not wait for its requests, nothing is remembered about deeds, and the
 * fence alone keeps order (R1).
 */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { type AccountId, cacheChannel, type DataCenterName, type SuccessionKind } from '../model/index.ts';
import type { RunSql } from './deeds.ts';

export type ControlMessage =
  | {
      readonly kind: 'drain';
      readonly move: number;
      readonly account: AccountId;
      readonly to: DataCenterName;
      readonly untilMs: number;
    }
  | { readonly kind: 'undrain'; readonly move: number; readonly account: AccountId }
  | {
      readonly kind: 'deed';
      readonly account: AccountId;
      readonly home: DataCenterName;
      readonly term: number;
      readonly counter: number;
    }
  | { readonly kind: 'conflict'; readonly id: number }
  /** Everything that `from` held is written in `to` now, or a part of it. */
  | {
      readonly kind: 'succession';
      readonly term: number;
      readonly from: DataCenterName;
      readonly to: DataCenterName;
      readonly how: SuccessionKind;
    };

export type ControlEvents = {
  /** Enlisted and listening. Nothing from before is known. */
  up(): void;
  /** Messages may be lost from here on. */
  down(): void;
  message(message: ControlMessage): void;
  /** A row of a `cached` table has changed; for who listens to that. */
  changed?(payload: string): void;
};

type Phase =
  | { readonly kind: 'connecting'; readonly client: pg.Client }
  | { readonly kind: 'listening'; readonly client: pg.Client; readonly heartbeat: NodeJS.Timeout }
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly kind: 'closed' };

const firstPauseMs = 100;
const longestPauseMs = 5_000;
const connectTimeoutMs = 5_000;
/** How long a notification may take. */
const hearTimeoutMs = 2_000;
/** A half-open connection says nothing: ask now and then. */
const heartbeatMs = 10_000;

export class ControlConnection {
  readonly #url: string;
  readonly #instance: string;
  readonly #events: ControlEvents;
  readonly #run: RunSql;
  #phase: Phase = { kind: 'closed' };
  #pauseMs = firstPauseMs;
  #sent: Promise<unknown> = Promise.resolve();
  #warned = false;

  /** `run` works on other connections than this one. */
  constructor(url: string, instance: string, run: RunSql, events: ControlEvents) {
    this.#url = url;
    this.#instance = instance;
    this.#run = run;
    this.#events = events;
  }

  /** Resolves when the first attempt has succeeded or failed; never rejects. */
  async start(): Promise<void> {
    await this.#connect();
  }

  get listening(): boolean {
    return this.#phase.kind === 'listening';
  }

  /** Tells the agent that no work in flight is left for this move. If we cannot, the agent sees that our session is gone. */
  reportDrained(move: number): void {
    if (!('client' in this.#phase)) return;
    this.#send(this.#phase.client, 'SELECT lanekeeper.drained($1, $2)', [move, this.#instance]);
  }

  async close(): Promise<void> {
    const phase = this.#phase;
    this.#phase = { kind: 'closed' };
    if (phase.kind === 'waiting') clearTimeout(phase.timer);
    if (phase.kind === 'listening') clearInterval(phase.heartbeat);
    if (phase.kind === 'connecting' || phase.kind === 'listening') await phase.client.end().catch(() => {});
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: connectTimeoutMs,
      keepAlive: true,
      application_name: `lanekeeper:${this.#instance}`,
    });
    this.#phase = { kind: 'connecting', client };
    this.#sent = Promise.resolve();
    client.on('error', () => this.#lost(client));
    client.on('end', () => this.#lost(client));
    client.on('notification', ({ channel, payload }) => this.#hear(client, channel, payload));
    try {
      await client.connect();
      // Listen before enlisting: once the agent counts on our answer, no drain may pass unheard.
      await client.query(
        this.#events.changed ? `LISTEN lanekeeper_app; LISTEN ${cacheChannel}` : 'LISTEN lanekeeper_app',
      );
      await this.#hearSomebody(client);
      await client.query('SELECT lanekeeper.enlist($1)', [this.#instance]);
    } catch {
      this.#lost(client);
      return;
    }
    if (this.#phase.kind !== 'connecting' || this.#phase.client !== client) return;
    const heartbeat = setInterval(() => {
      this.#send(client, 'SELECT 1', []);
    }, heartbeatMs);
    heartbeat.unref();
    this.#phase = { kind: 'listening', client, heartbeat };
    this.#pauseMs = firstPauseMs;
    this.#events.up();
  }

  /**
   * A pooler in transaction mode accepts LISTEN and delivers nothing later: enlisted like that, we would make every move wait for an
   * answer that cannot come. So somebody else, on another connection, has to be heard first.
   */
  async #hearSomebody(client: pg.Client): Promise<void> {
    const nonce = randomUUID();
    let timer: NodeJS.Timeout | undefined;
    const heard = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), hearTimeoutMs);
      client.on('notification', ({ payload }) => {
        if (payload?.includes(nonce)) resolve(true);
      });
    });
    try {
      const hello = JSON.stringify({ kind: 'hello', nonce });
      await this.#run("SELECT pg_catalog.pg_notify('lanekeeper_app', $1)", [hello]);
      if (await heard) return;
    } finally {
      clearTimeout(timer);
    }
    if (!this.#warned)
      process.emitWarning('The control connection hears no notifications: it has to lead straight to PostgreSQL.', {
        code: 'LK_CONTROL',
        detail:
          'Set LANEKEEPER_CONTROL_URL (or `controlUrl`) to a URL that does not pass a pooler in transaction mode.',
      });
    this.#warned = true;
    throw new Error('no notifications');
  }

  /** One after another: pg wants no query while another one runs. */
  #send(client: pg.Client, text: string, values: unknown[]): void {
    this.#sent = this.#sent.then(() => client.query(text, values)).catch(() => this.#lost(client));
  }

  #lost(client: pg.Client): void {
    const phase = this.#phase;
    if ((phase.kind !== 'connecting' && phase.kind !== 'listening') || phase.client !== client) return;
    if (phase.kind === 'listening') clearInterval(phase.heartbeat);
    client.end().catch(() => {});
    const timer = setTimeout(() => void this.#connect(), this.#pauseMs * (0.75 + Math.random() / 2));
    this.#phase = { kind: 'waiting', timer };
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
    if (phase.kind === 'listening') this.#events.down();
  }

  #hear(client: pg.Client, channel: string, payload: string | undefined): void {
    // What arrives between LISTEN and `up` is about drains that count on us already.
    if (!('client' in this.#phase) || this.#phase.client !== client || payload === undefined) return;
    if (channel === cacheChannel) return this.#events.changed?.(payload);
    const message = parseMessage(payload);
    if (message !== null) this.#events.message(message);
  }
}

/** Any role may send a NOTIFY: what does not look like ours is ignored. */
export function parseMessage(payload: string): ControlMessage | null {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { kind, account, move, to, untilMs, home, term, counter, from, how, id } = value as Record<string, unknown>;
  const isCount = (count: unknown): count is number => Number.isSafeInteger(count);
  if (kind === 'succession') {
    const known = isSuccessionKind(how) && isCount(term) && typeof from === 'string' && typeof to === 'string';
    return known ? { kind, term, from, to, how } : null;
  }
  if (kind === 'conflict') return isCount(id) ? { kind, id } : null;
  if (typeof account !== 'string' || account === '') return null;
  if (kind === 'drain' && isCount(move) && typeof to === 'string' && isCount(untilMs))
    return { kind, move, account, to, untilMs };
  if (kind === 'undrain' && isCount(move)) return { kind, move, account };
  if (kind === 'deed' && typeof home === 'string' && isCount(term) && isCount(counter))
    return { kind, account, home, term, counter };
  return null;
}

function isSuccessionKind(how: unknown): how is SuccessionKind {
  return how === 'take' || how === 'switch' || how === 'return';
}
