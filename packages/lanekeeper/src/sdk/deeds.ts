/**
 * Where accounts are written, as this dc's database knows it: remembered briefly, forgotten as soon as the database announces a
 * change. Without announcements (`live` is false) nothing is remembered at all. It is a hint for routing; the fence decides (R1).
 */
import type { AccountId, DataCenterName } from '../model/index.ts';
import type { Whereabouts } from './api.ts';

/** Runs one statement on a connection that no application transaction uses. */
export type RunSql = (text: string, values: unknown[]) => Promise<readonly Record<string, unknown>[]>;

/** Announcements come in milliseconds; this bounds what a lost one can do. */
const rememberMs = 2_000;
const mostRemembered = 10_000;

type Remembered = { readonly where: Whereabouts | null; readonly untilMs: number };

export class Deeds {
  readonly #run: RunSql;
  readonly #present: (where: Whereabouts) => Whereabouts;
  readonly #remembered = new Map<AccountId, Remembered>();
  readonly #pending = new Map<AccountId, Promise<Whereabouts | null>>();
  readonly #waiting = new Map<AccountId, Set<() => void>>();
  #live = false;

  /** `present`: what is known beyond the database here, as `Successions` does. */
  constructor(run: RunSql, present: (where: Whereabouts) => Whereabouts = (where) => where) {
    this.#run = run;
    this.#present = present;
  }

  /** Whether the database's announcements reach us at the moment. */
  set live(live: boolean) {
    this.#live = live;
    this.#remembered.clear();
  }

  /** Null when there is no deed for this account here. */
  async whereIs(account: AccountId): Promise<Whereabouts | null> {
    const known = this.#remembered.get(account);
    if (known !== undefined && known.untilMs > performance.now()) return known.where;
    return this.whereIsNow(account);
  }

  /** As `whereIs`, from the database. Questions asked at the same time share one answer. */
  async whereIsNow(account: AccountId): Promise<Whereabouts | null> {
    const asked = this.#pending.get(account);
    if (asked !== undefined) return asked;
    const answer: Promise<Whereabouts | null> = this.#ask(account).finally(() => {
      // A change announced while we asked has removed the question: then the answer may be the old one and is not kept.
      if (this.#pending.get(account) !== answer) return;
      this.#pending.delete(account);
      if (this.#live)
        answer.then(
          (where) => this.#remember(account, where),
          () => {},
        );
    });
    this.#pending.set(account, answer);
    return answer;
  }

  /** Where everything is written may have changed: as `changed`, for all accounts. */
  allChanged(): void {
    this.#remembered.clear();
    this.#pending.clear();
    for (const waiting of this.#waiting.values()) for (const wake of waiting) wake();
  }

  /** The database announced a change: whoever asked before may have got the old answer, so forget that question, too. */
  changed(account: AccountId): void {
    this.#remembered.delete(account);
    this.#pending.delete(account);
    for (const wake of this.#waiting.get(account) ?? []) wake();
  }

  /**
   * Waits until `enough` accepts where the account is, at most `timeoutMs`; returns the last answer either way. Asks when a change is
   * announced, and now and then besides.
   */
  async until(
    account: AccountId,
    enough: (where: Whereabouts | null) => boolean,
    timeoutMs: number,
  ): Promise<Whereabouts | null> {
    const deadlineMs = performance.now() + timeoutMs;
    for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 100)) {
      // Listen first: a change announced between question and answer must not be missed.
      const news = this.#news(account);
      try {
        const where = await this.whereIsNow(account);
        const leftMs = deadlineMs - performance.now();
        if (enough(where) || leftMs <= 0) return where;
        await news.arrives(Math.min(this.#live ? leftMs : pauseMs, leftMs, 100));
      } finally {
        news.end();
      }
    }
  }

  async #ask(account: AccountId): Promise<Whereabouts | null> {
    const where = await askWhereIs(this.#run, account);
    return where === null ? null : this.#present(where);
  }

  #remember(account: AccountId, where: Whereabouts | null): void {
    this.#remembered.delete(account);
    if (where === null || where.draining || !where.accepted) return;
    if (this.#remembered.size >= mostRemembered) {
      const oldest = this.#remembered.keys().next();
      if (!oldest.done) this.#remembered.delete(oldest.value);
    }
    this.#remembered.set(account, { where, untilMs: performance.now() + rememberMs });
  }

  #news(account: AccountId) {
    let wake = () => {};
    const arrived = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const waiting = this.#waiting.get(account) ?? new Set<() => void>();
    waiting.add(wake);
    this.#waiting.set(account, waiting);
    return {
      async arrives(timeoutMs: number): Promise<void> {
        const timer = setTimeout(wake, timeoutMs);
        await arrived;
        clearTimeout(timer);
      },
      end: () => {
        waiting.delete(wake);
        if (waiting.size === 0 && this.#waiting.get(account) === waiting) this.#waiting.delete(account);
      },
    };
  }
}

/** Where the database says the account is; null when it has no deed for it. */
export async function askWhereIs(run: RunSql, account: AccountId): Promise<Whereabouts | null> {
  const rows = await run('SELECT home, term, counter, accepted, draining FROM lanekeeper.where_is($1)', [account]);
  return toWhereabouts(rows[0]);
}

function toWhereabouts(row: Record<string, unknown> | undefined): Whereabouts | null {
  if (row === undefined) return null;
  return {
    home: row.home as DataCenterName,
    epoch: { term: Number(row.term), counter: Number(row.counter) },
    accepted: row.accepted === true,
    draining: row.draining === true,
  };
}
