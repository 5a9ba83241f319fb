/** `migrate check` as a person types it, and the gate of moves while a schema change is half done, on two real clusters. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readStreams, type StreamsReport } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { gateReasons } from '../../packages/server/src/agent/gate-reasons.ts';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair, lease } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text);
  CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text);
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  products: { class: 'read-only', feeder: 'ny' },
} as const;

let pair: TestPair;
beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  await applyPair(pair);
  for (const name of pair.names) {
    await lease(pair.dc(name), 600_000);
    const { written, cluster } = pair.dc(name);
    await writeFile(join(cluster.dir, 'lanekeeper.json'), JSON.stringify(written));
  }
});
afterAll(() => pair?.stop());

async function check(
  files: Readonly<Record<string, string>>,
  ...argv: readonly string[]
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { cluster, env } = pair.dc('ny');
  for (const [name, sql] of Object.entries(files)) await writeFile(join(cluster.dir, name), sql);
  const said = { stdout: '', stderr: '' };
  const exitCode = await run(['migrate', 'check', ...Object.keys(files), ...argv], {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: join(cluster.dir, 'lanekeeper.json') },
    directory: cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

async function reasons(): Promise<string[]> {
  const report = async (name: string): Promise<StreamsReport> => {
    const client = new Client({ connectionString: pair.dc(name).urls.agent });
    await client.connect();
    try {
      return await readStreams(client, pair.dc(name).configuration);
    } finally {
      await client.end();
    }
  };
  const [here, there] = [await report('ny'), await report('la')];
  const of = { peer: 'la', here, there, unanswered: 0, incomplete: [], lagMs: 60_000, lagBytes: 1e9 };
  return gateReasons(of).map(({ code }) => code);
}

test('statements are judged with their lines, and what cannot be run as it is ends with 1', async () => {
  const sql = `-- Gift notes.
ALTER TABLE orders
  ADD COLUMN gift text;

/* é */ CREATE INDEX CONCURRENTLY ON orders (gift);
ALTER TABLE orders ADD COLUMN placed_at timestamptz DEFAULT now();
`;
  const { exitCode, stdout } = await check({ 'gift.sql': sql });
  expect(exitCode).toBe(1);
  expect(stdout).toContain('⇉ gift.sql:2  together, expand  public.orders\n');
  expect(stdout).toContain('✓ gift.sql:5  alone  public.orders\n    CREATE INDEX CONCURRENTLY');
  expect(stdout).toContain('✗ gift.sql:6  split  public.orders\n');
  expect(stdout).toContain('1 part cannot be run as it is in several data centers.\n');
  const json = JSON.parse((await check({ 'gift.sql': sql }, '--json')).stdout);
  expect(json.statements).toHaveLength(3);
  expect(json.statements[2]).toMatchObject({ way: 'split', line: 6, table: 'public.orders' });
  expect((await check({ 'fine.sql': 'ALTER TABLE orders ADD gift text' })).exitCode).toBe(0);
  expect((await check({ 'empty.sql': '-- nothing' })).stdout).toContain('There is no statement');
});

test('what is not SQL, or is not there, is said', async () => {
  const broken = await check({ 'broken.sql': 'ALTER TABEL orders' });
  expect([broken.exitCode, broken.stderr]).toEqual([
    2,
    expect.stringContaining('broken.sql is not SQL that PostgreSQL'),
  ]);
  expect((await check({}, 'none.sql')).stderr).toContain('none.sql cannot be read');
});

test('half a migration: rows wait and none is lost, the gate is closed just as long, and it is said what is missing where', async () => {
  expect(await check({})).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('the tables that travel are alike'),
  });
  const [ny, la] = [pair.dc('ny').urls, pair.dc('la').urls];
  // The one who does not have the column goes on being read by the other, who does.
  await runSql(la.owner, 'ALTER TABLE orders ADD COLUMN gift text');
  await runSql(ny.application, "INSERT INTO accounts VALUES ('a1'); INSERT INTO orders VALUES ('o1', 'a1', '')");
  await vi.waitFor(
    async () => expect(await runSql(la.owner, 'SELECT id, gift FROM orders')).toEqual([{ id: 'o1', gift: null }]),
    { timeout: 30_000, interval: 100 },
  );
  const half = await check({});
  expect(half.exitCode).toBe(1);
  expect(half.stdout).toContain('✗ public.orders: column gift\n    ny: —\n    la: text\n');
  expect(half.stdout).toContain('Rows of it written in la wait before they reach ny.');
  expect(half.stdout).toContain('→ in ny: ALTER TABLE "public"."orders" ADD COLUMN "gift" text;');
  expect(await reasons()).toContain('schema-differs');
  await runSql(ny.owner, 'ALTER TABLE orders ADD COLUMN gift text');
  expect((await check({})).exitCode).toBe(0);
  expect(await reasons()).not.toContain('schema-differs');
});

test('tables without accounts, and what a table allows, keep no account where it is', async () => {
  const ny = pair.dc('ny').urls.owner;
  await runSql(ny, 'ALTER TABLE products ADD COLUMN price int; ALTER TABLE orders ALTER note SET NOT NULL');
  expect(await reasons()).not.toContain('schema-differs');
  const { exitCode, stdout } = await check({});
  expect(exitCode).toBe(1);
  expect(stdout).toContain('✗ public.products: column price');
  expect(stdout).toContain('✗ public.orders: NOT NULL of note\n');
  await runSql(ny, 'ALTER TABLE products DROP COLUMN price; ALTER TABLE orders ALTER note DROP NOT NULL');
});

test('rows that were sent with a column stop where it was dropped, for good when it is gone everywhere, and go on when it is added again', async () => {
  const urls = [pair.dc('ny').urls, pair.dc('la').urls] as const;
  const [ny, la] = urls;
  const orders = (dc: (typeof urls)[number]) => runSql(dc.owner, 'SELECT id, note FROM orders ORDER BY id');
  let number = 0;
  const write = async () => {
    for (const [dc, account] of [[ny, 'a1'] as const, [la, 'a2'] as const])
      await runSql(
        dc.application,
        `INSERT INTO orders (id, account_id, note) VALUES ('w${++number}', '${account}', 'x')`,
      );
  };
  const alike = async () => {
    expect(await orders(ny)).toEqual(await orders(la));
    expect((await orders(ny)).filter(({ id }) => String(id).startsWith('w'))).toHaveLength(number);
  };
  const arrives = () => vi.waitFor(alike, { timeout: 30_000, interval: 100 });
  await runSql(la.application, "INSERT INTO accounts VALUES ('a2')");
  await write();
  await arrives();

  await runSql(ny.owner, 'ALTER TABLE orders DROP COLUMN gift');
  await write();
  await runSql(la.owner, 'ALTER TABLE orders DROP COLUMN gift');
  await write();
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await expect(alike()).rejects.toThrow();
  for (const dc of urls) await runSql(dc.owner, 'ALTER TABLE orders ADD COLUMN gift text');
  await arrives();
});
