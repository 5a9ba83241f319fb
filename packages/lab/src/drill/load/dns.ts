/**
 * What DNS with health checks tells customers: it asks every edge for its health once a second, and stops naming one after
 * two answers that did not come or were no.
 */
import { get } from 'node:http';
import { sleepMs } from '../../processes/observe.ts';

const everyMs = 1_000;
const answerWithinMs = 1_500;
const failuresBeforeGone = 2;

export class Dns {
  readonly #edges: Readonly<Record<string, string>>;
  readonly #failures = new Map<string, number>();
  #stopped = new AbortController();

  constructor(edges: Readonly<Record<string, string>>) {
    this.#edges = edges;
  }

  start(): void {
    for (const name of Object.keys(this.#edges)) void this.#check(name);
  }

  stop(): void {
    this.#stopped.abort();
  }

  /** Whether the edge of this data center is among the answers. */
  names(dataCenter: string): boolean {
    return (this.#failures.get(dataCenter) ?? 0) < failuresBeforeGone;
  }

  async #check(name: string): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const well = await isWell(new URL('/lanekeeper/health', this.#edges[name]));
      this.#failures.set(name, well ? 0 : (this.#failures.get(name) ?? 0) + 1);
      await sleepMs(everyMs, signal);
    }
  }
}

function isWell(url: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const asking = get(url, { agent: false }, (response) => {
      response.resume();
      clearTimeout(timer);
      resolve(response.statusCode === 200);
    });
    const timer = setTimeout(() => asking.destroy(new Error('no answer')), answerWithinMs);
    asking.on('error', () => {
      clearTimeout(timer);
      resolve(false);
    });
  });
}
