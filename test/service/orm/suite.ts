/**
 * What every library that works on pg has to do on `lanekeeper/pg`: transactions, reads, refusals that can be recognised however
 * they were wrapped, and connections that are always for the work that uses them, also while an account moves away.
 */
import { createLanekeeper, findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Shop, startShop } from '../sdk/shop.ts';

/** The same few operations in each library's own words. */
export type Store = {
  /** One transaction: inserts the order with total 0, then updates it to `total`. */
  placeOrder(order: { id: string; account: string; total: number }): Promise<void>;
  /** The order's total, or null when there is none. */
  totalOf(id: string): Promise<number | null>;
  /** Runs one statement of raw SQL. */
  raw(sql: string): Promise<unknown>;
  close(): Promise<void>;
};

export type Connection = {
  readonly lanekeeper: Lanekeeper;
  /** For libraries that make their own connections: the application's role, in the local data center. */
  readonly url: string;
  readonly max: number;
};
export type OpenStore = (connection: Connection) => Promise<Store> | Store;

type Site = { readonly lanekeeper: Lanekeeper; readonly store: Store };

const accountCount = 8;

export type SuiteOptions = {
  /** Leads the application's queries elsewhere than straight to PostgreSQL, for example through a pooler. */
  readonly urlOf?: (shop: Shop, dc: string) => Promise<string>;
  /** With `routing: connection`. */
  readonly follows?: boolean;
};

export function ormSuite(name: string, open: OpenStore, { urlOf, follows = false }: SuiteOptions = {}): void {
  const concurrentRequests = follows ? 120 : 400;
  describe(name, () => {
    let shop: Shop;
    const sites = new Map<string, Site>();
    const site = (dc: string) => sites.get(dc) as Site;

    beforeAll(async () => {
      shop = await startShop(follows ? { approach: 'mostly-active-active' } : {});
      for (const dc of shop.pair.names) {
        const direct = shop.pair.dc(dc).urls.application;
        const url = (await urlOf?.(shop, dc)) ?? direct;
        const lanekeeper = await createLanekeeper({
          config: shop.pair.dc(dc).configuration,
          env: { ...shop.env(dc), DATABASE_URL: url, LANEKEEPER_CONTROL_URL: direct },
        });
        sites.set(dc, { lanekeeper, store: await open({ lanekeeper, url, max: 8 }) });
      }
      await shop.register('ny', 'a1', 'mover', ...Array.from({ length: accountCount }, (_, i) => `n${i}`));
      await shop.register('la', 'b1', ...Array.from({ length: accountCount }, (_, i) => `l${i}`));
    });
    afterAll(async () => {
      for (const { lanekeeper, store } of sites.values()) {
        await store.close();
        await lanekeeper.close();
      }
      await shop?.stop();
    });

    test('a transaction with an insert and an update, and a read', async () => {
      const { store, lanekeeper } = site('ny');
      await lanekeeper.forAccount('a1', () => store.placeOrder({ id: 'first', account: 'a1', total: 25 }));
      expect(await store.totalOf('first')).toBe(25);
      expect(await store.totalOf('none')).toBeNull();
    });

    if (follows) {
      test('what is written elsewhere is written there', async () => {
        const { store, lanekeeper } = site('ny');
        await lanekeeper.forAccount('b1', () => store.placeOrder({ id: 'there', account: 'b1', total: 3 }));
        expect(await lanekeeper.forAccount('b1', () => store.totalOf('there'))).toBe(3);
        await store.placeOrder({ id: 'followed', account: 'b1', total: 4 });
        expect(await lanekeeper.forAccount('b1', () => store.totalOf('followed'))).toBe(4);
        const error = await lanekeeper.forAccount('b1', () => store.raw('TRUNCATE orders')).catch((e: unknown) => e);
        expect(findLanekeeperError(error)).toMatchObject({ code: 'LK_TRUNCATE', details: { dataCenter: 'la' } });
      });
    } else {
      test('a refusal is recognised, says where the account is, and leaves nothing behind', async () => {
        const { store } = site('ny');
        const error = await store
          .placeOrder({ id: 'wrong', account: 'b1', total: 1 })
          .then(() => null)
          .catch((caught: unknown) => caught);
        expect(findLanekeeperError(error)).toMatchObject({
          code: 'LK_WRONG_HOME',
          status: 409,
          details: { account: 'b1', home: 'la', dataCenter: 'ny' },
        });
        expect(await store.totalOf('wrong')).toBeNull();
      });
    }

    test('other errors are not taken for refusals', async () => {
      const { store } = site('ny');
      await store.placeOrder({ id: 'twice', account: 'a1', total: 1 });
      const error = await store.placeOrder({ id: 'twice', account: 'a1', total: 2 }).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(Error);
      expect(findLanekeeperError(error)).toBeUndefined();
      expect(await store.totalOf('twice')).toBe(1);
    });

    test(`${concurrentRequests} concurrent requests of mixed accounts, one of them moved away meanwhile`, async () => {
      const accounts = [
        'mover',
        ...Array.from({ length: accountCount }, (_, i) => `n${i}`),
        ...Array.from({ length: accountCount }, (_, i) => `l${i}`),
      ];
      const refusedFor: (string | undefined)[] = [];
      // The move starts when its first request is done, and the second half of all requests when it is under way.
      const firstDone = deferred();
      const underWay = deferred();
      const moved = firstDone.promise.then(() =>
        shop.move('mover', 'la', {
          drainMs: 30_000,
          at: (step) => (step === 'draining' ? underWay.resolve() : undefined),
        }),
      );
      const requests = Array.from({ length: concurrentRequests }, async (_, i) => {
        const account = accounts[i % accounts.length] as string;
        if (i >= concurrentRequests / 2) await underWay.promise;
        // Half of them turn up in the wrong data center, and go where they are sent.
        let dc = i % 2 === 0 ? 'ny' : 'la';
        for (let tries = 0; ; tries += 1) {
          const { lanekeeper, store } = site(dc);
          try {
            return await lanekeeper.forAccount(account, async () => {
              await store.placeOrder({ id: `r${i}`, account, total: i });
              // This refusal names no account of its own, so it tells which work the connection was bound to.
              const error = await store.raw('TRUNCATE orders').catch((caught: unknown) => caught);
              refusedFor[i] = findLanekeeperError(error)?.details.account;
              if (account === 'mover') firstDone.resolve();
              return dc;
            });
          } catch (error) {
            const refusal = findLanekeeperError(error);
            if (!refusal?.retryable || tries === 20) throw error;
            dc = refusal.details.home ?? dc;
            // Right after a move its deed is on the way: whoever is sent back and forth comes again a little later.
            if (tries > 0) await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }
      });
      const servedIn = await Promise.all(requests);
      await moved;
      expect(refusedFor).toEqual(requests.map((_, i) => accounts[i % accounts.length]));
      for (const [i, dc] of servedIn.entries()) {
        const account = accounts[i % accounts.length] as string;
        const home = account.startsWith('n') ? 'ny' : 'la';
        const here = i % 2 === 0 ? 'ny' : 'la';
        if (account !== 'mover') expect(dc, `request ${i} of ${account}`).toBe(follows ? here : home);
      }
      const moversHomes = servedIn.filter((_, i) => accounts[i % accounts.length] === 'mover');
      expect(new Set(moversHomes)).toEqual(new Set(['ny', 'la']));
      await expectAllOrders(shop, accounts, concurrentRequests);
    }, 90_000);
  });
}

function deferred(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** Every request's order is there once, with its account and its total, and in both data centers. */
async function expectAllOrders(shop: Shop, accounts: readonly string[], count: number): Promise<void> {
  const expected = Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    account_id: accounts[i % accounts.length] as string,
    total: i,
  }));
  for (const dc of shop.pair.names) {
    const read = () =>
      runSql<{ id: string; account_id: string; total: number }>(
        shop.pair.dc(dc).urls.superuser,
        "SELECT id, account_id, total FROM orders WHERE id LIKE 'r%' ORDER BY substr(id, 2)::integer",
      );
    const deadlineMs = performance.now() + 10_000;
    let rows = await read();
    while (rows.length < expected.length && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      rows = await read();
    }
    expect(rows, dc).toEqual(expected);
  }
}
