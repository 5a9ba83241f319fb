/**
 * One customer at rest but for one request at a time, so that what is measured is the way and not a queue. Writes set a line
 * of the cart, never twice to the same number; reads show the cart.
 */
import { Browser, outcomeOf } from '../load/index.ts';

export type Latencies = {
  /** Sorted, in milliseconds. */
  readonly writesMs: readonly number[];
  readonly readsMs: readonly number[];
  /** Requests that were not acknowledged, by what was said. */
  readonly refused: readonly string[];
};

const password = 'correct horse battery staple';
const patienceMs = 15_000;

export class Probe {
  readonly #edges: Readonly<Record<string, string>>;
  readonly #browsers = new Map<string, Browser>();
  readonly #email: string;
  #quantity = 0;

  constructor(edges: Readonly<Record<string, string>>, email: string) {
    this.#edges = edges;
    this.#email = email;
  }

  close(): void {
    for (const browser of this.#browsers.values()) browser.close();
  }

  /** Throws when the shop does not take the registration within some tries. */
  async register(via: string): Promise<void> {
    await this.#insist(via, '/register', { email: this.#email, password, name: 'A probe' });
  }

  /** A second browser of the same account, at another edge: as a family shares one. */
  async signIn(via: string): Promise<void> {
    await this.#insist(via, '/sign-in', { email: this.#email, password });
  }

  /** `count` writes and as many reads through the edge of `via`, one after the other, after one of each that does not count. */
  async measure(via: string, sku: string, count: number): Promise<Latencies> {
    const writesMs: number[] = [];
    const readsMs: number[] = [];
    const refused: string[] = [];
    for (let round = 0; round <= count; round += 1) {
      this.#quantity = (this.#quantity % 90) + 1;
      const wrote = await this.#timed(via, 'PUT', `/cart/${sku}`, { quantity: this.#quantity });
      const read = await this.#timed(via, 'GET', '/cart');
      if (round === 0) continue;
      for (const [one, into] of [
        [wrote, writesMs],
        [read, readsMs],
      ] as const) {
        if (one.refused === null) into.push(one.ms);
        else refused.push(one.refused);
      }
    }
    return { writesMs: writesMs.sort(ascending), readsMs: readsMs.sort(ascending), refused };
  }

  async #timed(via: string, method: string, path: string, body?: unknown) {
    const startMs = performance.now();
    const reached = await this.#browser(via).send(this.#edges[via] as string, method, path, body);
    const ms = performance.now() - startMs;
    const outcome = outcomeOf(reached);
    if (outcome.kind === 'acknowledged') return { ms, refused: null };
    return { ms, refused: outcome.kind === 'unknown' ? outcome.why : outcome.code };
  }

  async #insist(via: string, path: string, body: unknown): Promise<void> {
    let said = '';
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const reached = await this.#browser(via).send(this.#edges[via] as string, 'POST', path, body);
      if (outcomeOf(reached).kind === 'acknowledged') return;
      said = JSON.stringify(reached).slice(0, 300);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    throw new Error(`${path} was not taken in ${via}: ${said}`);
  }

  #browser(via: string): Browser {
    const browser = this.#browsers.get(via) ?? new Browser(patienceMs);
    this.#browsers.set(via, browser);
    return browser;
  }
}

const ascending = (a: number, b: number): number => a - b;
