/** The successions that this data center's database has, for those who want to hear of the next one at once. */
import { type RecordedSuccession, readSuccessions } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';

const lookEveryMs = 2_000;

export class Successions {
  readonly #database: LocalDatabase;
  readonly #log: Log;
  readonly #waiting = new Set<() => void>();
  #known: readonly RecordedSuccession[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(database: LocalDatabase, log: Log) {
    this.#database = database;
    this.#log = log;
  }

  start(): void {
    void this.refresh();
  }

  get known(): readonly RecordedSuccession[] {
    return this.#known;
  }

  get term(): number {
    return this.#known.at(-1)?.term ?? 1;
  }

  /** Reads them now. Null: the database did not answer, and what was known stays. */
  async refresh(): Promise<readonly RecordedSuccession[] | null> {
    clearTimeout(this.#timer);
    let read: readonly RecordedSuccession[] | null = null;
    try {
      read = await this.#database.run(readSuccessions);
      const newer = (read.at(-1)?.term ?? 1) > this.term;
      this.#known = read;
      if (newer) for (const wake of this.#waiting) wake();
    } catch (error) {
      this.#log('warn', 'the successions cannot be read', { error: message(error) });
    }
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.refresh(), lookEveryMs);
    return read;
  }

  /** Returns as soon as one with a higher term than `after` is known, and in any case after `withinMs`. */
  async beyond(after: number, withinMs: number): Promise<readonly RecordedSuccession[]> {
    if (this.term > after || withinMs <= 0 || this.#closed) return this.#known;
    let wake = () => {};
    const news = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#waiting.add(wake);
    const timer = setTimeout(wake, withinMs);
    await news;
    clearTimeout(timer);
    this.#waiting.delete(wake);
    return this.#known;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const wake of this.#waiting) wake();
  }
}
