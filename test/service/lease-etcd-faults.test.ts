import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { missingEtcd } from '@lanekeeper/lab';
import { type EtcdLeaseStoreOptions, etcdLeaseStore } from '@lanekeeper/server/lease';
import type { LeaseClaim, LeaseResult, LeaseStore } from 'lanekeeper/model';
import { Agent, request } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type TestEtcd, testEtcd } from '../support/etcd.ts';

const claim: LeaseClaim = {
  dataCenter: 'ny',
  holder: 'ny-1',
  incarnation: { systemIdentifier: '7', timeline: 1, generation: 1 },
  positions: { log: '0/1', received: {}, applied: {} },
  ttlMs: 60_000,
  inSync: ['la'],
};
const revisionOf = (result: LeaseResult): number => {
  if (result.kind !== 'held') throw new Error(`refused: ${result.reason}`);
  return result.revision;
};

describe.skipIf(missingEtcd() !== null)('an etcd of three members (needs etcd)', () => {
  let etcd: TestEtcd;
  const open: LeaseStore[] = [];
  let number = 0;
  const store = (changes: Partial<EtcdLeaseStoreOptions> = {}): LeaseStore => {
    const made = etcdLeaseStore({ ...etcd.access, cluster: `faults-${number}`, timeoutMs: 5000, ...changes });
    open.push(made);
    return made;
  };
  /** A store whose first member to ask is this one. */
  const storeAt = (member: number, changes: Partial<EtcdLeaseStoreOptions> = {}): LeaseStore => {
    const { endpoints } = etcd;
    return store({ endpoints: [...endpoints.slice(member), ...endpoints.slice(0, member)], ...changes });
  };
  /** Until the store answers again; how often it failed is returned. */
  const renewedUntilHeld = async (one: LeaseStore, revision: number) => {
    let failures = 0;
    const endMs = performance.now() + 20_000;
    for (;;) {
      try {
        // An answer that was lost may have been a yes: asking for it again is how the holder finds out.
        const result = failures === 0 ? await one.renew(claim, revision) : await one.acquire(claim);
        return { failures, revision: revisionOf(result) };
      } catch (error) {
        failures++;
        if (performance.now() > endMs) throw error;
      }
    }
  };

  beforeAll(async () => {
    etcd = await testEtcd({ members: 3, secured: true });
  });
  afterEach(async () => {
    number++;
    await Promise.all(open.splice(0).map((one) => one.close()));
  });
  afterAll(() => etcd?.stop());

  it('is one of which a member may be down: leases are granted, renewed and released as before', async () => {
    const down = ((await etcd.leader()) + 1) % 3;
    const one = storeAt(down);
    const first = revisionOf(await one.acquire(claim));
    await etcd.kill(down);
    const renewed = revisionOf(await one.renew(claim, first));
    const other = storeAt(down);
    expect((await other.read()).leases).toMatchObject([{ revision: renewed, state: 'held' }]);
    await one.release('ny', { holder: 'ny-1', revision: renewed }, true);
    expect((await other.read()).leases).toMatchObject([{ state: 'yielded' }]);
    await etcd.start(down);
    expect(revisionOf(await storeAt(down).acquire(claim))).toBeGreaterThan(renewed);
  });

  it('goes on after its leader was killed, and nobody else got the lease meanwhile', async () => {
    const leader = await etcd.leader();
    const one = storeAt(leader);
    const first = revisionOf(await one.acquire(claim));
    await etcd.kill(leader);
    try {
      const after = await renewedUntilHeld(one, first);
      expect(after.revision).toBeGreaterThan(first);
      const other = await storeAt(leader).acquire({ ...claim, holder: 'ny-2' });
      expect(other).toMatchObject({ kind: 'refused', reason: 'held-by-other' });
      expect([0, 1, 2].filter((member) => member !== leader)).toContain(await etcd.leader());
    } finally {
      await etcd.start(leader);
    }
  });

  it('goes on while its leader stands still, and when that comes back it is told what happened', async () => {
    const leader = await etcd.leader();
    const one = storeAt(leader);
    const first = revisionOf(await one.acquire(claim));
    etcd.signal(leader, 'SIGSTOP');
    try {
      const after = await renewedUntilHeld(one, first);
      expect(after.revision).toBeGreaterThan(first);
    } finally {
      etcd.signal(leader, 'SIGCONT');
    }
    const [there] = (await storeAt(leader).read()).leases;
    expect(there?.revision).toBeGreaterThan(first);
  });

  it('says nothing when only a minority is left, in bounded time, and never what was true once', async () => {
    const leader = await etcd.leader();
    const [two, three] = [(leader + 1) % 3, (leader + 2) % 3];
    const one = storeAt(leader);
    const hasty = storeAt(leader, { timeoutMs: 1500 });
    const first = revisionOf(await one.acquire(claim));
    await hasty.read();
    for (const member of [two, three]) etcd.signal(member, 'SIGSTOP');
    try {
      // What the two had said before they stopped may still be on its way to the one that is left.
      await expect
        .poll(
          () =>
            hasty.read().then(
              () => 'answered',
              () => 'refused',
            ),
          { timeout: 10_000, interval: 50 },
        )
        .toBe('refused');
      for (const question of [() => hasty.read(), () => hasty.renew(claim, first), () => hasty.acquire(claim)]) {
        const beganMs = performance.now();
        await expect(question()).rejects.toThrow(/did not answer in time|The lease store failed/);
        expect(performance.now() - beganMs).toBeLessThan(4000);
      }
    } finally {
      for (const member of [two, three]) etcd.signal(member, 'SIGCONT');
    }
    expect((await renewedUntilHeld(one, first)).revision).toBeGreaterThan(first);
  });

  it('knows its own when a member did what it was asked and its answer was lost', async () => {
    const passed: string[] = [];
    const deaf = await passingOn(etcd, {
      answers(path) {
        passed.push(path);
        return path !== '/v3/kv/txn';
      },
    });
    try {
      const one = store({ endpoints: [deaf.url, etcd.endpoints[0] as string] });
      expect(revisionOf(await one.acquire(claim))).toBe(1);
      expect(passed).toContain('/v3/kv/txn');
    } finally {
      deaf.close();
    }
  });

  /** What happens after it was looked at and before it is written: the comparison fails, and it is decided again. */
  describe('is changed between looking and writing', () => {
    const la = { ...claim, dataCenter: 'la', holder: 'la-1', inSync: ['ny'] };
    const meanwhile: [string, (other: LeaseStore, taker: number, giver: number) => Promise<unknown>, string][] = [
      ['the one that is taken over comes back', (other) => other.acquire(claim), 'still-held'],
      [
        'the successor gives its lease up',
        (other, taker) => other.release('la', { holder: 'la-1', revision: taker }, false),
        'no-lease',
      ],
      ['the successor renews', (other, taker) => other.renew(la, taker), 'no-lease'],
      [
        'there is another succession',
        async (other) => {
          const revision = revisionOf(await other.acquire({ ...claim, dataCenter: 'fra', holder: 'fra-1' }));
          await other.succeed({ kind: 'switch', term: 1, from: 'fra', to: 'la', holder: 'fra-1', revision });
        },
        'stale-term',
      ],
      ['its key vanishes', () => etcd.control('del', `lanekeeper/faults-${number}/alive/la`), 'no-lease'],
    ];
    it.each(meanwhile)('%s', async (_, change, reason) => {
      const direct = store();
      const first = revisionOf(await direct.acquire(claim));
      await direct.release('ny', { holder: 'ny-1', revision: first }, true);
      const taker = revisionOf(await direct.acquire(la));
      let changed = false;
      const slow = await passingOn(etcd, {
        async before(path) {
          if (path !== '/v3/kv/txn' || changed) return;
          changed = true;
          await change(direct, taker, first);
        },
      });
      try {
        const one = store({ endpoints: [slow.url], timeoutMs: 10_000 });
        const take = { kind: 'take', term: 1, from: 'ny', to: 'la', holder: 'la-1', forced: false } as const;
        const result = await one.succeed({ ...take, revision: taker, fromRevision: first + 1 });
        expect(changed).toBe(true);
        expect(result).toMatchObject({ kind: 'refused', reason });
        expect((await direct.read()).successions).toHaveLength(reason === 'stale-term' ? 1 : 0);
      } finally {
        slow.close();
      }
    });

    it.each([
      ['somebody else takes the free lease', 'acquire', 'held-by-other'],
      ['its key vanishes while it is renewed', 'renew', 'stale-revision'],
    ] as const)('%s', async (_, method, reason) => {
      const direct = store();
      const revision = method === 'renew' ? revisionOf(await direct.acquire(claim)) : 0;
      let changed = false;
      const slow = await passingOn(etcd, {
        async before(path) {
          if (path !== '/v3/kv/txn' || changed) return;
          changed = true;
          if (method === 'acquire') await direct.acquire({ ...claim, holder: 'ny-2' });
          else await etcd.control('del', `lanekeeper/faults-${number}/alive/ny`);
        },
      });
      try {
        const one = store({ endpoints: [slow.url], timeoutMs: 10_000 });
        const result = await (method === 'acquire' ? one.acquire(claim) : one.renew(claim, revision));
        expect(changed).toBe(true);
        expect(result).toMatchObject({ kind: 'refused', reason });
      } finally {
        slow.close();
      }
    });
  });

  it('permits no takeover because a key vanished: a stuck leader revokes leases that are being renewed', async () => {
    const [one, la] = [store(), store()];
    const first = revisionOf(await one.acquire({ ...claim, ttlMs: 3000 }));
    const revision = revisionOf(await la.acquire({ ...claim, dataCenter: 'la', holder: 'la-1' }));
    await etcd.control('del', `lanekeeper/faults-${number}/alive/ny`);
    expect((await la.read()).leases).toMatchObject([{ state: 'held' }, { dataCenter: 'ny', state: 'expired' }]);
    const take = { kind: 'take', term: 1, from: 'ny', to: 'la', holder: 'la-1', revision, forced: false } as const;
    const refused = await la.succeed({ ...take, fromRevision: first });
    expect(refused).toMatchObject({ kind: 'refused', reason: 'still-held' });
    await expect
      .poll(async () => (await la.succeed({ ...take, fromRevision: first })).kind, { timeout: 10_000 })
      .toBe('succeeded');
  });

  it('ends a lease in time also when etcd keeps its key for longer', async () => {
    const [one, la] = [store(), store()];
    // etcd grants no lease shorter than two seconds.
    await one.acquire({ ...claim, ttlMs: 100 });
    await expect.poll(async () => (await la.read()).leases[0]?.state).toBe('expired');
    expect(await etcd.control('get', `lanekeeper/faults-${number}/alive/ny`)).toContain('alive/ny');
  });

  it('is asked again when it wants to know anew who asks', async () => {
    const one = store();
    await one.read();
    await etcd.control('role', 'add', `other-${number}`);
    expect((await one.read()).term).toBe(1);
    expect(revisionOf(await one.acquire(claim))).toBe(1);
  });

  it('refuses who does not belong, and says what to do', async () => {
    const { login, tls } = etcd.access;
    await expect(store({ login: null }).read()).rejects.toThrow(/Set leases\.user/);
    await expect(store({ login: { user: 'lanekeeper', password: 'wrong' } }).read()).rejects.toThrow(
      /refuses leases\.user/,
    );
    await expect(store({ tls: {} }).read()).rejects.toThrow(/certificate/i);
    await expect(store({ tls: tls.ca === undefined ? {} : { ca: tls.ca } }).read()).rejects.toThrow();
    await etcd.control('user', 'add', `nobody-${number}:${login?.password}`);
    const nobody = { user: `nobody-${number}`, password: login?.password ?? '' };
    await expect(store({ login: nobody }).read()).rejects.toThrow(/grant-permission/);
  });
});

/** Passes every question on to the first member; `before` comes first, and without `answers` nothing comes back. */
async function passingOn(
  etcd: TestEtcd,
  { before, answers }: { before?: (path: string) => Promise<void>; answers?: (path: string) => boolean },
): Promise<{ readonly url: string; close(): void }> {
  const { ca, cert, key } = etcd.access.tls;
  const dispatcher = new Agent({ connect: { ca, cert, key } });
  const server: Server = createServer(async (asked, response) => {
    const path = asked.url ?? '';
    const { authorization } = asked.headers;
    const headers = authorization === undefined ? {} : { authorization };
    await before?.(path);
    const answer = await request(`${etcd.endpoints[0]}${path}`, { method: 'POST', headers, body: asked, dispatcher });
    const text = await answer.body.text();
    if (answers?.(path) ?? true) response.writeHead(answer.statusCode).end(text);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close().closeAllConnections();
      void dispatcher.destroy();
    },
  };
}
