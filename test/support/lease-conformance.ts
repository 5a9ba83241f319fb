/** What every adapter of the lease store must do, whatever it is made of. */
import type {
  Incarnation,
  LeaseClaim,
  LeaseResult,
  LeaseStore,
  Readmission,
  Succession,
  SuccessionRequest,
} from 'lanekeeper/model';
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
    inSync: ['la'],
    ...changes,
  });
  const refused = (reason: string) => expect.objectContaining({ kind: 'refused', reason });
  const revisionOf = (result: LeaseResult): number => {
    if (result.kind !== 'held') throw new Error(`refused: ${result.reason}`);
    return result.revision;
  };
  const stateOf = async (store: LeaseStore) => (await store.read()).leases.map(({ state }) => state);
  const recordOf = async (store: LeaseStore, dc: string) =>
    (await store.read()).leases.find(({ dataCenter }) => dataCenter === dc);
  const la = (changes: Partial<LeaseClaim> = {}): LeaseClaim =>
    claim({ dataCenter: 'la', holder: 'la-1', inSync: ['ny'], ...changes });
  type Take = Extract<SuccessionRequest, { kind: 'take' }>;
  /** ny has yielded, la holds its lease: la may take. */
  const broken = async (store: LeaseStore, changes: Partial<LeaseClaim> = {}): Promise<Take> => {
    const held = revisionOf(await store.acquire(claim(changes)));
    await store.release('ny', { holder: 'ny-1', revision: held }, true);
    const fromRevision = (await recordOf(store, 'ny'))?.revision ?? 0;
    const revision = revisionOf(await store.acquire(la()));
    return { kind: 'take', term: 1, from: 'ny', to: 'la', holder: 'la-1', revision, fromRevision, forced: false };
  };
  const switching = async (store: LeaseStore): Promise<SuccessionRequest> => {
    const revision = revisionOf(await store.acquire(claim()));
    await store.acquire(la());
    return { kind: 'switch', term: 1, from: 'ny', to: 'la', holder: 'ny-1', revision };
  };
  const taken: Succession = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null };
  const readmission: Readmission = {
    dataCenter: 'ny',
    takenOver: 2,
    incarnation: { ...incarnation, generation: 2 },
    positions: { log: '0/2', received: {}, applied: {} },
  };
  const unchanged = async (store: LeaseStore) => {
    expect(await store.read()).toMatchObject({ term: 1, successions: [] });
    expect((await recordOf(store, 'ny'))?.takenOver).toBeNull();
  };

  it('begins empty, in the first term', () =>
    withStores(1, async (store) => {
      expect(await store.read()).toEqual({ term: 1, leases: [], successions: [] });
    }));

  it('grants a free lease and shows it to others with all that was said', () =>
    withStores(2, async (store, other) => {
      const result = await store.acquire(claim());
      expect(result.kind).toBe('held');
      const lease = { ...claim(), revision: revisionOf(result), state: 'held', takenOver: null };
      expect(result.view).toEqual({ term: 1, leases: [lease], successions: [] });
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
      // One client may know it earlier than another.
      await expect
        .poll(async () => (await other.acquire(claim({ holder: 'ny-2' }))).kind, { timeout: 10_000 })
        .toBe('held');
      expect((await recordOf(other, 'ny'))?.revision).toBeGreaterThan(first);
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
      await store.release('ny', { holder: 'ny-1', revision }, false);
      await store.release('ny', { holder: 'ny-1', revision }, true);
      expect(await stateOf(other)).toEqual(['released']);
      expect(await store.renew(claim(), revision)).toEqual(refused('stale-revision'));
      const next = revisionOf(await other.acquire(claim({ holder: 'ny-2' })));
      expect(next).toBeGreaterThan(revision);
      await store.release('ny', { holder: 'ny-1', revision }, false);
      expect(await stateOf(other)).toEqual(['held']);
    }));

  it('is not released by who does not know the last revision', () =>
    withStores(1, async (store) => {
      const revision = revisionOf(await store.acquire(claim()));
      await store.release('ny', { holder: 'ny-1', revision: revision + 1 }, false);
      await store.release('ny', { holder: 'ny-2', revision }, false);
      await store.release('la', { holder: 'ny-1', revision }, false);
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
      await store.release('ny', { holder: 'ny-1', revision }, false);
      expect(await store.acquire(claim({ incarnation: other }))).toEqual(refused('other-incarnation'));
    }),
  );

  const promoted: Incarnation = { ...incarnation, timeline: 2, ended: [{ timeline: 1, at: '0/1A2B3C' }] };
  const ended = async (store: LeaseStore, changes: Partial<LeaseClaim> = {}) => {
    const revision = revisionOf(await store.acquire(claim(changes)));
    await store.release('ny', { holder: 'ny-1', revision }, true);
  };

  it('gives it to a promoted standby that lacks nothing, and never again to the primary before', () =>
    withStores(2, async (store, other) => {
      await ended(store);
      await store.acquire(la({ positions: { log: '0/1', received: { ny: '0/FFFFFF' }, applied: { ny: '0/1A2B3C' } } }));
      const result = await other.acquire(claim({ holder: 'ny-2', incarnation: promoted }));
      const revision = revisionOf(result);
      const { ended: _, ...recorded } = promoted;
      expect((await recordOf(store, 'ny'))?.incarnation).toEqual(recorded);
      expect((await other.renew(claim({ holder: 'ny-2', incarnation: promoted }), revision)).kind).toBe('held');
      const next = revisionOf(await other.acquire(claim({ holder: 'ny-2', incarnation: recorded })));
      expect(await store.acquire(claim())).toEqual(refused('other-incarnation'));
      expect(await store.renew(claim({ holder: 'ny-2' }), next)).toEqual(refused('other-incarnation'));
      await store.release('ny', { holder: 'ny-2', revision: next }, false);
      expect(await store.acquire(claim())).toEqual(refused('other-incarnation'));
    }));

  it('does not give it to a promoted standby while it is held, also not to its holder or by what it left behind', () =>
    withStores(1, async (store) => {
      const revision = revisionOf(await store.acquire(claim()));
      const asked = claim({ incarnation: promoted });
      expect(await store.acquire(asked)).toEqual(refused('held-by-other'));
      expect(await store.acquire(asked, { holder: 'ny-1', revision })).toEqual(refused('held-by-other'));
      expect(await store.renew(asked, revision)).toEqual(refused('other-incarnation'));
      await store.release('ny', { holder: 'ny-1', revision }, false);
      expect((await store.acquire(asked)).kind).toBe('held');
    }));

  it.each([
    ['of its own log', { incarnation: { ...promoted, ended: [{ timeline: 1, at: '0/1A2B3B' }] } }],
    ['of a peer', { positions: { ...claim().positions, applied: { la: '16/B374CFFF' } } }],
    ['of a peer, of which it knows nothing', { positions: { ...claim().positions, applied: {} } }],
    ['where it left the recorded timeline', { incarnation: { ...incarnation, timeline: 2 } }],
    ['the recorded timeline', { incarnation: { ...promoted, ended: [{ timeline: 3, at: '1/0' }] } }],
    ['the generation', { incarnation: { ...promoted, generation: 2 } }],
  ])('refuses a promoted standby that lacks something %s', (_, lacking) =>
    withStores(1, async (store) => {
      await ended(store);
      const asked = claim({ incarnation: promoted, ...lacking });
      expect(await store.acquire(asked)).toEqual(refused('other-incarnation'));
      expect((await recordOf(store, 'ny'))?.incarnation).toEqual(incarnation);
    }),
  );

  it.each(['applied', 'homed'] as const)('refuses a promoted standby of which a peer has more %s', (stream) =>
    withStores(1, async (store) => {
      await ended(store);
      const positions = { log: '0/1', received: {}, applied: {}, [stream]: { ny: '0/1A2B3D' } };
      await store.acquire(la({ positions }));
      expect(await store.acquire(claim({ incarnation: promoted }))).toEqual(refused('other-incarnation'));
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

  it('tells a lease that was yielded from one that was released; either is free', () =>
    withStores(1, async (store) => {
      const { fromRevision } = await broken(store);
      expect((await recordOf(store, 'ny'))?.state).toBe('yielded');
      expect(await store.renew(claim(), fromRevision)).toEqual(refused('stale-revision'));
      const revision = revisionOf(await store.acquire(claim()));
      expect(revision).toBeGreaterThan(fromRevision);
      await store.release('ny', { holder: 'ny-1', revision }, false);
      expect((await recordOf(store, 'ny'))?.state).toBe('released');
    }));

  it('keeps the sync set and the time of the last grant', () =>
    withStores(2, async (store, other) => {
      const first = revisionOf(await store.acquire(claim()));
      await store.renew(claim({ inSync: [], ttlMs: 9000 }), first);
      expect(await recordOf(other, 'ny')).toMatchObject({ inSync: [], ttlMs: 9000 });
    }));

  it('lets the successor take what was yielded, and everybody sees the new view', () =>
    withStores(2, async (store, other) => {
      const request = await broken(store);
      const result = await store.succeed(request);
      expect(result).toMatchObject({ kind: 'succeeded', term: 2, view: { term: 2, successions: [taken] } });
      expect(await other.read()).toEqual(result.view);
      expect((await recordOf(other, 'ny'))?.takenOver).toBe(2);
      expect(await recordOf(other, 'la')).toMatchObject({ takenOver: null, state: 'held', revision: request.revision });
    }));

  it('lets it take what ran out', () =>
    withStores(1, async (store) => {
      const fromRevision = revisionOf(await store.acquire(claim({ ttlMs: shortTtlMs })));
      const revision = revisionOf(await store.acquire(la()));
      const request = { term: 1, from: 'ny', to: 'la', holder: 'la-1', revision } as const;
      const take = { ...request, kind: 'take', fromRevision, forced: false } as const;
      expect(await store.succeed(take)).toEqual(refused('still-held'));
      await unchanged(store);
      await expect.poll(async () => (await recordOf(store, 'ny'))?.state, { timeout: 10_000 }).toBe('expired');
      expect((await store.succeed(take)).kind).toBe('succeeded');
    }));

  it('refuses to take from one that came back after it was looked at, also when that is over again', () =>
    withStores(1, async (store) => {
      const request = await broken(store);
      const revision = revisionOf(await store.acquire(claim()));
      expect(await store.succeed(request)).toEqual(refused('still-held'));
      expect(await store.succeed({ ...request, forced: true })).toEqual(refused('still-held'));
      await store.release('ny', { holder: 'ny-1', revision }, true);
      expect(await store.succeed(request)).toEqual(refused('still-held'));
      await unchanged(store);
    }));

  it('refuses a successor that may lack acknowledged writes, unless a person has decided', () =>
    withStores(1, async (store) => {
      const request = await broken(store, { inSync: [] });
      expect(await store.succeed(request)).toEqual(refused('not-in-sync'));
      await unchanged(store);
      expect((await store.succeed({ ...request, forced: true })).kind).toBe('succeeded');
    }));

  it('refuses to take from one of which nothing is known', () =>
    withStores(1, async (store) => {
      const request = await broken(store);
      const unknown = { ...request, from: 'fra', fromRevision: 0, forced: true };
      expect(await store.succeed(unknown)).toEqual(refused('not-in-sync'));
    }));

  it('refuses a successor without a lease, with an old one, and one that only says it has it', () =>
    withStores(1, async (store) => {
      const request = await broken(store);
      const { revision } = request;
      expect(await store.succeed({ ...request, holder: 'la-2' })).toEqual(refused('no-lease'));
      expect(await store.succeed({ ...request, revision: revision + 1 })).toEqual(refused('no-lease'));
      expect(await store.succeed({ ...request, to: 'fra' })).toEqual(refused('no-lease'));
      const renewed = revisionOf(await store.renew(la(), revision));
      expect(await store.succeed(request)).toEqual(refused('no-lease'));
      await store.release('la', { holder: 'la-1', revision: renewed }, false);
      expect(await store.succeed({ ...request, revision: renewed })).toEqual(refused('no-lease'));
      await unchanged(store);
    }));

  it('refuses a view that does not follow the present one, and so one that was asked for twice', () =>
    withStores(1, async (store) => {
      const request = await broken(store);
      expect(await store.succeed({ ...request, term: 2 })).toEqual(refused('stale-term'));
      await unchanged(store);
      await store.succeed(request);
      const repeated = await store.succeed(request);
      expect(repeated).toEqual(refused('stale-term'));
      expect(repeated.view.successions).toEqual([taken]);
      expect(await store.succeed({ ...request, term: 2 })).toEqual(refused('taken-over'));
    }));

  it('lets one win of many who ask for a new view at the same moment', () =>
    withStores(6, async (store, ...others) => {
      const request = await broken(store);
      const fra = revisionOf(await store.acquire(claim({ dataCenter: 'fra', holder: 'fra-1' })));
      const byFra = { ...request, to: 'fra', holder: 'fra-1', revision: fra, forced: true };
      const results = await Promise.all(others.map((one, index) => one.succeed(index % 2 === 0 ? request : byFra)));
      expect(results.filter(({ kind }) => kind === 'succeeded')).toHaveLength(1);
      const { term, successions } = await store.read();
      expect([term, successions.length]).toEqual([2, 1]);
    }));

  it('lets one win of two who take from each other', () =>
    withStores(2, async (store, other) => {
      const toLa = await broken(store);
      const revision = revisionOf(await store.acquire(claim({ dataCenter: 'fra', holder: 'fra-1', inSync: ['la'] })));
      const switched: SuccessionRequest = { kind: 'switch', term: 1, from: 'fra', to: 'la', holder: 'fra-1', revision };
      const results = await Promise.all([store.succeed(toLa), other.succeed(switched)]);
      expect(results.map(({ kind }) => kind).sort()).toEqual(['refused', 'succeeded']);
      expect(results.find(({ kind }) => kind === 'refused')).toEqual(refused('stale-term'));
    }));

  it('gives no lease to who was taken over: a renewal that is under way comes too late', () =>
    withStores(2, async (store, other) => {
      const request = await broken(store);
      await store.succeed(request);
      expect(await other.renew(claim(), request.fromRevision)).toEqual(refused('taken-over'));
      expect(await other.acquire(claim())).toEqual(refused('taken-over'));
      expect(await other.acquire(claim({ incarnation: readmission.incarnation }))).toEqual(refused('taken-over'));
      const predecessor = { holder: 'ny-1', revision: request.fromRevision };
      expect(await other.acquire(claim({ holder: 'ny-2' }), predecessor)).toEqual(refused('taken-over'));
    }));

  it('does not forget that it was taken over when it is released', () =>
    withStores(1, async (store) => {
      const revision = revisionOf(await store.acquire(claim({ ttlMs: shortTtlMs })));
      await expect.poll(async () => (await recordOf(store, 'ny'))?.state, { timeout: 10_000 }).toBe('expired');
      const own = revisionOf(await store.acquire(la()));
      const request = { kind: 'take', term: 1, from: 'ny', to: 'la', holder: 'la-1', revision: own } as const;
      expect((await store.succeed({ ...request, fromRevision: revision, forced: false })).kind).toBe('succeeded');
      await store.release('ny', { holder: 'ny-1', revision }, true);
      expect(await recordOf(store, 'ny')).toMatchObject({ takenOver: 2, state: 'yielded' });
      expect(await store.acquire(claim())).toEqual(refused('taken-over'));
    }));

  it('lets only the holder switch, to one that may have a lease', () =>
    withStores(1, async (store) => {
      const request = await switching(store);
      expect(await store.succeed({ ...request, holder: 'ny-2' })).toEqual(refused('no-lease'));
      expect(await store.succeed({ ...request, revision: request.revision + 1 })).toEqual(refused('no-lease'));
      expect(await store.succeed({ ...request, from: 'fra' })).toEqual(refused('no-lease'));
      await unchanged(store);
      const switched = { term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null };
      expect(await store.succeed(request)).toMatchObject({ kind: 'succeeded', view: { successions: [switched] } });
      expect(await recordOf(store, 'ny')).toMatchObject({ state: 'held', takenOver: null });
      expect((await store.renew(claim(), request.revision)).kind).toBe('held');
    }));

  it('lets the holder return what a succession moved, and nothing that was never moved', () =>
    withStores(1, async (store) => {
      const request = await switching(store);
      await store.succeed(request);
      const revision = (await recordOf(store, 'la'))?.revision ?? 0;
      const back = { kind: 'return', term: 2, from: 'la', to: 'ny', holder: 'la-1', revision, undoes: 2 } as const;
      expect(await store.succeed({ ...back, holder: 'ny-1' })).toEqual(refused('no-lease'));
      await expect(store.succeed({ ...back, undoes: 3 })).rejects.toThrow('no succession 3');
      await store.succeed(back);
      expect((await store.read()).successions[1]).toEqual({ term: 3, kind: 'return', from: 'la', to: 'ny', undoes: 2 });
      await expect(store.succeed({ ...back, term: 3, undoes: 3 })).rejects.toThrow('no succession 3');
    }));

  it('refuses to switch or return to one that was taken over', () =>
    withStores(1, async (store) => {
      const take = await broken(store);
      await store.succeed(take);
      const back = { ...take, kind: 'return', term: 2, from: 'la', to: 'ny', undoes: 2 } as const;
      expect(await store.succeed(back)).toEqual(refused('taken-over'));
      expect(await store.succeed({ ...back, kind: 'switch' })).toEqual(refused('taken-over'));
    }));

  it('does not readmit the primary before a promotion, as whatever generation', () =>
    withStores(1, async (store) => {
      const request = await broken(store, { incarnation: { ...incarnation, timeline: 2 } });
      await store.succeed(request);
      expect(await store.readmit(readmission)).toBe(false);
      expect((await recordOf(store, 'ny'))?.takenOver).toBe(2);
      expect(await store.readmit({ ...readmission, incarnation: { ...readmission.incarnation, timeline: 3 } })).toBe(
        true,
      );
    }));

  it('readmits nobody by a view that is over', () =>
    withStores(2, async (store, other) => {
      await store.succeed(await broken(store));
      expect(await store.readmit({ ...readmission, term: 1 })).toBe(false);
      expect(await store.readmit({ ...readmission, term: 3 })).toBe(false);
      const revision = revisionOf(await other.acquire(claim({ dataCenter: 'fra', holder: 'fra-1' })));
      const request = { kind: 'switch', term: 2, from: 'fra', to: 'la', holder: 'fra-1', revision } as const;
      // Either the one or the other came first.
      const [back, { kind }] = await Promise.all([store.readmit({ ...readmission, term: 2 }), other.succeed(request)]);
      expect(kind).toBe('succeeded');
      expect((await recordOf(store, 'ny'))?.takenOver).toBe(back ? null : 2);
      if (!back) expect(await store.readmit({ ...readmission, term: 3 })).toBe(true);
      expect((await recordOf(store, 'ny'))?.takenOver).toBeNull();
    }));

  it('readmits who was taken over as a new incarnation, once', () =>
    withStores(2, async (store, other) => {
      const request = await broken(store);
      expect(await store.readmit(readmission)).toBe(false);
      await store.succeed(request);
      expect(await store.readmit({ ...readmission, takenOver: 3 })).toBe(false);
      expect(await store.readmit({ ...readmission, dataCenter: 'fra' })).toBe(false);
      expect(await store.readmit({ ...readmission, incarnation })).toBe(false);
      const results = await Promise.all([store.readmit(readmission), other.readmit(readmission)]);
      expect(results.sort()).toEqual([false, true]);
      const { incarnation: back, positions } = readmission;
      const free = { state: 'released', takenOver: null, inSync: [], incarnation: back, positions };
      expect(await recordOf(store, 'ny')).toMatchObject(free);
      expect(await store.renew(claim({ incarnation: back }), request.fromRevision)).toEqual(refused('stale-revision'));
      expect(await store.acquire(claim())).toEqual(refused('other-incarnation'));
      const result = await store.acquire(claim({ incarnation: back }));
      expect(revisionOf(result)).toBeGreaterThan(request.fromRevision);
      expect(result.view).toMatchObject({ term: 2, successions: [taken] });
    }));

  it('forgets who leaves, unless that one may write, and lets it back only as a later generation', () =>
    withStores(2, async (store, other) => {
      const held = revisionOf(await store.acquire(claim()));
      expect(await store.forget('ny', held)).toBe(false);
      expect(await store.forget('fra', 1)).toBe(false);
      await store.release('ny', { holder: 'ny-1', revision: held }, false);
      const seen = (await recordOf(store, 'ny'))?.revision ?? 0;
      expect(await store.forget('ny', held)).toBe(false);
      const results = await Promise.all([store.forget('ny', seen), other.forget('ny', seen)]);
      expect(results.sort()).toEqual([false, true]);
      expect(await store.read()).toMatchObject({ term: 1, leases: [], departed: { ny: 1 } });
      expect(await store.acquire(claim())).toEqual(refused('other-incarnation'));
      expect(await store.renew(claim(), held)).toEqual(refused('other-incarnation'));
      const revision = revisionOf(await store.acquire(la()));
      const take = { term: 1, from: 'ny', to: 'la', holder: 'la-1', revision } as const;
      expect(await store.succeed({ ...take, kind: 'take', fromRevision: seen + 1, forced: true })).toEqual(
        refused('taken-over'),
      );
      expect(await store.succeed({ ...take, kind: 'switch', from: 'la', to: 'ny' })).toEqual(refused('taken-over'));
      const later = { systemIdentifier: '7300000000000000009', timeline: 1, generation: 2 };
      const back = await store.acquire(claim({ incarnation: later }));
      expect(revisionOf(back)).toBeGreaterThan(seen);
      expect(back.view.departed).toBeUndefined();
      expect(await recordOf(store, 'ny')).toMatchObject({ state: 'held', takenOver: null, incarnation: later });
    }));

  it('forgets one that was taken over, and keeps the history of views', () =>
    withStores(1, async (store) => {
      await store.succeed(await broken(store));
      const seen = (await recordOf(store, 'ny'))?.revision ?? 0;
      expect(await store.forget('ny', seen)).toBe(true);
      expect(await store.read()).toMatchObject({ term: 2, successions: [taken], departed: { ny: 1 } });
      expect(await store.readmit(readmission)).toBe(false);
      const later = { ...incarnation, generation: 2 };
      expect(await store.acquire(claim({ incarnation: later }))).toMatchObject({ kind: 'held', view: { term: 2 } });
    }));

  it('forgets one whose lease ran out', () =>
    withStores(1, async (store) => {
      const held = revisionOf(await store.acquire(claim({ ttlMs: shortTtlMs })));
      await expect.poll(() => store.forget('ny', held), { timeout: 10_000, interval: 50 }).toBe(true);
    }));
}
