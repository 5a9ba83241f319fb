/**
 * Charges what was ordered, in the background, one of these in every instance of both data centers. Each does only what
 * is at home in its own (`docs/guides/batch-jobs.md`), and gives way when an account moves: its new home does it then.
 *
 * A payment service that does not answer is this worker's matter: it asks less and less often, and no row suffers. An
 * answer that makes no sense is the row's: it is tried later and later, and then set aside for a person.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import type { Database, Writer } from '../database/connect.ts';
import { answerTimeoutMs, type PaymentAnswer, pay } from './client.ts';
import { type Claimed, claim, type Due, listDue, type Settlement, settle } from './outbox.ts';

/** How often it looks for work when nobody wakes it. */
const pollMs = 1_000;
const atOnce = 4;
const batch = 32;
/** Nobody else takes a claimed row before then; whoever claimed it has its answer or has given up. */
const claimMs = 2 * answerTimeoutMs;
/** After this many answers without sense a row is set aside. */
const mostFailures = 8;
/** When nobody answers, a row may be tried again soon: it is the worker that waits. */
const unavailableMs = 500;
const longestPauseMs = 5_000;

export type WorkerLog = {
  warn(details: object, message: string): void;
  debug(details: object, message: string): void;
};

export class PaymentWorker {
  readonly #lanekeeper: Lanekeeper;
  readonly #db: Database;
  readonly #url: string;
  readonly #log: WorkerLog;
  readonly #stopped = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #wake: AbortController = new AbortController();
  /** Rounds in a row in which nobody answered. */
  #silences = 0;

  constructor(options: {
    readonly lanekeeper: Lanekeeper;
    readonly db: Database;
    /** Of the payment service. */
    readonly url: string;
    readonly log: WorkerLog;
  }) {
    this.#lanekeeper = options.lanekeeper;
    this.#db = options.db;
    this.#url = options.url;
    this.#log = options.log;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** An order was just taken. */
  wake(): void {
    if (this.#silences === 0) this.#wake.abort();
  }

  /** Resolves when nothing is under way any more. A call that is cut off here is repeated by somebody, with the same key. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      const pauseMs = await this.#round().catch((error: unknown) => {
        this.#log.debug({ err: error }, 'payments cannot be looked for');
        return pollMs;
      });
      // Instances that started together need not ask together.
      await sleep(pauseMs * (0.75 + Math.random() / 2), null, { signal: this.#wake.signal }).catch(() => {});
    }
  }

  /** Returns how long to pause. */
  async #round(): Promise<number> {
    const due = await listDue(this.#db, this.#lanekeeper.here, batch);
    for (let next = 0; next < due.length && !this.#stopped.signal.aborted; ) {
      const some = due.slice(next, next + (this.#silences === 0 ? atOnce : 1));
      next += some.length;
      const ends = await Promise.all(some.map((one) => this.#attempt(one)));
      if (ends.includes('silence')) {
        this.#silences += 1;
        return Math.min(longestPauseMs, 250 * 2 ** this.#silences);
      }
      if (ends.includes('settled')) this.#silences = 0;
    }
    return due.length === batch ? 0 : pollMs;
  }

  async #attempt({ id, account }: Due): Promise<'settled' | 'silence' | 'passed'> {
    try {
      const claimed = await this.#write(account, (trx) => claim(trx, id, claimMs));
      if (claimed === null) return 'passed';
      const answer = await pay(this.#url, claimed, this.#stopped.signal);
      const settlement = settlementOf(answer, claimed, this.#lanekeeper.here);
      if (settlement.kind !== 'done') this.#log.warn({ payment: id, settlement }, 'a payment was not made');
      await this.#write(account, (trx) => settle(trx, id, settlement));
      return answer.kind === 'unavailable' ? 'silence' : 'settled';
    } catch (error) {
      // Moved, or about to, or this data center may not write: whoever may does it, and the key keeps it from happening twice.
      const code = findLanekeeperError(error)?.code;
      if (code === undefined) this.#log.warn({ err: error, payment: id }, 'a payment could not be written down');
      else this.#log.debug({ payment: id, code }, 'a payment is left to somebody else');
      return 'passed';
    }
  }

  #write<Result>(account: string, work: (trx: Writer) => Promise<Result>): Promise<Result> {
    return this.#lanekeeper.forAccount(account, () => this.#db.transaction().execute(work));
  }
}

/** Decides what an answer means for the row. */
export function settlementOf(answer: PaymentAnswer, { failures }: Pick<Claimed, 'failures'>, here: string): Settlement {
  switch (answer.kind) {
    case 'done':
      return { kind: 'done', receipt: answer.receipt, dataCenter: here };
    case 'declined':
      return { kind: 'declined', problem: answer.reason };
    case 'refused':
      return { kind: 'set-aside', problem: answer.reason };
    case 'unavailable':
      return { kind: 'later', problem: answer.reason, afterMs: unavailableMs, failed: false };
    case 'strange':
      if (failures + 1 >= mostFailures) return { kind: 'set-aside', problem: answer.reason };
      return { kind: 'later', problem: answer.reason, afterMs: 1_000 * 2 ** failures, failed: true };
  }
}
