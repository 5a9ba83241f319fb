/** All customers of a drill, and what they were told. */
import { sleepMs } from '../../processes/observe.ts';
import type { History } from '../checker/index.ts';
import { Browser } from './browser.ts';
import { Customer } from './customer.ts';
import { Dns } from './dns.ts';

export type LoadOptions = {
  readonly edges: Readonly<Record<string, string>>;
  /** In each data center. */
  readonly buyers: number;
  readonly keepers: number;
  readonly clock: () => number;
  readonly random: () => number;
  /** Distinguishes customers of one drill from those of another in the same lab. */
  readonly mark: string;
  readonly paceMs?: number;
  readonly patienceMs?: number;
  readonly insistMs?: number;
};

const defaults = { paceMs: 300, patienceMs: 5_000, insistMs: 30_000 };

export class Load {
  readonly customers: readonly Customer[];
  #stopping = false;
  #running: Promise<unknown> = Promise.resolve();
  readonly #homes: Record<string, string> = {};

  readonly #dns: Dns;

  constructor(customers: readonly Customer[], dns: Dns) {
    this.customers = customers;
    this.#dns = dns;
  }

  /** Everybody registers, where they live. */
  async register(): Promise<void> {
    const queue = [...this.customers];
    const width = 4;
    await Promise.all(
      Array.from({ length: width }, async () => {
        for (let customer = queue.shift(); customer !== undefined; customer = queue.shift()) {
          await customer.register();
          this.#homes[customer.account] = customer.home;
        }
      }),
    );
  }

  start(): void {
    this.#stopping = false;
    this.#dns.start();
    this.#running = Promise.all(this.customers.map((customer) => customer.shop(() => this.#stopping)));
  }

  /** Resolves when everybody has got an answer to what was under way, or has given up. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  close(): void {
    this.#stopping = true;
    this.#dns.stop();
    for (const customer of this.customers) customer.close();
  }

  /** Waits until every customer has got something done after `sinceMs`; false when that takes longer than `withinMs`. */
  async everybodyWritesAgain(sinceMs: number, withinMs: number, aborted: () => boolean): Promise<boolean> {
    const endMs = performance.now() + withinMs;
    while (performance.now() < endMs && !aborted()) {
      if (this.customers.every(({ lastDoneMs }) => lastDoneMs > sinceMs)) return true;
      await sleepMs(50);
    }
    return false;
  }

  history(): History {
    return {
      homes: { ...this.#homes },
      travellers: new Set(this.customers.filter(({ travels }) => travels).map(({ account }) => account)),
      operations: this.customers.flatMap(({ operations }) => operations),
    };
  }
}

export async function prepareLoad(options: LoadOptions): Promise<Load> {
  const { edges, clock, random, mark } = options;
  const skus = await readSkus(Object.values(edges)[0] as string);
  const dns = new Dns(edges);
  const customers = Object.keys(edges).flatMap((home) =>
    Array.from({ length: options.buyers + options.keepers }, (_, index) => {
      const kind = index < options.buyers ? ('buyer' as const) : ('keeper' as const);
      return new Customer({
        ...defaults,
        ...options,
        kind,
        travels: index === 0,
        email: `${mark}-${home}-${index}@drill.example`,
        home,
        edges,
        dns,
        skus,
        clock,
        random,
      });
    }),
  );
  const load = new Load(customers, dns);
  await load.register();
  return load;
}

async function readSkus(edge: string): Promise<readonly string[]> {
  const browser = new Browser(10_000);
  try {
    const reached = await browser.send(edge, 'GET', '/products');
    const products = reached.kind === 'answered' ? reached.answer.body : null;
    if (!Array.isArray(products) || products.length < 3) {
      throw new Error('Drills shop in the storefront: this lab runs something else, or its shelf is empty');
    }
    return products.map(({ sku }: { sku: string }) => sku);
  } finally {
    browser.close();
  }
}
