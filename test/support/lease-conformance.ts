/** What every adapter of the lease store must do, whatever it is made of. */
import type { Incarnation, LeaseClaim, LeaseResult, LeaseStore } from 'lanekeeper/model';
import { expect, it } from 'vitest';

const incarnation: Incarnation = { systemIdentifier: '7300000000000000001', timeline: 1, generation: 1 };
/** Short, since some tests wait for it to pass; long enough for a busy machine. */
const shortTtlMs = 400;

/**
 * Declares the suite. `open` gives another client of one and the same store, which is empty for `cluster`; the suite
 * closes what it opens.
 */
export function leaseStoreConforms(open: (cluster: string) => LeaseStore): void {
  let number = 0;
  const withStores = async (count: number, run: (...stores: LeaseStore[]) => Promise<void>) => {
    const cluster = `conformance-${process.pid}-${++number}`;
    const stores = Array.from({ length: count }, () => open(cluster));
    try {
      await run(...stores);
    } finally {
      await Promise.all(stores.map((store) => store.close()));
    }
  };
  const claim = (changes: Partial<LeaseClaim> = {}): LeaseClaim => ({
    dataCenter: 'ny',
    holder: 'ny-1',
    incarnation,
    positions: { log: '0/1A2B3C', received: { la: '16/B374D848' }, applied: { la: '16/B374D000' } },
    ttlMs: 60_000,
    ...changes,
  });
  const refused = (reason: string) => expect.objectContaining({ kind: 'refused', reason });
  const revisionOf = (result: LeaseResult): number => {
    if (result.kind !== 'held') throw new Error(`refused: ${result.reason}`);
    return result.revision;
  };
  const stateOf = async (store: LeaseStore) => (await store.read()).leases.map(({ state }) => state);

  it('begins empty, in the first term', () =>
    withStores(1, async (store) => {
      expect(await store.read()).toEqual({ term: 1, leases: [] });
    }));

  it('grants a free lease and shows it to others with all that was said', () =>
    withStores(2, async (store, other) => {
      const result = await store.acquire(claim());
      expect(result.kind).toBe('held');
      const { ttlMs: _, ...said } = claim();
      const lease = { ...said, revision: revisionOf(result), state: 'held' };
      expect(result.view).toEqual({ term: 1, leases: [lease] });
      expect(await other.read()).toEqual(result.view);
    }));

  it('gives every data center a lease of its own', () =>
    withStores(1, async (store) => {
      await store.acquire(claim());
      await store.acquire(claim({ dataCenter: 'la', holder: 'la-1' }));
      expect((await store.read()).leases.map(({ dataCenter }) => dataCenter).sort()).toEqual(['la', 'ny']);
    }));

  it('refuses another holder while it is held', () =>
    withStores(2, async (store, other) => {
      await store.acquire(claim());
      const result = await other.acquire(claim({ holder: 'ny-2' }));
      expect(result).toEqual(refused('held-by-other'));
      expect(result.view.leases[0]?.holder).toBe('ny-1');
    }));

  it('lets the holder itself ask again, since the answer may have been lost', () =>
    withStores(1, async (store) => {
      const first = revisionOf(await store.acquire(claim()));
      expect(revisionOf(await store.acquire(claim()))).toBeGreaterThan(first);
    }));

  it('lets the successor take over who knows the last revision, and nobody who knows an older one', () =>
    withStores(2, async (store, other) => {
      const first = revisionOf(await store.acquire(claim()));
      const last = revisionOf(await store.renew(claim(), first));
      const successor = claim({ holder: 'ny-2' });
      expect(await other.acquire(successor, { holder: 'ny-1', revision: first })).toEqual(refused('held-by-other'));
      expect(await other.acquire(successor, { holder: 'ny-0', revision: last })).toEqual(refused('held-by-other'));
      expect((await other.acquire(successor, { holder: 'ny-1', revision: last })).kind).toBe('held');
      expect(await store.renew(claim(), last)).toEqual(refused('stale-revision'));
    }));

  it('renews with rising revisions and new positions', () =>
    withStores(1, async (store) => {
      const first = revisionOf(await store.acquire(claim()));
      const positions = { log: '1/0', received: { la: '17/0', fra: '0/1' }, applied: {} };
      const result = await store.renew(claim({ positions }), first);
      expect(revisionOf(result)).toBeGreaterThan(first);
      expect(result.view.leases[0]?.positions).toEqual(positions);
    }));

  it('refuses to renew by an old revision, and one that was never granted', () =>
    withStores(1, async (store) => {
      expect(await store.renew(claim(), 1)).toEqual(refused('stale-revision'));
      const first = revisionOf(await store.acquire(claim()));
      const second = revisionOf(await store.renew(claim(), first));
      expect(await store.renew(claim(), first)).toEqual(refused('stale-revision'));
      expect(await store.renew(claim({ holder: 'ny-2' }), second)).toEqual(refused('stale-revision'));
      expect(await store.renew(claim(), second + 1)).toEqual(refused('stale-revision'));
    }));

  it('lets it run out by its own clock; then anybody of this incarnation may have it', () =>
    withStores(2, async (store, other) => {
      const first = revisionOf(await store.acquire(claim({ ttlMs: shortTtlMs })));
      await expect.poll(() => stateOf(store), { timeout: 10_000 }).toEqual(['expired']);
      expect(await store.renew(claim(), first)).toEqual(refused('stale-revision'));
      expect(revisionOf(await other.acquire(claim({ holder: 'ny-2' })))).toBeGreaterThan(first);
    }));

  it('is kept beyond its first term by renewing', () =>
    withStores(2, async (store, other) => {
      let revision = revisionOf(await store.acquire(claim({ ttlMs: shortTtlMs })));
      const endMs = performance.now() + 3 * shortTtlMs;
      while (performance.now() < endMs) {
        revision = revisionOf(await store.renew(claim({ ttlMs: shortTtlMs * 10 }), revision));
        expect(await stateOf(other)).toEqual(['held']);
      }
    }));

  it('is free at once when released, and releasing is safe to repeat', () =>
    withStores(2, async (store, other) => {
      const revision = revisionOf(await store.acquire(claim()));
      await store.release('ny', { holder: 'ny-1', revision });
      await store.release('ny', { holder: 'ny-1', revision });
      expect(await stateOf(other)).toEqual(['released']);
      expect(await store.renew(claim(), revision)).toEqual(refused('stale-revision'));
      const next = revisionOf(await other.acquire(claim({ holder: 'ny-2' })));
      expect(next).toBeGreaterThan(revision);
      await store.release('ny', { holder: 'ny-1', revision });
      expect(await stateOf(other)).toEqual(['held']);
    }));

  it('is not released by who does not know the last revision', () =>
    withStores(1, async (store) => {
      const revision = revisionOf(await store.acquire(claim()));
      await store.release('ny', { holder: 'ny-1', revision: revision + 1 });
      await store.release('ny', { holder: 'ny-2', revision });
      await store.release('la', { holder: 'ny-1', revision });
      expect(await stateOf(store)).toEqual(['held']);
    }));

  it.each([
    ['system identifier', { ...incarnation, systemIdentifier: '7300000000000000002' }],
    ['timeline', { ...incarnation, timeline: 2 }],
    ['generation', { ...incarnation, generation: 2 }],
  ])('refuses another %s, even when the lease is free', (_, other) =>
    withStores(1, async (store) => {
      const revision = revisionOf(await store.acquire(claim()));
      expect(await store.renew(claim({ incarnation: other }), revision)).toEqual(refused('other-incarnation'));
      await store.release('ny', { holder: 'ny-1', revision });
      expect(await store.acquire(claim({ incarnation: other }))).toEqual(refused('other-incarnation'));
    }),
  );

  it('lets one win of many who ask at the same moment', () =>
    withStores(8, async (...stores) => {
      const results = await Promise.all(stores.map((store, index) => store.acquire(claim({ holder: `ny-${index}` }))));
      expect(results.filter(({ kind }) => kind === 'held')).toHaveLength(1);
      const [winner] = (await (stores[0] as LeaseStore).read()).leases;
      expect(results.findIndex(({ kind }) => kind === 'held')).toBe(Number(winner?.holder.slice(3)));
    }));

  it('lets one win of two who renew by the same revision', () =>
    withStores(2, async (store, other) => {
      const revision = revisionOf(await store.acquire(claim()));
      const results = await Promise.all([store.renew(claim(), revision), other.renew(claim(), revision)]);
      expect(results.map(({ kind }) => kind).sort()).toEqual(['held', 'refused']);
    }));
}
