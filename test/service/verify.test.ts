/** `verify` on two real clusters: quiet and under traffic, and with differences put there on purpose. */
import { connect, type VerifyOptions, type VerifyResult, verifyTables } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyPair, lease, publish } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';

const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  'public.Odd "Names"': { class: 'system-of-record', account: 'account' },
  products: { class: 'read-only', feeder: 'ny' },
} as const;

/** The columns stand in another order in `la`, as after years of migrations, and its sessions print dates differently. */
const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text, n int NOT NULL DEFAULT 0);
  CREATE TABLE orders (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text, at timestamptz,
    amount numeric, bytes bytea, doubled int GENERATED ALWAYS AS (2) STORED);
  CREATE TYPE mood AS ENUM ('ok', 'so so');
  CREATE TABLE "Odd ""Names""" ("The Key" text, mood mood, account text NOT NULL, x double precision, PRIMARY KEY ("The Key", mood));
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await runSql(
    la.urls.owner,
    `ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ADD COLUMN note text;
    ALTER DATABASE ${la.database.name} SET DateStyle = 'German'; ALTER DATABASE ${la.database.name} SET bytea_output = 'escape';
    ALTER DATABASE ${la.database.name} SET extra_float_digits = -3`,
  );
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
  await seed(ny, 'n');
  await seed(la, 'l');
  await runSql(
    ny.urls.application,
    `INSERT INTO "Odd ""Names""" SELECT 'k"' || n, 'so so', 'n1', 1.0 / n FROM generate_series(1, 50) n`,
  );
  await publish(ny, "INSERT INTO products SELECT 's' || n, 'thing' FROM generate_series(1, 700) n");
  // It waits for what is on its way by itself.
  if (!(await verify()).clean) throw new Error('the seed did not arrive');
});
afterAll(() => pair?.stop());

async function seed(dc: TestDataCenter, prefix: string): Promise<void> {
  await runSql(
    dc.urls.application,
    `
    INSERT INTO accounts SELECT '${prefix}' || n, n || '@x', 0 FROM generate_series(1, 500) n;
    INSERT INTO orders (account_id, note, at, amount, bytes)
      SELECT '${prefix}' || 1 + n % 500, repeat('ä', n % 7), now(), n / 3.0, '\\x00ff' FROM generate_series(1, 3000) n;`,
  );
}

async function verify(options: Partial<VerifyOptions> = {}): Promise<Extract<VerifyResult, { kind: 'verified' }>> {
  const result = await verifyTables({
    configuration: ny.configuration,
    here: 'ny',
    there: 'la',
    connect: (dc) => (applicationName) => connect(pair.dc(dc).urls.agent, { applicationName }),
    rowsPerChunk: 700,
    ...options,
  });
  if (result.kind !== 'verified') throw new Error(JSON.stringify(result));
  return result;
}

/** As nothing but a superuser can: past the fence and past replication. */
const tamper = (dc: TestDataCenter, sql: string) =>
  runSql(dc.urls.superuser, `SET session_replication_role = replica; ${sql}`);

async function quietly(dc: TestDataCenter, sql: string): Promise<void> {
  // A change under a replication origin is not sent on by `origin = none`.
  await runSql(
    dc.urls.superuser,
    `SELECT pg_replication_origin_create('tamper') WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'tamper');
    SELECT pg_replication_origin_session_setup('tamper'); SET session_replication_role = replica; ${sql}`,
  );
}

test('equal tables are equal whatever the order of columns and the settings of sessions', async () => {
  const progress: string[] = [];
  const result = await verify({ onProgress: (event) => progress.push(event.table) });
  expect(result.differences).toEqual([]);
  expect(result.tables.map(({ table, kind, rowsHere, rowsThere }) => [table, kind, rowsHere, rowsThere])).toEqual([
    ['lanekeeper.deed', 'equal', 1000, 1000],
    ['lanekeeper.acceptance', 'equal', 0, 0],
    ['lanekeeper.succession', 'equal', 0, 0],
    ['lanekeeper.adoption', 'equal', 0, 0],
    ['lanekeeper.claim', 'equal', 0, 0],
    ['lanekeeper.outcome', 'equal', 0, 0],
    // What la has said that it reads.
    ['lanekeeper.subscribed', 'equal', 16, 16],
    ['lanekeeper.homed_as', 'equal', 0, 0],
    ['lanekeeper.stranded', 'equal', 0, 0],
    ['lanekeeper.repair', 'equal', 0, 0],
    ['lanekeeper.copy', 'equal', 0, 0],
    ['public.Odd "Names"', 'equal', 50, 50],
    ['public.accounts', 'equal', 1000, 1000],
    ['public.orders', 'equal', 6000, 6000],
    ['public.products', 'equal', 700, 700],
  ]);
  expect(new Set(progress)).toContain('public.orders');
});

test('under traffic, rows on their way are not reported, nor is one that never stands still', async () => {
  let stop = false;
  let writes = 0;
  const traffic = [
    [ny, 'n'],
    [la, 'l'],
  ] as const;
  const writers = traffic.map(async ([dc, prefix]) => {
    const client = new Client({ connectionString: dc.urls.application });
    await client.connect();
    while (!stop) {
      await client.query('UPDATE accounts SET n = n + 1 WHERE id = $1', [`${prefix}1`]);
      await client.query("INSERT INTO orders (account_id, note, at) VALUES ($1, 'new', now())", [`${prefix}2`]);
      await client.query('DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE account_id = $1)', [
        `${prefix}3`,
      ]);
      writes += 3;
    }
    await client.end();
  });
  try {
    for (let round = 0; round < 4; round += 1) {
      const result = await verify();
      expect(result.differences).toEqual([]);
      expect(result.tables.filter((verdict) => verdict.kind !== 'equal')).toEqual([]);
    }
  } finally {
    stop = true;
    await Promise.all(writers);
  }
  expect(writes).toBeGreaterThan(300);
});

test('a row that differs is named with both values, also while it is being written', async () => {
  await quietly(la, "UPDATE orders SET note = 'other' WHERE id = (SELECT min(id) FROM orders WHERE account_id = 'n7')");
  await quietly(la, "DELETE FROM products WHERE sku = 's10'");
  await quietly(la, "INSERT INTO lanekeeper.deed VALUES ('ghost', 'la', 1, 0)");
  await quietly(la, `UPDATE "Odd ""Names""" SET x = x + 1e-16 WHERE "The Key" = 'k"7'`);
  let stop = false;
  const client = new Client({ connectionString: ny.urls.application });
  await client.connect();
  await quietly(la, "UPDATE accounts SET email = 'tampered' WHERE id = 'n9'");
  const writer = (async () => {
    while (!stop) await client.query("UPDATE accounts SET n = n + 1 WHERE id = 'n8'");
  })();
  const result = await verify().finally(() => {
    stop = true;
  });
  await writer;
  await client.end();
  expect(result.clean).toBe(false);
  const found = result.differences.map(({ table, kind, key, columns }) => ({ table, kind, key, columns }));
  expect(found).toEqual([
    { table: 'lanekeeper.deed', kind: 'only-there', key: { account: 'ghost' }, columns: expect.any(Array) },
    {
      table: 'public.Odd "Names"',
      kind: 'differs',
      key: { 'The Key': 'k"7', mood: 'so so' },
      columns: [{ name: 'x', here: '0.14285714285714285', there: expect.stringMatching(/^0\.142857142857/) }],
    },
    {
      table: 'public.accounts',
      kind: 'differs',
      key: { id: 'n9' },
      columns: [{ name: 'email', here: '9@x', there: 'tampered' }],
    },
    {
      table: 'public.orders',
      kind: 'differs',
      key: { id: expect.any(String) },
      columns: [{ name: 'note', here: 'ääääää', there: 'other' }],
    },
    { table: 'public.products', kind: 'only-here', key: { sku: 's10' }, columns: expect.any(Array) },
  ]);
});

test('a whole table missing over there takes little memory and stops at the limit', async () => {
  await quietly(la, 'DELETE FROM products');
  const result = await verify({ tables: ['public.products'], differencesMax: 20 });
  expect(result.differences).toHaveLength(20);
  expect(result.tables).toMatchObject([{ kind: 'differs', reason: expect.stringContaining('given up') }]);
});

test('what a stopped stream keeps back is called undecided, not different', async () => {
  await runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_homed DISABLE');
  await runSql(ny.urls.application, "UPDATE accounts SET email = 'late' WHERE id = 'n3'");
  const result = await verify({ tables: ['public.accounts'], settleMs: 300 });
  expect(result.tables).toMatchObject([
    { kind: 'unsettled', reason: 'the homed stream from ny to la does not come on' },
  ]);
  await runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_homed ENABLE');
  expect((await verify({ tables: ['public.accounts'] })).differences.map((difference) => difference.key)).toEqual([
    { id: 'n9' },
  ]);
});

test('tables that cannot be compared are said', async () => {
  await tamper(la, 'ALTER TABLE orders ADD COLUMN extra int');
  const result = await verify({ tables: ['public.orders'] });
  expect(result).toMatchObject({
    clean: false,
    tables: [{ kind: 'not-comparable', reason: 'only one side has the column extra' }],
  });
});
