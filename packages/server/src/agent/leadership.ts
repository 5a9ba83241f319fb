/**
 * Several agents may run in one data center; one leads: whoever holds the lock. This loop enrols, tries for the lock, and
 * reigns while it has it. A leader that is there and does not act (a stopped process) is unseated.
 */

import type { LeaseCredential } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  type AgentRow,
  enrol,
  type Leader,
  readLeader,
  takeLead,
  tryLeadLock,
  unseatLeader,
  withdraw,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';
import type { Reign } from './reign.ts';

export type LeadershipOptions = {
  readonly instance: string;
  readonly url: string;
  readonly database: LocalDatabase;
  /** A leader that was not heard of for this long does not act. */
  readonly silentMs: number;
  readonly closeMs: number;
  readonly log: Log;
  /** Makes the reign of an agent that has just come to lead. */
  readonly reign: (session: Client, predecessor: LeaseCredential | null) => Promise<Reign>;
  /** It has begun. */
  readonly onLead: () => void;
  /** The session of the lead was lost: perhaps the database with it. */
  readonly onLost: () => void;
};

export type Standing = {
  /** Null: the database does not answer. */
  readonly agents: readonly AgentRow[] | null;
  readonly leader: Leader | null;
  readonly seenMs: number;
};

const tryEveryMs = 500;
const leaderLooksEveryMs = 1_000;
/** A statement of the session that takes longer than this counts as a lost session. */
const sessionTimeoutMs = 3_000;
const aliveMs = 3_000;

export class Leadership {
  readonly #options: LeadershipOptions;
  #standing: Standing = { agents: null, leader: null, seenMs: 0 };
  #reign: Reign | null = null;
  #session: Client | null = null;
  #wake: () => void = () => {};
  #closed = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** The reign while this agent leads. */
  get reign(): Reign | null {
    return this.#reign === null || this.#reign.over ? null : this.#reign;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Another agent said that it stopped leading. */
  wake(): void {
    this.#wake();
  }

  /** Leaves in order: moves under way come to an end, the lease is handed over or released. Bounded by `closeMs`. */
  async close(): Promise<void> {
    const { instance, database, closeMs, log } = this.#options;
    this.#closed = true;
    this.#wake();
    await this.#running;
    const reign = this.reign;
    if (reign !== null) {
      const others = (this.#standing.agents ?? []).filter((one) => one.instance !== instance && one.silentMs < aliveMs);
      reign.leave(others.length > 0);
      const timer = setTimeout(() => {
        log('warn', 'left before everything was done');
        reign.abandon();
      }, closeMs);
      await reign.ended;
      clearTimeout(timer);
    }
    await this.#session?.end().catch(() => {});
    await database.run((client) => withdraw(client, instance)).catch(() => {});
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#look();
        if (this.reign === null) await this.#tryToLead();
      } catch (error) {
        this.#options.log('warn', 'the local database does not answer', { error: message(error) });
        this.#standing = { agents: null, leader: null, seenMs: performance.now() };
        this.#dropSession();
      }
      await this.#pause();
    }
  }

  async #look(): Promise<void> {
    const { database, instance, url } = this.#options;
    const [agents, leader] = await database.run(
      async (client) => [await enrol(client, instance, url), await readLeader(client)] as const,
    );
    this.#standing = { agents, leader, seenMs: performance.now() };
  }

  async #tryToLead(): Promise<void> {
    const { database, instance, url, silentMs, log } = this.#options;
    this.#session ??= await database.session('lead', sessionTimeoutMs);
    const session = this.#session;
    if (!(await tryLeadLock(session))) {
      const { leader } = this.#standing;
      if (leader === null || leader.pid === null || leader.silentMs < silentMs) return;
      log('warn', 'the leader is silent: ending its session', { leader: leader.instance, silentMs: leader.silentMs });
      const { pid } = leader;
      await database.run((client) => unseatLeader(client, pid));
      this.#wake();
      return;
    }
    const predecessor = await takeLead(session, instance, url);
    this.#session = null;
    const reign = await this.#options.reign(session, predecessor);
    this.#reign = reign;
    log('info', 'leads', { instance, predecessor: predecessor?.holder ?? null });
    reign.start();
    this.#options.onLead();
    void reign.ended.then((how) => {
      log(how === 'left' ? 'info' : 'warn', 'no longer leads', { instance, how });
      if (how === 'lost' && !this.#closed) this.#options.onLost();
      this.#wake();
    });
  }

  #dropSession(): void {
    this.#session?.end().catch(() => {});
    this.#session = null;
  }

  async #pause(): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.reign === null ? tryEveryMs : leaderLooksEveryMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
