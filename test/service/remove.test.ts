/** `remove` puts a database back to what it was before `apply`, sequences apart. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setStandbyNames } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE accounts (id bigserial PRIMARY KEY, email text);
  CREATE TABLE visits (at date, account_id bigint NOT NULL, PRIMARY KEY (at, account_id)) PARTITION BY RANGE (at);
  CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
  CREATE TABLE words (day date, word text, PRIMARY KEY (day, word)) PARTITION BY RANGE (day);
  CREATE TABLE words_2026 PARTITION OF words FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
  INSERT INTO accounts (email) VALUES ('a@x');
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  visits: { class: 'system-of-record', account: 'account_id' },
  words: { class: 'system-of-reference' },
} as const;
const claims = { email: { table: 'accounts', column: 'email', normalise: 'none' } } as const;

/** Everything in a database that is not a row of the user's. */
const objects = `
  SELECT 'schema ' || nspname AS object FROM pg_namespace WHERE nspname !~ '^pg_toast|^pg_temp' UNION ALL
  SELECT 'trigger ' || tgname || ' ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal UNION ALL
  SELECT 'publication ' || pubname FROM pg_publication UNION ALL
  SELECT 'subscription ' || subname FROM pg_subscription UNION ALL
  SELECT 'waits for ' || current_setting('synchronous_standby_names') UNION ALL
  SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL
  SELECT 'origin ' || roname FROM pg_replication_origin UNION ALL
  SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION ALL
  SELECT 'table ' || oid::regclass || coalesce(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace
  ORDER BY 1`;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
const before = new Map<string, unknown>();

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, claims } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  for (const dc of [ny, la]) {
    await writeFile(join(dc.cluster.dir, 'lanekeeper.json'), JSON.stringify(dc.written));
    before.set(dc.name, await runSql(dc.urls.superuser, objects));
  }
  await applyPair(pair);
  // As its agent leaves it.
  expect((await withAgent(ny, (client) => setStandbyNames(client, []))).kind).toBe('set');
});
afterAll(() => pair?.stop());

async function withAgent<T>({ urls }: TestDataCenter, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: urls.agent });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function lanekeeper(
  { cluster, env }: TestDataCenter,
  ...argv: string[]
): Promise<{ exitCode: number; stdout: string }> {
  let stdout = '';
  const write = (text: string) => (stdout += text);
  const exitCode = await run(argv, {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: join(cluster.dir, 'lanekeeper.json') },
    directory: cluster.dir,
    stdout: { write },
    stderr: { write },
  });
  return { exitCode, stdout };
}

test('it is shown first, and nothing is done', async () => {
  const applied = await runSql(ny.urls.superuser, objects);
  const { exitCode, stdout } = await lanekeeper(ny, 'remove');
  expect(exitCode).toBe(0);
  expect(stdout).toContain('- take back whom commits wait for');
  expect(stdout).toContain('- stop reading lanekeeper_la_homed');
  expect(stdout).toContain('- drop the slot lanekeeper_la_homed (another data center reads it at this moment');
  expect(stdout).toContain('- take the fence of public.visits_2026 down');
  expect(stdout).toContain('- drop the schema lanekeeper, with the deeds of 257 accounts');
  expect(stdout).toContain('! public.accounts_id_seq go on counting in steps of 8');
  expect(stdout).toMatch(/\d+ steps\. `lanekeeper remove --yes` does it\.\n$/);
  expect(await runSql(ny.urls.superuser, objects)).toEqual(applied);
});

test('then it is done, in one data center and in the other, and once more finds nothing', async () => {
  const first = await lanekeeper(ny, 'remove', '--yes');
  expect(first).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/✓ ny: \d+ steps done\n$/) });
  expect(await runSql(ny.urls.superuser, objects)).toEqual(before.get('ny'));
  // Its slots in ny are gone already, and that keeps nobody from leaving.
  expect(await lanekeeper(la, 'remove', '--yes')).toMatchObject({ exitCode: 0 });
  expect(await runSql(la.urls.superuser, objects)).toEqual(before.get('la'));
  expect((await lanekeeper(ny, 'remove', '--yes')).stdout).toContain('✓ ny: there was nothing to remove');
  expect(await runSql(ny.urls.owner, 'SELECT email FROM accounts')).toEqual([{ email: 'a@x' }]);
});

test('applied again, everything works again; and a peer that cannot be reached is left out and said', async () => {
  await applyPair(pair);
  await la.cluster.stop();
  const { exitCode, stdout } = await lanekeeper(ny, 'remove', '--yes');
  expect(exitCode).toBe(0);
  expect(stdout).toContain(
    "left behind: over there, when it can be reached again: SELECT pg_drop_replication_slot('lanekeeper_ny_homed')",
  );
  expect(await runSql(ny.urls.superuser, objects)).toEqual(before.get('ny'));
  await la.cluster.start();
}, 120_000);
