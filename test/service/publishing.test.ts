/** Classes that are written while they are published, and classes that never leave: what is refused, to whom, and what passes. */
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { doctor, verifyTables } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair, connectAs, lease, publish } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY);
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  CREATE TABLE prices (region int, sku text, cents int, PRIMARY KEY (region, sku)) PARTITION BY LIST (region);
  CREATE TABLE prices_1 PARTITION OF prices FOR VALUES IN (1);
  CREATE TABLE pages (path text PRIMARY KEY, html text);
  CREATE TABLE rates (currency text PRIMARY KEY, rate numeric);
  CREATE TABLE sessions (id text PRIMARY KEY);
  CREATE TABLE hints (id text PRIMARY KEY);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  products: { class: 'read-only', feeder: 'ny' },
  prices: { class: 'read-only', feeder: 'ny' },
  pages: { class: 'static-content', feeder: 'ny' },
  rates: { class: 'system-of-reference', feeder: 'ny' },
  sessions: { class: 'session-state' },
  hints: { class: 'cache' },
} as const;
const refused = expect.objectContaining({ code: 'LK007' });

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
let agents: TestAgents;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
  agents = await testAgents(pair);
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

async function on<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const publishCli = (dc: string, ...argv: string[]) => agents.command(dc, 'publish', ...argv);
const skus = async (dc: TestDataCenter) =>
  (await runSql<{ sku: string }>(dc.urls.owner, 'SELECT sku FROM products ORDER BY 1')).map(({ sku }) => sku);

test('outside publishing nobody writes, not even the owner at the feeder, and the error says what to do', async () => {
  const writes = [
    "INSERT INTO products VALUES ('p')",
    "INSERT INTO prices VALUES (1, 'p', 1)",
    "INSERT INTO prices_1 VALUES (1, 'p', 1)",
    "INSERT INTO pages VALUES ('/', 'x')",
    'UPDATE products SET name = NULL',
    'DELETE FROM pages',
    "MERGE INTO products p USING (VALUES ('p')) v (sku) ON p.sku = v.sku WHEN NOT MATCHED THEN INSERT VALUES (v.sku)",
  ];
  for (const role of ['owner', 'application'] as const)
    for (const sql of writes) await expect(runSql(ny.urls[role], sql), sql).rejects.toEqual(refused);
  for (const sql of writes) await expect(runSql(la.urls.owner, sql), sql).rejects.toEqual(refused);

  const error = await runSql(ny.urls.application, writes[2] as string).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    message: 'public.prices is read only outside publishing',
    hint: "As the owner, SELECT lanekeeper.publishing('public.prices') first in the same transaction; or `lanekeeper publish`.",
    dataType: 'ny',
  });
  expect(JSON.parse((error as { detail: string }).detail)).toEqual({ home: 'ny', dc: 'ny', table: 'public.prices' });
});

test('a transaction of the owner that says so publishes, and only that one', async () => {
  await publish(ny, "INSERT INTO products VALUES ('cup'), ('pot'); INSERT INTO prices VALUES (1, 'cup', 900)");
  await on(ny.urls.owner, async (client) => {
    await client.query("BEGIN; SELECT lanekeeper.publishing('products')");
    await client.query("INSERT INTO products VALUES ('jug')");
    // Only what was named.
    await client.query('SAVEPOINT s');
    await expect(client.query("INSERT INTO pages VALUES ('/', 'x')")).rejects.toEqual(refused);
    await client.query('ROLLBACK TO s; COMMIT');
    await expect(client.query("INSERT INTO products VALUES ('pan')")).rejects.toEqual(refused);
    // Taken back with the savepoint it was said in.
    await client.query("BEGIN; SAVEPOINT s; SELECT lanekeeper.publishing('products'); ROLLBACK TO s");
    await expect(client.query("INSERT INTO products VALUES ('pan')")).rejects.toEqual(refused);
    await client.query('ROLLBACK');
  });
  await eventually(agents, 'the rows in la', async () => expect(await skus(la)).toEqual(['cup', 'jug', 'pot']));
  const log = await publishCli('ny', 'status', '--json');
  expect(JSON.parse(log.stdout)).toMatchObject({
    entries: [
      { tables: ['public.products'], roles: null, openedBy: testRoleNames.owner, open: false },
      { tables: ['public.pages', 'public.prices', 'public.products'], openedBy: testRoleNames.owner },
    ],
  });
});

test('the application opens nothing unless it was granted, and cannot forge it', async () => {
  const attempts = [
    'SELECT lanekeeper.publishing()',
    `SELECT lanekeeper.begin_publishing('{products}', '{${testRoleNames.application}}', 60000)`,
    `INSERT INTO lanekeeper.publishing (relations, xid, until) VALUES ('{public.products}', pg_current_xact_id(), 'infinity')`,
  ];
  for (const sql of attempts)
    await expect(runSql(ny.urls.application, sql), sql).rejects.toMatchObject({ code: '42501' });
  const write = "BEGIN; SELECT lanekeeper.publishing('products'); DELETE FROM products WHERE sku = 'jug'; COMMIT";
  const grant = (what: string) => runSql(ny.urls.owner, `${what} ${testRoleNames.application}`);
  await grant('GRANT EXECUTE ON FUNCTION lanekeeper.publishing(text[]) TO');
  await runSql(ny.urls.application, write);
  await grant('REVOKE EXECUTE ON FUNCTION lanekeeper.publishing(text[]) FROM');
  await expect(runSql(ny.urls.application, write)).rejects.toMatchObject({ code: '42501' });
  expect(await skus(ny)).toEqual(['cup', 'pot']);
});

test('what another data center feeds, or nobody, is not published here', async () => {
  await expect(runSql(la.urls.owner, "SELECT lanekeeper.publishing('products')")).rejects.toMatchObject({
    code: 'LK007',
    message: 'public.products is published by ny, not by la',
  });
  await expect(runSql(la.urls.owner, 'SELECT lanekeeper.publishing()')).rejects.toMatchObject({ code: '22023' });
  await expect(runSql(ny.urls.owner, "SELECT lanekeeper.publishing('accounts')")).rejects.toMatchObject({
    code: '22023',
  });
  const cli = await publishCli('la', 'begin', 'products');
  expect(cli).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('published by ny, not by la') });
});

test('for a time: by the roles named, until it is ended or over; whoever still writes is waited for', async () => {
  const write = (sku: string) => runSql(ny.urls.application, 'INSERT INTO products VALUES ($1)', [sku]);
  // Opened for the owner only.
  expect(await publishCli('ny', 'begin', 'products', '--reason', 'autumn')).toMatchObject({ exitCode: 0 });
  await runSql(ny.urls.owner, "INSERT INTO products VALUES ('tin')");
  await expect(write('vase')).rejects.toEqual(refused);
  expect(await publishCli('ny', 'end')).toMatchObject({ exitCode: 0, stdout: 'Ended: nobody publishes any more.\n' });
  await expect(runSql(ny.urls.owner, 'DELETE FROM products')).rejects.toEqual(refused);

  const opened = await publishCli('ny', 'begin', 'products', '--as', testRoleNames.application, '--json');
  expect(JSON.parse(opened.stdout)).toMatchObject({ roles: [testRoleNames.application], open: true });
  await on(ny.urls.application, async (client) => {
    const old = new Client({ connectionString: ny.urls.application });
    await old.connect();
    await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM products');
    await client.query("BEGIN; INSERT INTO products VALUES ('vase')");
    let ended = false;
    const end = publishCli('ny', 'end').then(() => {
      ended = true;
    });
    const waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%end_publishing%'";
    await eventually(agents, 'the end waits', async () =>
      expect(await runSql(ny.urls.superuser, waits)).toHaveLength(1),
    );
    expect(ended).toBe(false);
    await client.query('COMMIT');
    await end;
    // One that still sees it open.
    await expect(old.query("INSERT INTO products VALUES ('late')")).rejects.toMatchObject({ code: '40001' });
    await old.end();
  });
  await expect(write('bowl')).rejects.toEqual(refused);

  await publishCli('ny', 'begin', '--for', '1s', '--as', testRoleNames.application);
  await write('bowl');
  await eventually(agents, 'it is over', async () =>
    expect(await write('fork').catch((thrown: unknown) => thrown)).toEqual(refused),
  );
  expect(await publishCli('ny', 'begin', '--as', 'nobody_there')).toMatchObject({ exitCode: 2 });
});

test('run: while a command runs, and no longer, however it ends', async () => {
  const driver = createRequire(import.meta.url).resolve('pg');
  const insert = (sku: string, code: number) =>
    `const { Client } = require(${JSON.stringify(driver)}); const c = new Client(process.argv[1]); c.connect()
      .then(() => c.query("INSERT INTO products VALUES ('${sku}')")).then(() => c.end()).then(() => process.exit(${code}))`;
  const run = (sku: string, code: number) =>
    publishCli('ny', 'run', '--table', 'products', '--', process.execPath, '-e', insert(sku, code), ny.urls.owner);
  expect(await run('mug', 0)).toMatchObject({ exitCode: 0 });
  expect(await run('mat', 3)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('exit code 3') });
  expect(await skus(ny)).toEqual(expect.arrayContaining(['mug', 'mat']));
  expect(await publishCli('ny', 'run', '--', '/not/there')).toMatchObject({ exitCode: 2 });
  const open = await runSql(
    ny.urls.owner,
    'SELECT FROM lanekeeper.publishing WHERE xid IS NULL AND ended_at IS NULL AND until > now()',
  );
  expect(open).toEqual([]);
});

test('a system of reference with a feeder is written by it at any time, and refused elsewhere', async () => {
  await runSql(ny.urls.application, "INSERT INTO rates VALUES ('EUR', 1.1)");
  await expect(runSql(la.urls.application, "INSERT INTO rates VALUES ('CHF', 1)")).rejects.toEqual(refused);
  await eventually(agents, 'the rate in la', async () =>
    expect(await runSql(la.urls.owner, 'SELECT rate FROM rates')).toEqual([{ rate: '1.1' }]),
  );
});

test('session state, and a cache without a policy, stay where they are', async () => {
  for (const dc of [ny, la]) {
    await runSql(dc.urls.application, 'INSERT INTO sessions VALUES ($1)', [dc.name]);
    await runSql(dc.urls.application, 'INSERT INTO hints VALUES ($1)', [dc.name]);
    const published = await runSql(
      dc.urls.superuser,
      "SELECT FROM pg_publication_tables WHERE tablename IN ('sessions', 'hints')",
    );
    expect(published).toEqual([]);
  }
  const result = await verifyTables({
    configuration: ny.configuration,
    here: 'ny',
    there: 'la',
    connect: (dc) => connectAs(pair.dc(dc), 'agent'),
  });
  if (result.kind !== 'verified') throw new Error(result.message);
  // They differ, and that is no difference.
  expect(result.clean).toBe(true);
  expect(result.tables.map(({ table }) => table)).not.toContain('public.sessions');
  expect(await runSql(la.urls.owner, 'SELECT id FROM sessions')).toEqual([{ id: 'la' }]);
});

test('somebody who publishes session state by hand is found by doctor, and apply takes it back', async () => {
  const codes = async () =>
    (await doctor({ configuration: ny.configuration, env: ny.env })).findings
      .filter(({ code }) => code === 'table-leaves')
      .map(({ severity, subject }) => `${severity}: ${subject}`)
      .sort();
  expect(await codes()).toEqual([]);
  await runSql(
    ny.urls.superuser,
    `ALTER PUBLICATION lanekeeper_rest ADD TABLE sessions; CREATE PUBLICATION elsewhere FOR TABLE hints`,
  );
  expect(await codes()).toEqual(['error: public.sessions', 'warning: public.hints']);
  expect(await agents.command('ny', 'plan')).toMatchObject({
    stdout: expect.stringContaining('somebody changed it by hand'),
  });
  expect(await agents.command('ny', 'apply')).toMatchObject({ exitCode: 0 });
  expect(await codes()).toEqual(['warning: public.hints']);
  await runSql(ny.urls.superuser, 'DROP PUBLICATION elsewhere; CREATE PUBLICATION all_of_it FOR ALL TABLES');
  expect(await codes()).toEqual(['warning: public.hints', 'warning: public.sessions']);
  await runSql(ny.urls.superuser, 'DROP PUBLICATION all_of_it');
});

test('what a class cannot promise is refused by `config check`, with the reason', async () => {
  const check = async (table: string, declared: Record<string, unknown>) => {
    const file = join(ny.cluster.dir, 'classes.json');
    const written = { ...ny.written, tables: { ...ny.written.tables, [table]: declared } };
    await writeFile(file, JSON.stringify(written));
    const { exitCode, stdout, stderr } = await agents.command('ny', 'config', 'check', file);
    return { exitCode, said: stdout + stderr };
  };
  expect(await check('rates', { class: 'system-of-reference', feeder: 'ny' })).toMatchObject({ exitCode: 0 });
  const refusals = [
    ['accounts', { ...tables.accounts, policy: 'timestamp-weight' }, 'throw'],
    ['sessions', { class: 'session-state', feeder: 'ny' }, 'has no feeder'],
    ['sessions', { class: 'session-state', policy: 'timestamp-weight' }, 'policy'],
    ['products', { class: 'read-only' }, 'written by one data center: which?'],
    ['pages', { class: 'static-content', feeder: 'ny', copy: { query: 'SELECT' } }, 'no copy of others'],
    ['hints', { class: 'cache', policy: 'last-man-standing' }, 'allowDivergence'],
  ] as const;
  for (const [table, declared, reason] of refusals)
    expect(await check(table, declared), reason).toEqual({ exitCode: 3, said: expect.stringContaining(reason) });
});
