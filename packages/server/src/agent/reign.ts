/**
 * One agent's time as the leader of its data center: the protocol's state, the events that reach it, one after another, and
 * the actions that follow. It ends when it has left in order, or when the session is lost that holds the lead.
 */

import type { AccountId, DataCenterName, Epoch, LeaseCredential } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  begin,
  type FailoverOutcome,
  type GiveOutcome,
  type GiveRequest,
  leaseLeftMs,
  type Ownership,
  type OwnershipEvent,
  type Reason,
  reason,
  reasonsNotToStart,
  type Settings,
  type SwitchOutcome,
  type SwitchRequest,
  step,
} from '../ownership/index.ts';
import { endLeftoverDrains, readUnaccepted } from '../postgres/index.ts';
import { message } from './effect-context.ts';
import { type Performers, perform, sampleClock } from './effects.ts';

export type Settled = {
  readonly account: AccountId;
  readonly epoch: Epoch;
  readonly outcome: 'accepted' | 'declined' | 'superseded';
  readonly reasons: readonly Reason[];
};

export type ReignOptions = {
  readonly settings: Settings;
  readonly context: Performers;
  readonly predecessor: LeaseCredential | null;
  readonly onSettled: (settled: Settled) => void;
};

export type ReignEnd = 'left' | 'lost';

const tickEveryMs = 100;
const clockEveryMs = 500;
const sweepEveryMs = 5_000;
/** Deeds older than this were seen when the reign began; what it could not settle it still knows. */
const sweepBackMs = 10 * 60_000;

export class Reign {
  readonly ended: Promise<ReignEnd>;
  readonly #options: ReignOptions;
  readonly #session: Client;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #asking = new Map<string, (outcome: GiveOutcome | FailoverOutcome | SwitchOutcome | null) => void>();
  #end: (how: ReignEnd) => void = () => {};
  #state: Ownership;
  #over = false;
  #asked = 0;

  constructor(options: ReignOptions) {
    this.#options = options;
    this.#session = options.context.session;
    this.#state = begin(options.settings, options.predecessor, performance.now());
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const lost = () => this.#finish('lost');
    this.#session.on('error', lost);
    this.#session.on('end', lost);
  }

  start(): void {
    const { database, log } = this.#options.context;
    this.#timers.push(
      setInterval(() => this.handle({ kind: 'tick' }), tickEveryMs),
      setInterval(() => void this.#readClock(), clockEveryMs),
      setInterval(() => void this.sweep(sweepBackMs), sweepEveryMs),
    );
    database.run(endLeftoverDrains).then(
      (ended) => {
        if (ended > 0) log('warn', 'ended drains of an agent that is gone', { ended });
      },
      (error: unknown) => log('warn', 'leftover drains', { error: message(error) }),
    );
    void this.sweep(null);
    this.handle({ kind: 'tick' });
  }

  get state(): Ownership {
    return this.#state;
  }

  get over(): boolean {
    return this.#over;
  }

  leaseLeftMs(): number {
    return this.#over ? 0 : leaseLeftMs(this.#state, performance.now());
  }

  /** Without it a takeover would be granted by the store and never come to its cut. */
  get mayFreeze(): boolean {
    return this.#options.context.mayReadOrigins;
  }

  reasonsNotToStart(peer: DataCenterName): readonly Reason[] {
    return reasonsNotToStart(this.#state, peer, performance.now());
  }

  handle(event: OwnershipEvent): void {
    if (this.#over) return;
    const { context, onSettled } = this.#options;
    const { state, actions } = step(this.#state, event, performance.now());
    this.#state = state;
    for (const action of actions) {
      switch (action.kind) {
        case 'left':
          this.#finish('left');
          break;
        case 'answer':
        case 'answer-failover':
        case 'answer-switch':
          for (const id of action.ids) this.#asking.get(id)?.(action.outcome);
          break;
        case 'settled': {
          const { kind: _, ...settled } = action;
          onSettled(settled);
          break;
        }
        default:
          void perform(context, action).then((answer) => this.handle(answer));
      }
    }
  }

  /** Asks for an account of ours. Null: this agent stopped leading before there was an answer. */
  async give(request: GiveRequest): Promise<GiveOutcome | null> {
    return this.#ask<GiveOutcome>((id) => ({ kind: 'give-asked', id, request }));
  }

  /** Asks to take everything over that `from` holds; `forced` also when something acknowledged may be missing here. */
  async takeOver(from: DataCenterName, forced: boolean): Promise<FailoverOutcome | null> {
    if (!this.mayFreeze) return { kind: 'refused', reasons: [reason('cannot-freeze')] };
    return this.#ask<FailoverOutcome>((id) => ({ kind: 'failover-asked', id, from, forced }));
  }

  /** Asks to give everything away that is held here. */
  async switchOver(request: SwitchRequest): Promise<SwitchOutcome | null> {
    return this.#ask<SwitchOutcome>((id) => ({ kind: 'switch-asked', id, request }));
  }

  async #ask<Outcome extends GiveOutcome | FailoverOutcome | SwitchOutcome>(
    question: (id: string) => OwnershipEvent,
  ): Promise<Outcome | null> {
    if (this.#over) return null;
    const id = String(++this.#asked);
    const answered = new Promise<Outcome | null>((resolve) =>
      this.#asking.set(id, resolve as (outcome: GiveOutcome | FailoverOutcome | SwitchOutcome | null) => void),
    );
    this.handle(question(id));
    try {
      return await answered;
    } finally {
      this.#asking.delete(id);
    }
  }

  /** Deeds that wait for our word, whether or not anybody told us. */
  async sweep(sinceMs: number | null): Promise<void> {
    const { database, log } = this.#options.context;
    try {
      for (const { account, ...deed } of await database.run((client) => readUnaccepted(client, sinceMs)))
        this.handle({ kind: 'deed-arrived', account, deed });
    } catch (error) {
      log('warn', 'sweep failed', { error: message(error) });
      // The look at everything must happen once.
      if (sinceMs === null && !this.#over) this.#timers.push(setTimeout(() => void this.sweep(null), clockEveryMs));
    }
  }

  leave(successor: boolean): void {
    this.handle({ kind: 'leave', successor });
  }

  /** Ends the lead as a crash would: at once, and whatever was written of the lease stays until it runs out. */
  abandon(): void {
    this.#finish('lost');
  }

  async #readClock(): Promise<void> {
    if (this.#over) return;
    try {
      this.handle({ kind: 'clock', clock: await sampleClock(this.#session) });
    } catch (error) {
      this.#options.context.log('warn', 'the session of the lead does not answer', { error: message(error) });
      this.#finish('lost');
    }
  }

  #finish(how: ReignEnd): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const resolve of this.#asking.values()) resolve(null);
    this.#options.context.handover.abandon();
    // Whatever is still queued on it must not reach the database after the next leader's words.
    this.#session.end().catch(() => {});
    this.#end(how);
  }
}
