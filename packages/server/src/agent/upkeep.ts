/** What the leading agent does now and then: ends old transactions, empties what is left behind, confirms or frees claims. */
import type { DataCenterName } from 'lanekeeper/model';
import {
  endOldTransactions,
  forgetOld,
  landSuccessions,
  purgeStranded,
  resumePaused,
  sweep,
  sweepClaims,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Observer } from './observer.ts';
import type { AgentLimits, Log } from './options.ts';
import type { Reign } from './reign.ts';
import type { RelaySlots } from './relay-slots.ts';
import { Rounds } from './rounds.ts';

export type UpkeepOptions = {
  readonly database: LocalDatabase;
  readonly observer: Observer;
  readonly others: readonly string[];
  readonly limits: AgentLimits;
  readonly keepStrandedMs: number;
  readonly relaySlots: RelaySlots;
  readonly log: Log;
  readonly reign: () => Reign | null;
  /** Notes which configuration leads, and how well. */
  readonly note: () => Promise<void>;
};

const transactionsEveryMs = 1_000;
const resumeEveryMs = 1_000;
const sweepEveryMs = 5_000;
const forgetEveryMs = 10 * 60_000;
const landEveryMs = 1_000;
const claimsEveryMs = 30_000;
const claimsAtOnce = 100;
const relayEveryMs = 1_000;
const insufficientPrivilege = '42501';

export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #rounds: Rounds;
  /** Null while all is well; else what an operator has to do. */
  transactionProblem: string | null = null;
  endedTransactions = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options);
  }

  start(): void {
    this.#rounds.repeat('old transactions', transactionsEveryMs, () => this.#endTransactions());
    this.#rounds.repeat('streams that stand still', resumeEveryMs, () => this.#resume());
    this.#rounds.repeat('noting the configuration', sweepEveryMs, this.#options.note);
    this.#rounds.repeat('sweeping', sweepEveryMs, () => this.#options.database.run(sweep));
    this.#rounds.repeat('forgetting', forgetEveryMs, () => this.#options.database.run(forgetOld));
    this.#rounds.repeat('purging', forgetEveryMs, () => this.#purge());
    this.#rounds.repeat('claims', claimsEveryMs, () => this.#claims());
    // Where the lease came after the succession.
    if (this.#options.others.length > 1)
      this.#rounds.repeat('landing', landEveryMs, () => this.#options.database.run(landSuccessions));
    const { relaySlots, observer } = this.#options;
    if (!relaySlots.needed) return;
    this.#rounds.repeat('noting how far other logs are here', relayEveryMs, () => relaySlots.note());
    const tailsOf = (peer: DataCenterName) => observer.peer(peer)?.tails ?? null;
    this.#rounds.repeat('keeping relay slots', relayEveryMs, () => relaySlots.keep(tailsOf));
  }

  close(): void {
    this.#rounds.close();
    this.#options.relaySlots.close();
  }

  /** Customers' data in the ledger are not kept for longer than they serve. */
  async #purge(): Promise<void> {
    const { database, keepStrandedMs } = this.#options;
    const purged = await database.run((client) => purgeStranded(client, keepStrandedMs));
    if (purged > 0) this.#options.log('info', 'purged decided entries of the ledger', { purged });
  }

  async #endTransactions(): Promise<void> {
    const { database, limits, log } = this.#options;
    try {
      for (const ended of await database.run((client) => endOldTransactions(client, limits.transactionMs))) {
        this.endedTransactions++;
        log('warn', 'ended a transaction that was too old', { ...ended, limitMs: limits.transactionMs });
      }
      this.transactionProblem = null;
    } catch (error) {
      if ((error as { code?: unknown }).code !== insufficientPrivilege) throw error;
      this.transactionProblem = 'old transactions cannot be ended: GRANT pg_signal_backend TO the agent';
    }
  }

  /** A join that was killed while it let streams stand still. */
  async #resume(): Promise<void> {
    const resumed = await this.#options.database.run(resumePaused);
    if (resumed.length > 0) this.#options.log('warn', 'enabled streams that a join had left standing', { resumed });
  }

  /** A claim is freed when no row shows it, which means something only while every stream is up to date. */
  async #claims(): Promise<void> {
    const { database, observer, others, log, reign } = this.#options;
    const absent = observer.streams?.absent ?? [];
    const upToDate = others.every((peer) => absent.includes(peer) || observer.gate(peer)?.length === 0);
    if (!upToDate || (reign()?.leaseLeftMs() ?? 0) === 0) return;
    const freed = await database.run((client) => sweepClaims(client, claimsAtOnce));
    if (freed > 0) log('info', 'freed claims that nobody used', { freed });
  }
}
