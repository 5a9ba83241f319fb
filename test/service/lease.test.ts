import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { postgresLeaseStore } from '@lanekeeper/server/lease';
import type { LeaseClaim } from 'lanekeeper/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runSql, type TestDatabase, testDatabase } from '../support/clusters.ts';
import { leaseStoreConforms } from '../support/lease-conformance.ts';
import { ModelLeaseStore, modelLeaseStore } from '../support/model-lease-store.ts';

let database: TestDatabase & { stop(): Promise<void> };
beforeAll(async () => {
  database = await testDatabase();
});
afterAll(() => database?.stop());

const store = (cluster: string, timeoutMs = 1500) =>
  postgresLeaseStore({ url: database.urls.agent, cluster, timeoutMs });
const claim: LeaseClaim = {
  dataCenter: 'ny',
  holder: 'ny-1',
  incarnation: { systemIdentifier: '7', timeline: 1, generation: 1 },
  positions: { log: '0/1', received: {}, applied: {} },
  ttlMs: 60_000,
  inSync: ['la'],
};

describe('the lease store on PostgreSQL', () => {
  it('creates its schema once when many ask first at the same moment', async () => {
    const stores = Array.from({ length: 8 }, () => store('first'));
    const views = await Promise.all(stores.map((one) => one.read()));
    expect(views).toEqual(stores.map(() => ({ term: 1, leases: [], successions: [] })));
    await Promise.all(stores.map((one) => one.close()));
  });

  leaseStoreConforms(store);

  it('keeps clusters that share a witness apart', async () => {
    const [one, other] = [store('one'), store('other')];
    await one.acquire(claim);
    expect((await other.read()).leases).toEqual([]);
    await Promise.all([one.close(), other.close()]);
  });

  it.each([
    ['a log position', `positions = jsonb_set(positions, '{log}', '"nonsense"')`],
    ['what was received', `positions = jsonb_set(positions, '{received}', '{"la": 5}')`],
    ['what was applied', `positions = positions - 'applied'`],
    ['a revision', 'revision = -1'],
    ['a timeline', 'timeline = 0'],
    ['a holder', `holder = ''`],
    ['the sync set', `in_sync = '["la", "la"]'`],
    ['the time it was granted for', 'ttl_ms = -1'],
    ['a view to come that took it over', 'taken_over = 5'],
  ])('refuses an answer in which %s makes no sense', async (what, change) => {
    const cluster = `nonsense ${what}`;
    const one = store(cluster);
    await one.acquire(claim);
    await runSql(database.urls.agent, `UPDATE lanekeeper_lease.lease SET ${change} WHERE cluster = $1`, [cluster]);
    await expect(one.read()).rejects.toThrow('nonsense');
    await one.close();
  });

  it('refuses a history with a gap', async () => {
    const one = store('gap');
    await one.acquire(claim);
    await runSql(
      database.urls.agent,
      `INSERT INTO lanekeeper_lease.view (cluster, term, kind, from_dc, to_dc) VALUES ('gap', 3, 'take', 'ny', 'la')`,
    );
    await expect(one.read()).rejects.toThrow('nonsense');
    await one.close();
  });

  it('brings a store of the version before up to this one in place, and serves agents of both', async () => {
    const other = await testDatabase();
    const old = '../support/lease-store-1.sql';
    await runSql(other.urls.agent, await readFile(new URL(old, import.meta.url), 'utf8'));
    const one = postgresLeaseStore({ url: other.urls.agent, cluster: 'shop' });
    const { leases, ...view } = await one.read();
    expect(view).toEqual({ term: 1, successions: [] });
    expect(leases).toEqual([{ ...claim, ttlMs: 6000, inSync: [], revision: 7, state: 'expired', takenOver: null }]);
    const result = await one.acquire({ ...claim, holder: 'ny-2' });
    expect(result).toMatchObject({ kind: 'held', revision: 8 });
    const { inSync: _, ...oldClaim } = claim;
    const asked = ['shop', JSON.stringify({ ...oldClaim, holder: 'ny-2' }), 8, null, null];
    await runSql(other.urls.agent, 'SELECT lanekeeper_lease.take($1, $2, $3, $4, $5)', asked);
    await runSql(other.urls.agent, 'SELECT lanekeeper_lease.release($1, $2, $3, $4)', ['shop', 'ny', 'ny-2', 9]);
    expect((await one.read()).leases).toMatchObject([{ state: 'released', revision: 10, inSync: [] }]);
    await one.close();
    await other.stop();
  });

  it('refuses a term below the first', async () => {
    const one = store('terms');
    await one.acquire(claim);
    await runSql(
      database.urls.agent,
      'ALTER TABLE lanekeeper_lease.view DROP CONSTRAINT view_term_check, DROP CONSTRAINT view_whole',
    );
    await runSql(database.urls.agent, `UPDATE lanekeeper_lease.view SET term = 0 WHERE cluster = 'terms'`);
    await expect(one.read()).rejects.toThrow('nonsense');
    await one.close();
  });

  it('gives up in time when a lock keeps it waiting, and goes on when that is gone', async () => {
    const one = store('locked', 300);
    const { kind } = await one.acquire(claim);
    expect(kind).toBe('held');
    const blocker = runSql(
      database.urls.agent,
      'DO $$ BEGIN LOCK TABLE lanekeeper_lease.lease IN EXCLUSIVE MODE; PERFORM pg_sleep(1.5); END $$',
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    const beganMs = performance.now();
    await expect(one.acquire(claim)).rejects.toThrow();
    expect(performance.now() - beganMs).toBeLessThan(1200);
    await blocker;
    expect((await one.acquire(claim)).kind).toBe('held');
    await one.close();
  });

  it('gives up in time on a host that takes connections and never answers', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const dead = postgresLeaseStore({ url: `postgres://u:p@127.0.0.1:${port}/d`, cluster: 'dead', timeoutMs: 200 });
    await expect(dead.read()).rejects.toThrow('did not answer within 200 ms');
    await expect(dead.acquire(claim)).rejects.toThrow();
    await dead.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('fails at once while nobody listens, and connects anew after the witness came back', async () => {
    const one = store('restart');
    await one.acquire(claim);
    await database.cluster.kill();
    await expect(one.read()).rejects.toThrow();
    await expect(one.read()).rejects.toThrow();
    await database.cluster.start();
    const again = store('restart');
    await expect
      .poll(() =>
        again.read().then(
          ({ leases }) => leases.length,
          () => 'unreachable',
        ),
      )
      .toBe(1);
    await Promise.all([one.close(), again.close()]);
  });
});

describe('the model of the lease store', () => {
  const models = new Map<string, ModelLeaseStore>();
  leaseStoreConforms((cluster) => {
    const model = models.get(cluster) ?? new ModelLeaseStore();
    models.set(cluster, model);
    return modelLeaseStore(model);
  });
});
