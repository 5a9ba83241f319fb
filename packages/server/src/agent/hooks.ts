/**
 * Tells URLs what happened: POST, JSON, signed, again until the answer is 2xx or a day has passed.
 *
 * 1. What is to be told is in the database before anybody is told (`postgres/hooks`): it survives this process, and the agent
 *    that leads next goes on with it. So the same may arrive twice; its `id` says that it is the same.
 * 2. One that is refused does not hold up the others; an address that does not answer is left alone for a while, with all of its.
 * 3. Nothing waits for it: neither a takeover nor a merge depends on whether somebody listens.
 */
import type { Configuration } from 'lanekeeper/config';
import { hookSignatureHeader, signHook } from 'lanekeeper/session';
import { Agent as Dispatcher, request } from 'undici';
import {
  dueHooks,
  forgetHooks,
  type HookFate,
  type HookKind,
  type HookMessage,
  hookKinds,
  type Queryable,
  readHooks,
  settleHook,
  tellHook,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';

export type HooksOptions = {
  readonly configuration: Configuration;
  readonly database: Pick<LocalDatabase, 'run'>;
  /** Null: messages are not signed. */
  readonly secret: string | null;
  readonly log: Log;
  /** Whether this agent leads: the others keep quiet. */
  readonly leads: () => boolean;
  /** Puts into the queue what the database knows and nobody has told yet. Called before each look at the queue. */
  readonly collect?: (client: Queryable) => Promise<void>;
};

const lookEveryMs = 1_000;
const forgetEveryMs = 10 * 60_000;
const keepMs = 7 * 86_400_000;
const answerWithinMs = 10_000;
const atOnce = 4;
const perLook = 100;
const firstPauseMs = 1_000;
const longestPauseMs = 10 * 60_000;
const addressPauseMaxMs = 60_000;
const lateAfterMs = 60_000;
/** After so long nobody is told any more. */
export const hookLastsMs = 24 * 3_600_000;

type Reply =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'silent'; readonly error: string };

export class Hooks {
  readonly #options: HooksOptions;
  readonly #urls: Readonly<Record<HookKind, string | null>>;
  readonly #dispatcher = new Dispatcher({ connections: atOnce, connect: { timeout: 5_000 } });
  /** Addresses that do not answer, and until when they are left alone. */
  readonly #quiet = new Map<HookKind, { readonly untilMs: number; readonly pauseMs: number }>();
  #timer: NodeJS.Timeout | undefined;
  #forgottenMs = Number.NEGATIVE_INFINITY;
  #working: Promise<void> | null = null;
  #closed = false;

  constructor(options: HooksOptions) {
    this.#options = options;
    const { onTakeover, onConflict } = options.configuration.hooks;
    this.#urls = { takeover: onTakeover, conflict: onConflict };
  }

  /** Whether anybody wants to hear of it. */
  wanted(kind: HookKind): boolean {
    return this.#urls[kind] !== null;
  }

  /** For `status`. */
  async problems(client: Queryable): Promise<readonly string[]> {
    const reports = await readHooks(client);
    return reports.flatMap(({ kind, waiting, oldestMs, givenUp }) => {
      const name = kind === 'takeover' ? 'hooks.onTakeover' : 'hooks.onConflict';
      const late = waiting > 0 && (oldestMs ?? 0) > lateAfterMs && this.wanted(kind);
      return [
        ...(late ? [`${waiting} of what ${name} is to be told waits, the oldest for ${minutes(oldestMs)}`] : []),
        ...(givenUp > 0 ? [`${givenUp} of what ${name} was to be told was not heard within a day`] : []),
      ];
    });
  }

  start(): void {
    this.#later(lookEveryMs);
  }

  /**
   * Puts a message into the queue, in the transaction of `client` if it is in one; what has this key already is told once.
   * `details` come after `id`, `kind`, `cluster`, `dataCenter` and `at`. False: told before, the queue is full, or nobody
   * wants to hear of it.
   */
  async tell(
    client: Queryable,
    kind: HookKind,
    key: string,
    details: Readonly<Record<string, unknown>>,
    at = new Date(),
  ): Promise<boolean> {
    if (!this.wanted(kind)) return false;
    const { cluster, here } = this.#options.configuration;
    const id = `${cluster}/${here}/${kind}/${key}`;
    const body = JSON.stringify({ id, kind, cluster, dataCenter: here, at: at.toISOString(), ...details });
    return tellHook(client, { kind, key, body });
  }

  /** There is something to tell: do not wait for the next look. */
  wake(): void {
    if (this.#timer !== undefined && !this.#closed) this.#later(0);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#dispatcher.destroy();
    await this.#working;
  }

  #later(inMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#working = this.#look()
        .catch((error: unknown) => this.#options.log('warn', 'telling hooks failed', { error: message(error) }))
        .then(() => {
          this.#working = null;
          if (!this.#closed) this.#later(lookEveryMs);
        });
    }, inMs);
  }

  async #look(): Promise<void> {
    const { database, leads, collect } = this.#options;
    const kinds = hookKinds.filter((kind) => this.wanted(kind));
    if (kinds.length === 0 || !leads()) return;
    if (collect !== undefined) await database.run(collect);
    await Promise.all(kinds.map((kind) => this.#tellKind(kind, this.#urls[kind] as string)));
    if (performance.now() - this.#forgottenMs < forgetEveryMs) return;
    await database.run((client) => forgetHooks(client, keepMs));
    this.#forgottenMs = performance.now();
  }

  async #tellKind(kind: HookKind, url: string): Promise<void> {
    const quietUntilMs = this.#quiet.get(kind)?.untilMs ?? 0;
    if (performance.now() < quietUntilMs) return;
    const due = await this.#options.database.run((client) => dueHooks(client, kind, perLook));
    const rest = [...due];
    let silent = false;
    const teller = async () => {
      for (let next = rest.shift(); next !== undefined && !silent && !this.#closed; next = rest.shift())
        silent = !(await this.#tellOne(url, next)) || silent;
    };
    await Promise.all(Array.from({ length: atOnce }, teller));
    if (!silent) return void this.#quiet.delete(kind);
    const pauseMs = Math.min(2 * (this.#quiet.get(kind)?.pauseMs ?? firstPauseMs / 2), addressPauseMaxMs);
    this.#quiet.set(kind, { pauseMs, untilMs: performance.now() + pauseMs });
  }

  /** False when nobody answered there. */
  async #tellOne(url: string, told: HookMessage): Promise<boolean> {
    const { database, log } = this.#options;
    const reply = await this.#post(url, told.body);
    // An end of our own is no failure of theirs.
    if (this.#closed && reply.kind === 'silent') return false;
    const fate = fateOf(reply, told, Math.random());
    const { kind, key, attempts } = told;
    const problem = reply.kind === 'answered' ? { status: reply.status } : { error: reply.error };
    if (fate.kind === 'again' && attempts === 0) log('warn', 'a hook was not heard', { kind, key, ...problem });
    if (fate.kind === 'given-up') log('error', 'a hook was not heard and is given up', { kind, key, ...problem });
    await database.run((client) => settleHook(client, told, fate));
    return reply.kind === 'answered';
  }

  async #post(url: string, body: string): Promise<Reply> {
    const { secret } = this.#options;
    try {
      const response = await request(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'lanekeeper',
          ...(secret === null ? {} : { [hookSignatureHeader]: signHook(secret, body, Date.now()) }),
        },
        body,
        dispatcher: this.#dispatcher,
        signal: AbortSignal.timeout(answerWithinMs),
      });
      // What it says does not matter, and how much it is must not either.
      await response.body.dump({ limit: 65_536 }).catch(() => {});
      return { kind: 'answered', status: response.statusCode };
    } catch (error) {
      return { kind: 'silent', error: message(error) };
    }
  }
}

/** What becomes of a message after an answer, or none. `chance`: from 0 to 1; not all try again at the same moment. */
export function fateOf(
  reply: Reply,
  { attempts, ageMs }: Pick<HookMessage, 'attempts' | 'ageMs'>,
  chance: number,
): HookFate {
  if (reply.kind === 'answered' && reply.status >= 200 && reply.status < 300) return { kind: 'heard' };
  const pauseMs = Math.min(firstPauseMs * 2 ** Math.min(attempts, 20), longestPauseMs);
  const inMs = Math.round(pauseMs * (0.75 + chance / 2));
  return ageMs + inMs > hookLastsMs ? { kind: 'given-up' } : { kind: 'again', inMs };
}

function minutes(ms: number | null): string {
  return `${Math.round((ms ?? 0) / 60_000)} min`;
}
