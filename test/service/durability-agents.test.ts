/**
 * Durability with agents: they say whom `remote` commits wait for. In `ny` the database waits; the agent of `la` may not tell it to, so
 * applications there wait themselves.
 */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
} as const;

let pair: TestPair;
let agents: TestAgents;
const sdks = new Map<string, Lanekeeper>();

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  await applyPair(pair);
  await runSql(
    pair.dc('la').urls.superuser,
    'REVOKE ALTER SYSTEM ON PARAMETER synchronous_standby_names FROM lanekeeper_agent',
  );
  agents = await testAgents(pair);
  for (const name of pair.names) {
    await agents.start(name);
    const env = { ...pair.dc(name).env, DATABASE_URL: pair.dc(name).urls.application };
    sdks.set(name, await createLanekeeper({ config: agents.configuration(name), env }));
  }
  await agents.untilReady(...pair.names);
});
afterAll(async () => {
  for (const sdk of sdks.values()) await sdk.close();
  await agents?.stop();
  await pair?.stop();
});

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

let number = 0;
/** What a fresh order in its own data center has reached. */
async function reached(dc: string): Promise<string | null> {
  number += 1;
  const sdk = sdks.get(dc) as Lanekeeper;
  const pool = sdk.pool({ max: 1 });
  const client = await pool.connect();
  try {
    await client.query('INSERT INTO accounts VALUES ($1) ON CONFLICT DO NOTHING', [`${dc}-a`]);
    await client.query('INSERT INTO orders VALUES ($1, $2)', [`${dc}-${number}`, `${dc}-a`]);
    return sdk.durabilityOf(client);
  } finally {
    client.release();
    await pool.end();
  }
}

async function reads(dc: string, from: string, enabled: boolean): Promise<void> {
  for (const stream of ['homed', 'rest']) {
    const verb = enabled ? 'ENABLE' : 'DISABLE';
    await runSql(pair.dc(dc).urls.superuser, `ALTER SUBSCRIPTION lanekeeper_${from}_${stream} ${verb}`);
  }
}

test.each([
  ['ny', 'la', null],
  ['la', 'ny', /permission denied.*applications wait themselves/],
] as const)(
  'in %s commits are remote while %s reads, local without it, and remote again',
  async (here, peer, problem) => {
    const inStep = async () => (await agents.status(here)).sync.waitsFor.includes(peer);
    await until('in step', inStep);
    const { sync } = await agents.status(here);
    if (problem === null) expect(sync.problem).toBe(null);
    else expect(sync.problem).toMatch(problem);
    expect(await reached(here)).toBe('remote');
    expect(
      await runSql(pair.dc(peer).urls.superuser, `SELECT FROM orders WHERE id = '${here}-${number}'`),
    ).toHaveLength(1);

    await reads(peer, here, false);
    // At first it is waited for; when the peer has been silent for too long it is let go of, and the commit is answered.
    expect(await reached(here)).toBe('local');
    // The commit is answered in the middle of that step.
    await until('nobody is waited for', async () => (await agents.status(here)).sync.waitsFor.length === 0);
    expect(await reached(here)).toBe('local');

    await reads(peer, here, true);
    await until('in step again', inStep);
    expect(await reached(here)).toBe('remote');
  },
);

test('a database that was killed waits again before anything is called remote', async () => {
  await until('in step', async () => (await agents.status('ny')).sync.waitsFor.includes('la'));
  await pair.dc('ny').cluster.kill();
  await pair.dc('ny').cluster.start();
  let last: string | null = null;
  await until('remote again', async () => {
    last = await reached('ny').catch(() => null);
    if (last !== null) {
      const [row] = await runSql<{ members: number }>(
        pair.dc('ny').urls.agent,
        'SELECT members FROM lanekeeper.sync_state()',
      );
      if (last === 'remote') expect(row?.members).toBe(1);
    }
    return last === 'remote';
  });
});
