/** What an agent does again and again, but only while it leads: each when the one before is done, and what fails is said. */
import { message } from './effect-context.ts';
import type { Log } from './options.ts';
import type { Reign } from './reign.ts';

export type RoundsOptions = { readonly log: Log; readonly reign: () => Reign | null };

export class Rounds {
  readonly #options: RoundsOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  #closed = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** `what`: for the log, as in "… failed". */
  repeat(what: string, everyMs: number, work: () => Promise<unknown>): void {
    const later = () => {
      const timer = setTimeout(async () => {
        this.#timers.delete(timer);
        try {
          if (this.#options.reign() !== null && !this.#closed) await work();
        } catch (error) {
          this.#options.log('warn', `${what} failed`, { error: message(error) });
        }
        if (!this.#closed) later();
      }, everyMs);
      this.#timers.add(timer);
    };
    later();
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
