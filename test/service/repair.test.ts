/** Rows that differ, put right in the stream: by function, under concurrent writes, and by `verify --repair`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { resendRow, verifyTables } from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair, lease, publish } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';
import { settled } from '../support/settled.ts';
import { connectTo, using } from '../support/taken-over.ts';

const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  products: { class: 'read-only', feeder: 'ny' },
} as const;
const claims = { email: { table: 'accounts', column: 'email', normalise: 'lower' } } as const;

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE, n int NOT NULL DEFAULT 0);
  CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial int GENERATED ALWAYS AS (7) STORED,
    account_id text NOT NULL REFERENCES accounts, note text);
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, claims } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  for (const name of pair.names) {
    const { written, cluster } = pair.dc(name);
    await writeFile(join(cluster.dir, 'lanekeeper.json'), JSON.stringify(written));
  }
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
  await runSql(ny.urls.application, "INSERT INTO accounts (id) SELECT 'n' || g FROM generate_series(1, 20) g");
  await runSql(la.urls.application, "INSERT INTO accounts (id) SELECT 'l' || g FROM generate_series(1, 20) g");
  await runSql(
    ny.urls.application,
    "INSERT INTO orders (account_id, note) SELECT 'n' || g, 'a' FROM generate_series(1, 20) g",
  );
  await publish(ny, "INSERT INTO products VALUES ('s1', 'thing'), ('s2', 'other')");
  await runSql(ny.urls.application, "SELECT lanekeeper.record_outcome('r1', 'n1', '1')");
  for (const dc of [ny, la]) {
    await runSql(
      dc.urls.agent,
      `SELECT lanekeeper.claim_value('email', v, 'n1') FROM unnest(ARRAY['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) v
        WHERE (SELECT home FROM lanekeeper.claim_holder('email', v)) = lanekeeper.dc()`,
    );
  }
  await settled({ ny: ny.urls.superuser, la: la.urls.superuser });
}, 60_000);
afterAll(() => pair?.stop());

/** As nothing but a superuser can: past the fence, and under an origin that is not sent on. */
const quietly = (dc: TestDataCenter, sql: string) =>
  runSql(
    dc.urls.superuser,
    `SELECT pg_replication_origin_create('tamper') WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'tamper');
    SELECT pg_replication_origin_session_setup('tamper'); SET session_replication_role = replica; ${sql}`,
  );

async function different() {
  const result = await verifyTables({
    configuration: ny.configuration,
    here: 'ny',
    there: 'la',
    connect: connectTo(pair),
  });
  if (result.kind !== 'verified') throw new Error(JSON.stringify(result));
  return result.differences.map(({ table, key, kind }) => ({ table, key, kind }));
}

async function lanekeeper(dc: string, ...argv: readonly string[]) {
  const said = { stdout: '', stderr: '' };
  const { cluster, env } = pair.dc(dc);
  const exitCode = await run(argv, {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: join(cluster.dir, 'lanekeeper.json') },
    directory: cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

test('a row is sent as its home has it, however often it is written, made and deleted meanwhile', async () => {
  await quietly(la, "UPDATE accounts SET n = -1 WHERE id IN ('n1', 'n2'); DELETE FROM orders WHERE account_id = 'n3'");
  let stop = false;
  let writes = 0;
  const writers = [1, 2, 3].map((w) =>
    using(ny.urls.application, async (client) => {
      for (let i = 0; !stop; i += 1) {
        await client.query("UPDATE accounts SET n = n + 1 WHERE id = 'n1'");
        await client.query(
          'INSERT INTO orders (id, account_id, note) OVERRIDING SYSTEM VALUE VALUES (900001, $1, $2) ON CONFLICT (id) DO UPDATE SET note = excluded.note',
          ['n4', `${w} ${i}`],
        );
        if (i % 3 === 0) await client.query('DELETE FROM orders WHERE id = 900001');
        writes += 1;
      }
    }),
  );
  const outcomes = new Set<string>();
  try {
    await using(ny.urls.agent, async (client) => {
      for (let round = 0; round < 60; round += 1) {
        for (const id of ['n1', 'n2']) {
          outcomes.add(await resendRow(client, 'public.accounts', { columns: ['id'], values: [id] }));
        }
        outcomes.add(await resendRow(client, 'public.orders', { columns: ['id'], values: ['900001'] }));
      }
      const { rows } = await client.query<{ id: string }>("SELECT id FROM orders WHERE account_id = 'n3'");
      for (const { id } of rows) await resendRow(client, 'public.orders', { columns: ['id'], values: [id] });
    });
  } finally {
    stop = true;
    await Promise.all(writers);
  }
  expect(writes).toBeGreaterThan(50);
  expect([...outcomes].sort()).toEqual(['absent', 'sent']);
  expect(await different()).toEqual([]);
  expect(await runSql(la.urls.agent, 'SELECT count(*)::int AS n FROM lanekeeper.repair')).toEqual([{ n: 0 }]);
});

test('nobody but the home sends, and an epoch never falls', async () => {
  await using(la.urls.agent, async (client) => {
    expect(await resendRow(client, 'public.accounts', { columns: ['id'], values: ['n1'] })).toBe('elsewhere');
    expect(await resendRow(client, 'public.nothing', { columns: ['id'], values: ['1'] })).toBe('no-such-table');
  });
  await quietly(la, "UPDATE lanekeeper.deed SET term = 9 WHERE account = 'n5'");
  await using(ny.urls.agent, (client) =>
    resendRow(client, 'lanekeeper.deed', { columns: ['account'], values: ['n5'] }),
  );
  await settled({ ny: ny.urls.superuser, la: la.urls.superuser });
  expect(await runSql(la.urls.agent, "SELECT term FROM lanekeeper.deed WHERE account = 'n5'")).toEqual([{ term: '9' }]);
  expect(await runSql(la.urls.agent, 'SELECT kind FROM lanekeeper.incident')).toEqual([{ kind: 'deed-regress' }]);
  await using(la.urls.agent, (client) =>
    resendRow(client, 'lanekeeper.deed', { columns: ['account'], values: ['n5'] }),
  );
  await settled({ ny: ny.urls.superuser, la: la.urls.superuser });
  expect(await runSql(ny.urls.agent, "SELECT term FROM lanekeeper.deed WHERE account = 'n5'")).toEqual([{ term: '9' }]);
  await runSql(la.urls.agent, 'DELETE FROM lanekeeper.incident');
});

test('a row that cannot be put in place is an incident, and the stream goes on', async () => {
  await quietly(la, "UPDATE accounts SET email = 'taken' WHERE id = 'l1'");
  await quietly(ny, "UPDATE accounts SET email = 'taken' WHERE id = 'n6'");
  await using(ny.urls.agent, (client) => resendRow(client, 'public.accounts', { columns: ['id'], values: ['n6'] }));
  await settled({ ny: ny.urls.superuser, la: la.urls.superuser });
  expect(
    await runSql(la.urls.agent, "SELECT kind, detail ->> 'sqlstate' AS sqlstate FROM lanekeeper.incident"),
  ).toEqual([{ kind: 'repair-failed', sqlstate: '23505' }]);
  // The row that was there stayed as it was.
  expect(await runSql(la.urls.agent, "SELECT email FROM accounts WHERE id = 'n6'")).toEqual([{ email: null }]);
  await quietly(ny, "UPDATE accounts SET email = NULL WHERE id = 'n6'");
  await quietly(la, "UPDATE accounts SET email = NULL WHERE id = 'l1'");
  await runSql(la.urls.agent, 'DELETE FROM lanekeeper.incident');
  expect(await different()).toEqual([]);
});

test('verify --repair says first what it would do, does it, and leaves alone what nobody can decide', async () => {
  await quietly(la, "UPDATE accounts SET n = 77 WHERE id = 'n7'; DELETE FROM orders WHERE account_id = 'n8'");
  await quietly(
    la,
    "INSERT INTO orders (id, account_id, note) OVERRIDING SYSTEM VALUE VALUES (900009, 'n9', 'from nowhere')",
  );
  await quietly(ny, "UPDATE accounts SET n = 78 WHERE id = 'l7'");
  await quietly(la, "DELETE FROM lanekeeper.deed WHERE account = 'n10'; UPDATE accounts SET n = 5 WHERE id = 'n10'");
  await quietly(
    la,
    "DELETE FROM lanekeeper.deed WHERE account = 'n11'; INSERT INTO lanekeeper.deed VALUES ('n11', 'la', 1, 0); UPDATE accounts SET n = 5 WHERE id = 'n11'",
  );
  await quietly(la, "DELETE FROM lanekeeper.outcome; DELETE FROM lanekeeper.claim; UPDATE products SET name = 'wrong'");
  await quietly(
    la,
    "INSERT INTO orders (id, account_id, note) OVERRIDING SYSTEM VALUE VALUES (900010, 'nobody', 'orphan')",
  );
  const before = await different();
  expect(before.length).toBeGreaterThan(15);

  expect((await lanekeeper('ny', 'verify', '--dry-run')).exitCode).toBe(2);
  const dry = await lanekeeper('ny', 'verify', '--repair', '--dry-run');
  expect(dry.exitCode).toBe(1);
  expect(dry.stdout).toContain('public.accounts (id = n7): would be sent to la, as ny is its home');
  expect(dry.stdout).toContain('public.accounts (id = l7): would be sent to ny, as la is its home');
  expect(dry.stdout).toContain('public.orders (id = 900009): would be deleted in la, as ny is its home');
  expect(dry.stdout).toContain(
    'public.products (sku = s1): left alone: public.products belongs to no account; it is published by ny',
  );
  expect(await different()).toEqual(before);

  const done = await lanekeeper('ny', 'verify', '--repair');
  expect(done.exitCode).toBe(1);
  expect(done.stdout).toContain('lanekeeper.deed (account = n11): left alone: two homes for one epoch');
  expect(done.stdout).toContain(
    'public.accounts (id = n11): left alone: ny and la do not agree on where its account is written',
  );
  expect(done.stdout).toContain('public.orders (id = 900010): left alone: its account has no deed');
  expect(await different()).toEqual([
    { table: 'lanekeeper.deed', key: { account: 'n11' }, kind: 'differs' },
    { table: 'public.accounts', key: { id: 'n11' }, kind: 'differs' },
    { table: 'public.orders', key: { id: '900010' }, kind: 'only-there' },
    { table: 'public.products', key: { sku: 's1' }, kind: 'differs' },
    { table: 'public.products', key: { sku: 's2' }, kind: 'differs' },
  ]);

  await quietly(la, "DELETE FROM lanekeeper.deed WHERE account = 'n11'; DELETE FROM orders WHERE id = 900010");
  await publish(ny, 'UPDATE products SET name = name');
  const rest = JSON.parse((await lanekeeper('la', 'verify', '--repair', '--json')).stdout);
  expect(rest).toMatchObject({
    clean: true,
    repair: {
      late: false,
      failures: [],
      steps: [{ outcome: { kind: 'sent', from: 'ny' } }, { outcome: { kind: 'sent', from: 'ny' } }],
    },
  });
});
