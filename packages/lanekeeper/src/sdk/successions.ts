/**
 * What agents anywhere know of successions, for when the database here cannot say: a data center that was taken over does not get the
 * row that says so before it comes back. A hint for routing: the fence decides (R1).
 */
import { type DataCenterName, isNewerHistory, readHistory, resolveHome, type Succession } from '../model/index.ts';
import type { AgentClient } from './agent-client.ts';
import type { Whereabouts } from './api.ts';

const askTimeoutMs = 500;
/** While nobody may write, every request would ask. */
const pauseMs = 1_000;

export class Successions {
  readonly #here: DataCenterName;
  readonly #agents: readonly Pick<AgentClient, 'ask'>[];
  readonly #onNews: () => void;
  #known: readonly Succession[] = [];
  #bornTerm = 1;
  #asking: Promise<void> | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  /** `agents`: a client for each data center. `onNews` is called when there is a succession that was not known. */
  constructor(here: DataCenterName, agents: readonly Pick<AgentClient, 'ask'>[], onNews: () => void) {
    this.#here = here;
    this.#agents = agents;
    this.#onNews = onNews;
  }

  /**
   * The lowest term that an account can have which is born here from now on: that of the last succession that took this dc's accounts
   * away. Lower than the deed's own at worst, which the next request mends; never higher.
   */
  get bornTerm(): number {
    return this.#bornTerm;
  }

  /** The database here has this succession. */
  heard({ term, from }: Pick<Succession, 'term' | 'from'>): void {
    if (from === this.#here) this.#bornTerm = Math.max(this.#bornTerm, term);
  }

  /** Asks them all, at most once a second, for half a second at most. Never rejects. */
  async learn(): Promise<void> {
    if (this.#asking === null && performance.now() - this.#askedAtMs < pauseMs) return;
    this.#asking ??= Promise.all(this.#agents.map((agent) => this.#ask(agent)))
      .then(() => {})
      .finally(() => {
        this.#asking = null;
        this.#askedAtMs = performance.now();
      });
    await this.#asking;
  }

  /** Where that is in view of all that is known. What is to be here and is not yet in this dc's database is still arriving. */
  present(where: Whereabouts): Whereabouts {
    const last = this.#known.at(-1);
    if (last === undefined || last.term <= where.epoch.term) return where;
    const home = resolveHome(this.#known, { home: where.home, term: where.epoch.term });
    if (home === where.home) return where;
    return { ...where, home, epoch: { ...where.epoch, term: last.term }, accepted: home !== this.#here };
  }

  async #ask(agent: Pick<AgentClient, 'ask'>): Promise<void> {
    try {
      const history = readHistory(
        await agent.ask({ method: 'GET', path: '/v1/successions?after=0&waitMs=0', timeoutMs: askTimeoutMs }),
      );
      if (history === null || !isNewerHistory(history, this.#known)) return;
      this.#known = history;
      for (const succession of history) this.heard(succession);
      this.#onNews();
    } catch {
      // Nobody there, or one that does not know: then there is nothing to tell the customer.
    }
  }
}
