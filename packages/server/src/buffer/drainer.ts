/**
 * Empties logs into every data center: one loop for each (log, target), so that one that is away holds up nobody else.
 *
 * 1. A write is acknowledged to its log only after the target has committed it, or after it was set aside durably (R5).
 *    Whoever dies in between does it again, and the target knows it (sql/000010.sql).
 * 2. Only a leading agent drains. Two at once, for as long as one has not noticed, are harmless for the same reason.
 * 3. A target that cannot be reached is waited for as long as it takes; only a write that it refuses is set aside.
 */
import type { DataCenterName } from 'lanekeeper/model';
import { type Asker, readDue, setAside, settleDue } from './aside.ts';
import type { BufferLog, LoggedWrite } from './log.ts';
import { messageOf } from './sqlstate.ts';
import type { Target } from './target.ts';

export type DrainOptions = {
  readonly log: BufferLog;
  readonly target: Target;
  /** The local database, where what is refused is set aside. */
  readonly local: Asker;
  readonly retryMs: number;
  readonly leads: () => boolean;
  readonly note: (level: 'info' | 'warn', event: string, details: Readonly<Record<string, unknown>>) => void;
};

const atOnce = 500;
const idleMs = 150;
const notLeadingMs = 500;
const firstPauseMs = 200;
const longestPauseMs = 5_000;

/** One loop. */
export class Drain {
  readonly target: DataCenterName;
  readonly log: string;
  /** Since this process began. */
  drained = 0;
  /** Why it does not get on; null while it does. */
  problem: string | null = null;
  readonly #options: DrainOptions;
  #closed = false;
  /** Read and not yet acknowledged. */
  #batch: readonly LoggedWrite[] = [];
  #wake: () => void = () => {};
  #running: Promise<void> = Promise.resolve();

  constructor(options: DrainOptions) {
    this.#options = options;
    this.target = options.target.name;
    this.log = options.log.name;
  }

  start(): void {
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    let pauseMs = firstPauseMs;
    while (!this.#closed) {
      if (!this.#options.leads()) {
        this.problem = null;
        await this.#giveBack();
        await this.#sleep(notLeadingMs);
        continue;
      }
      try {
        const did = await this.#turn();
        this.#said(null);
        pauseMs = firstPauseMs;
        if (!did) await this.#sleep(idleMs);
      } catch (error) {
        this.#said(messageOf(error));
        await this.#sleep(pauseMs);
        pauseMs = Math.min(pauseMs * 2, longestPauseMs);
      }
    }
    await this.#giveBack();
  }

  async #giveBack(): Promise<void> {
    this.#batch = [];
    await this.#options.log.giveBack(this.target).catch(() => {});
  }

  /** False: there was nothing to do. */
  async #turn(): Promise<boolean> {
    const { log, target, local, retryMs } = this.#options;
    // One loop for each target, whichever log they came from: this one is always there.
    const due = log.name === 'postgres' ? await readDue(local, target.name, atOnce) : [];
    if (due.length > 0) {
      const taken = await target.take(due);
      if (taken.kind === 'failed') throw new Error(taken.reason);
      await settleDue(local, due, taken.outcomes, retryMs);
    }
    if (this.#batch.length === 0) this.#batch = await log.read(target.name, atOnce);
    const writes = this.#batch;
    if (writes.length === 0) return false;
    const taken = await target.take(writes);
    if (taken.kind === 'failed') throw new Error(taken.reason);
    const refused = writes.flatMap((write: LoggedWrite, index) => {
      const outcome = taken.outcomes[index];
      return outcome?.kind === 'refused' ? [{ write, outcome }] : [];
    });
    if (refused.length > 0) {
      await setAside(local, log.name, target.name, refused);
      this.#options.note('warn', 'writes were refused and set aside', {
        target: target.name,
        count: refused.length,
        first: {
          table: refused[0]?.write.relation,
          state: refused[0]?.outcome.state,
          message: refused[0]?.outcome.message,
        },
      });
    }
    await log.ack(
      target.name,
      writes.map(({ position }) => position),
    );
    this.#batch = [];
    this.drained += writes.length - refused.length;
    return true;
  }

  #said(problem: string | null): void {
    if (problem === this.problem) return;
    const { note, log, target } = this.#options;
    if (problem !== null) note('warn', 'a log is not drained', { log: log.name, target: target.name, problem });
    else note('info', 'a log is drained again', { log: log.name, target: target.name });
    this.problem = problem;
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
