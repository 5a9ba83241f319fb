/** What somebody has set up wrongly is refused, and says what to do: names, stores, tokens. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { WrittenConfiguration } from 'lanekeeper/config';
import { createKeyRing, mintAgentToken, mintEdgeToken } from 'lanekeeper/session';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const until = { timeout: 20_000, interval: 100 };

let pair: TestPair;
let agents: TestAgents | null = null;
beforeAll(async () => {
  const tables = { accounts: { class: 'system-of-record', account: 'id', root: true } } as const;
  pair = await testPair({ schema, configuration: { tables } });
  await applyPair(pair);
});
afterEach(async () => {
  await agents?.stop();
  agents = null;
});
afterAll(() => pair?.stop());

const agentsWith = async (change: (written: WrittenConfiguration) => WrittenConfiguration): Promise<TestAgents> => {
  agents = await testAgents(pair, { change });
  return agents;
};
const problemsOf = async (started: TestAgents, dc: string): Promise<string> =>
  (await started.status(dc).catch(() => null))?.problems.join('; ') ?? '';
const writes = (dc: string) =>
  runSql(pair.dc(dc).urls.application, `INSERT INTO accounts VALUES (gen_random_uuid()::text)`).then(
    () => 'written',
    (error: { code?: string }) => error.code,
  );

describe('a lease is not given', () => {
  test('to an agent of another cluster: it would be a second lease for the same rows', async () => {
    const wrong = await agentsWith((written) => ({ ...written, cluster: 'shpo' }));
    await wrong.start('ny');
    await expect.poll(() => problemsOf(wrong, 'ny'), until).toMatch(/another cluster.*see `cluster`.*it is shop\/ny/);
    expect(await writes('ny')).toBe('LK003');
    const known = await runSql(pair.witness.url, `SELECT FROM lanekeeper_lease.lease WHERE cluster = 'shpo'`);
    expect(known).toEqual([]);
  });

  test('to a second data center of the same name, whose database is another one', async () => {
    const mirrored = await agentsWith((written) => {
      const { ny, la } = written.dataCenters;
      if (ny === undefined || la === undefined) throw new Error('no pair');
      return {
        ...written,
        dataCenters: { ny: { ...ny, database: la.database }, la: { ...la, database: ny.database } },
      };
    });
    const child = await mirrored.spawn('ny');
    try {
      await expect.poll(() => problemsOf(mirrored, 'ny'), until).toMatch(/another data center.*it is shop\/la/);
      expect(await writes('la')).toBe('LK003');
    } finally {
      child.signal('SIGKILL');
      await child.exited;
    }
  });

  test('by a store that answers nonsense', async () => {
    const server = createServer((_, response) => response.end('<html>It works!</html>')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const endpoints = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${port + 1}`];
      const astray = await agentsWith((written) => ({ ...written, leases: { store: 'etcd', endpoints } }));
      await astray.start('ny');
      await expect.poll(() => problemsOf(astray, 'ny'), until).toContain('lease store');
      await expect
        .poll(() => astray.log.find(({ details }) => /nonsense/.test(String(details.error)))?.details.error, until)
        .toMatch(/`leases` leads to the right store/);
      expect(await writes('ny')).toBe('LK003');
    } finally {
      await closed(server);
    }
  });
});

describe('an agent refuses a token', () => {
  const statusWith = async (url: string, token: string | null) => {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(new URL('/status', url), { headers });
    return { status: response.status, body: (await response.json()) as { error?: { code: string; message: string } } };
  };

  test('that is stale, from the future, of another cluster or purpose, or none', async () => {
    const right = await agentsWith((written) => written);
    const { url } = await right.start('ny');
    const { env, configuration } = pair.dc('la');
    const ring = createKeyRing(configuration, { env });
    const other = createKeyRing({ ...configuration, cluster: 'shpo' }, { env });
    const now = Date.now();
    await expect.poll(async () => (await statusWith(url, mintAgentToken(ring, Date.now()))).status, until).toBe(200);
    const cases = [
      [mintAgentToken(ring, now - 120_000), /expired: a token lasts 30 s.*compare the clocks/],
      [mintAgentToken(ring, now + 600_000), /from the future: compare the clocks/],
      [mintAgentToken(other, now), /another cluster: `cluster` must be the same/],
      [mintEdgeToken(ring, now), /not for this purpose\.$/],
      [`${mintAgentToken(ring, now).slice(0, -4)}AAAA`, /not one of ours, or not for this purpose\.$/],
      [null, /not one of ours, or not for this purpose\.$/],
    ] as const;
    for (const [token, message] of cases) {
      const { status, body } = await statusWith(url, token);
      expect(status).toBe(401);
      expect(body.error).toEqual({ code: 'LK_BAD_TOKEN', message: expect.stringMatching(message) });
    }
  });
});

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
