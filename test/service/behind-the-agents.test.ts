/** What somebody with more rights changes while the agents look away: they notice, say so, and claim nothing that is not so. */
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { LocalDatabase } from '../../packages/server/src/agent/database.ts';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually as eventuallyOf } from '../support/eventually.ts';
import { type TestPair, testPair } from '../support/pair.ts';

let pair: TestPair;
let agents: TestAgents;

beforeAll(async () => {
  pair = await testPair({
    schema: `CREATE TABLE accounts (id text PRIMARY KEY, note text);
      CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
      GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO lanekeeper_application;`,
    configuration: {
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        orders: { class: 'system-of-record', account: 'account_id' },
      },
    },
  });
  await applyPair(pair);
  agents = await testAgents(pair);
});
afterEach(() => agents?.stop());
afterAll(() => pair?.stop());

const superuser = (dc: string, text: string) => runSql<Record<string, unknown>>(pair.dc(dc).urls.superuser, text);
const eventually = <T>(what: string, look: () => Promise<T>) => eventuallyOf(agents, what, look, 30_000);
const inSync = (dc: string, members: readonly string[]) =>
  eventually(`the sync set of ${dc} is ${members.join() || 'nobody'}`, async () => {
    const { recorded, waitsFor } = (await agents.status(dc)).sync;
    expect({ recorded, waitsFor }).toEqual({ recorded: members, waitsFor: members });
  });

test('a list of standbys that somebody replaced is put right, and nobody is called in sync meanwhile', async () => {
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await inSync('ny', ['la']);
  await superuser('ny', 'ALTER SYSTEM RESET synchronous_standby_names');
  await superuser('ny', 'SELECT pg_reload_conf()');
  await eventually('the list is ours again', async () =>
    expect(await superuser('ny', 'SHOW synchronous_standby_names')).toEqual([
      { synchronous_standby_names: expect.stringMatching(/^FIRST 1 \(.*lanekeeper_la_homed.*\)$/) },
    ]),
  );
  await inSync('ny', ['la']);
});

test('a table that one does not read any more takes it out of the sync set, and keeps switchovers away', async () => {
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await inSync('ny', ['la']);
  // Dropped from the list of la without a word, its worker is well.
  await superuser('ny', 'ALTER PUBLICATION lanekeeper_homed DROP TABLE orders');
  await superuser('la', 'ALTER SUBSCRIPTION lanekeeper_ny_homed REFRESH PUBLICATION WITH (copy_data = false)');
  await superuser('ny', 'ALTER PUBLICATION lanekeeper_homed ADD TABLE orders');
  await inSync('ny', []);
  const refused = await agents.command('ny', 'switchover', '--from', 'ny', '--to', 'la');
  expect(refused).toMatchObject({ exitCode: 1 });
  expect(refused.stdout + refused.stderr).toContain('may lack some of what was written here');
  await superuser('la', 'ALTER SUBSCRIPTION lanekeeper_ny_homed REFRESH PUBLICATION WITH (copy_data = false)');
  // It reads on, and what was written meanwhile is missing: only a comparison shows whether there is anything.
  await eventually('only that is left', async () => {
    const { reasons } = (await agents.status('la')).peers.ny as { reasons: readonly string[] };
    expect(reasons).toEqual([expect.stringContaining('left a table out since the last clean `verify`')]);
  });
  await inSync('ny', []);
  expect(await agents.command('la', 'verify')).toMatchObject({ exitCode: 0 });
  await inSync('ny', ['la']);
});

test('a table that is not published any more takes everybody out of the sync set who read it', async () => {
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await inSync('ny', ['la']);
  await superuser('ny', 'ALTER PUBLICATION lanekeeper_homed DROP TABLE accounts');
  await inSync('ny', []);
  await expect
    .poll(async () => (await agents.status('ny')).problems.join())
    .toContain('public.accounts is read there and not published');
  await superuser('ny', 'ALTER PUBLICATION lanekeeper_homed ADD TABLE accounts');
  await inSync('ny', ['la']);
});

test('an agent that could not bring a takeover to its cut does not begin one, and says why', async () => {
  const right = 'EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean)';
  await superuser('la', `REVOKE ${right} FROM lanekeeper_agent`);
  try {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await inSync('la', ['ny']);
    await expect
      .poll(async () => (await agents.status('la')).problems)
      .toContainEqual(expect.stringMatching(/^nothing can be taken over: /));
    const refused = await agents.call('la', 'la', {
      method: 'POST',
      path: '/v1/failovers',
      body: { from: 'ny', force: true },
    });
    expect(refused.body).toMatchObject({ kind: 'refused', reason: expect.stringContaining('doctor') });
  } finally {
    await superuser('la', `GRANT ${right} TO lanekeeper_agent`);
  }
});

test('a database that only turns new sessions away while others write on is not taken for gone', async () => {
  const { urls, cluster } = pair.dc('ny');
  const writer = new Client({ connectionString: urls.application });
  await writer.connect();
  const database = new LocalDatabase({ url: urls.agent, instance: 'one', connections: 2, statementMs: 2_000 });
  const newcomer = async () => {
    const client = new Client({ connectionString: urls.application });
    await client.connect().finally(() => client.end());
  };
  try {
    await database.run((client) => client.query('SELECT 1'));
    // A smart shutdown.
    process.kill(cluster.pid as number, 'SIGTERM');
    await expect.poll(() => newcomer().catch(({ code }) => code), { timeout: 10_000 }).toBe('57P03');
    await writer.query('SELECT 1');
    await database.probe(1_000);
    await Promise.all([writer.end(), database.close()]);
    const stopped = new LocalDatabase({ url: urls.agent, instance: 'two', connections: 2, statementMs: 2_000 });
    await expect
      .poll(() => stopped.probe(1_000).catch(({ code }) => code), { timeout: 20_000 })
      .toMatch(/^(57P03|ECONNREFUSED)$/);
    await stopped.close();
  } finally {
    await cluster.stop();
  }
});
