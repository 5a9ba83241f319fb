/**
 * Makes the copies of tables that this data center feeds, at the moments of their schedule. The leader does it, while it has
 * the lease.
 *
 * A peer that is away is waited for: a quarter of the time until the next moment, at most ten minutes. Then the copy is made
 * without it and says so, and is made again as of the same moment when the peer is back.
 */
import type { Configuration, RoleName, Table } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import {
  type Connect,
  type CopyState,
  forgetPublishing,
  latestDue,
  readCopies,
  refreshCopy,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';
import type { Reign } from './reign.ts';

export type CopiesOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  readonly log: Log;
  readonly reign: () => Reign | null;
};

const lookEveryMs = 1_000;
const againAfterMs = 5_000;
const arriveWithinMs = 20_000;
const patienceMaxMs = 10 * 60_000;
const queryMaxMs = 10 * 60_000;
const forgetEveryMs = 6 * 3_600_000;

type CopyTable = Table & { readonly copy: NonNullable<Table['copy']> };

export class Copies {
  readonly #options: CopiesOptions;
  readonly #tables: readonly CopyTable[];
  /** Not before: by table, on the monotonic clock. */
  readonly #againMs = new Map<string, number>();
  /** When this agent first tried: one that has just begun to lead gives the others time. */
  readonly #sinceMs = new Map<string, number>();
  readonly #problems = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #forgetMs = 0;
  readonly #closing = new AbortController();
  #working: Promise<void> = Promise.resolve();
  #session: { end(): Promise<void> } | null = null;

  constructor(options: CopiesOptions) {
    this.#options = options;
    const { tables, here } = options.configuration;
    this.#tables = Object.values(tables).filter(
      (table): table is CopyTable => table.copy !== null && table.feeder === here,
    );
  }

  /** What stands in the way of the copies made here, in words. */
  get problems(): readonly string[] {
    return [...this.#problems.values()];
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#working = this.#look();
    }, lookEveryMs);
  }

  /** What is under way is given up: the next leader makes it. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#session?.end().catch(() => {});
    await this.#working;
  }

  async #look(): Promise<void> {
    try {
      if ((this.#options.reign()?.leaseLeftMs() ?? 0) > 0) {
        await this.#forget();
        if (this.#tables.length > 0) await this.#refreshDue();
      }
    } catch (error) {
      this.#options.log('warn', 'the copies cannot be looked at', { error: message(error) });
    }
    if (!this.#closing.signal.aborted) this.start();
  }

  async #forget(): Promise<void> {
    if (performance.now() < this.#forgetMs) return;
    this.#forgetMs = performance.now() + forgetEveryMs;
    await this.#options.database.run(forgetPublishing);
  }

  async #refreshDue(): Promise<void> {
    const states = new Map((await this.#options.database.run(readCopies)).map((state) => [state.table, state]));
    for (const table of this.#tables) {
      const state = states.get(table.name) ?? null;
      const due = latestDue(table.copy, Date.now());
      const served = state !== null && state.due.getTime() >= due.getTime();
      if (served && state.complete) this.#problems.delete(table.name);
      else if (performance.now() >= (this.#againMs.get(table.name) ?? 0) && !this.#closing.signal.aborted)
        await this.#refresh(table, due, served ? state : null);
    }
  }

  /** `incomplete`: what was made for this moment without somebody. */
  async #refresh(table: CopyTable, due: Date, incomplete: CopyState | null): Promise<void> {
    const { configuration, database, connect, log } = this.#options;
    const patienceMs = Math.min(table.copy.everyMs / 4, patienceMaxMs);
    const statementTimeoutMs = Math.min(table.copy.everyMs, queryMaxMs);
    const name = table.name;
    const sinceMs = this.#sinceMs.get(name) ?? Date.now();
    this.#sinceMs.set(name, sinceMs);
    const waitedMs = Date.now() - Math.max(due.getTime(), sinceMs);
    const failed = (problem: string) => {
      this.#againMs.set(name, performance.now() + againAfterMs);
      if (this.#problems.get(name) !== problem) log('warn', `the copy ${name} is not made`, { problem });
      this.#problems.set(name, problem);
    };
    const session = await database.session('copies', statementTimeoutMs + 5_000);
    this.#session = session;
    try {
      const result = await refreshCopy({
        configuration,
        table: name,
        asOf: incomplete?.asOf ?? due,
        due,
        client: session,
        connect: (dc) => connect(dc, 'agent'),
        evenIncomplete: incomplete === null && waitedMs > patienceMs,
        arriveWithinMs,
        statementTimeoutMs,
        signal: this.#closing.signal,
      });
      if (result.kind === 'made') {
        const { asOf, rows, changed, complete, missing } = result.state;
        log(complete ? 'info' : 'warn', `made the copy ${name}`, { asOf, rows, changed, missing });
        this.#problems.delete(name);
        if (!complete) failed(`the copy ${name} may lack ${describeMissing(missing)}`);
      } else if (result.kind === 'incomplete') {
        const what = incomplete === null ? 'waits for' : 'may lack';
        failed(`the copy ${name} ${what} ${describeMissing(result.missing)}`);
      } else if (result.kind === 'failed') {
        failed(`the copy ${name} cannot be made: ${result.error.message} [${result.error.code}]`);
      }
    } catch (error) {
      failed(`the copy ${name} cannot be made: ${message(error)}`);
    } finally {
      this.#session = null;
      await session.end().catch(() => {});
    }
  }
}

function describeMissing(missing: CopyState['missing']): string {
  return Object.entries(missing)
    .map(([dc, reason]) => `what was written in ${dc} (${reason})`)
    .join(' and ');
}
