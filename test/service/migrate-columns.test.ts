/** A column that comes and one that goes, by the commands of the guide, while both data centers write; and what is refused. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair, lease, publish } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { finishPending } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';
import { applyTrouble } from '../support/settled.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text);
  CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text,
    placed timestamptz DEFAULT now(), total int NOT NULL, twice int GENERATED ALWAYS AS (total * 2) STORED);
  CREATE TABLE order_lines (id text PRIMARY KEY, order_id text NOT NULL REFERENCES orders, body text);
  CREATE TABLE products (sku text PRIMARY KEY, name text, hint text);
  CREATE TABLE reviews (id text PRIMARY KEY, body text, stars int);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  order_lines: { class: 'system-of-record', account: 'order_id.account_id' },
  products: { class: 'read-only', feeder: 'ny' },
  reviews: { class: 'system-of-reference', policy: 'timestamp-weight' },
} as const;
const claims = { email: { table: 'accounts', column: 'email' } } as const;

let pair: TestPair;
beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, claims } });
  await applyPair(pair);
  for (const name of pair.names) {
    const { written, cluster } = pair.dc(name);
    await lease(pair.dc(name), 600_000);
    await writeFile(join(cluster.dir, 'lanekeeper.json'), JSON.stringify(written));
    await runSql(pair.dc(name).urls.application, `INSERT INTO accounts VALUES ('${name}')`);
  }
});
afterAll(async () => {
  await customers?.close();
  await pair?.stop();
});

type Said = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

/** As a person types it in `at`. */
async function lanekeeper(line: string, at = 'ny', file = 'lanekeeper.json'): Promise<Said> {
  const { cluster, env } = pair.dc(at);
  const said = { stdout: '', stderr: '' };
  const exitCode = await run(line.split(' '), {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: join(cluster.dir, file) },
    directory: cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

const psql = (at: string, sql: string) => runSql(pair.dc(at).urls.owner, sql);
const superusers = () => Object.fromEntries(pair.names.map((name) => [name, pair.dc(name).urls.superuser]));
const arrives = (look: () => Promise<void>) => vi.waitFor(look, { timeout: 30_000, interval: 100 });

/** Customers of both data centers, all the while. `values`: what the code that is deployed writes beside what must be. */
let customers: ReturnType<typeof shop> | null = null;
function shop() {
  const values: Record<string, string> = {};
  let open = true;
  let written = 0;
  const one = async (dc: string, client: Client) => {
    await client.connect();
    for (; open; written += 1) {
      const names = ['id', 'account_id', 'total', ...Object.keys(values)];
      const row = [`${dc}-${written}`, dc, String(written), ...Object.values(values)];
      await client.query(
        `INSERT INTO orders (${names.join(', ')}) VALUES (${row.map((_, i) => `$${i + 1}`).join(', ')})`,
        row,
      );
      await client.query("UPDATE orders SET note = 'seen' WHERE id = $1", [row[0]]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await client.end();
  };
  const all = pair.names.map((dc) => one(dc, new Client({ connectionString: pair.dc(dc).urls.application })));
  return {
    values,
    /** Each of them goes on for a while. */
    more: async () => {
      const before = written;
      await vi.waitFor(() => expect(written).toBeGreaterThan(before + 20), { timeout: 30_000 });
    },
    close: async () => {
      open = false;
      await Promise.all(all);
      return written;
    },
  };
}

async function sameOrders(): Promise<readonly Record<string, unknown>[]> {
  const [ny, la] = await Promise.all(pair.names.map((dc) => psql(dc, 'SELECT * FROM orders ORDER BY id COLLATE "C"')));
  expect(ny).toEqual(la);
  return ny ?? [];
}

test('what may not leave the streams is refused, with the reason, and nothing is changed', async () => {
  const told = async (line: string) => {
    const { exitCode, stderr, stdout } = await lanekeeper(`migrate leave-out ${line}`);
    expect([exitCode, stdout]).toEqual([1, '']);
    return stderr;
  };
  expect(await told('orders id')).toContain('found by id');
  expect(await told('orders note account_id')).toContain('rows of public.orders find their account by it');
  expect(await told('order_lines order_id')).toContain('rows of public.order_lines find their account by it');
  expect(await told('accounts email')).toContain('the claim email names it');
  expect(await told('orders gift_ntoe')).toContain('has no column gift_ntoe in any data center');
  expect(await told('orders note --new')).toContain('already have and send the column note');
  expect(await told('orders twice')).toContain('is generated');
  expect(await told('orders total')).toContain('ALTER COLUMN "total" DROP NOT NULL;');
  expect(await told('orders placed')).toContain('ALTER COLUMN "placed" DROP DEFAULT;');
  expect(await told('reviews body')).toContain('public.reviews has a policy');
  await psql('la', "ALTER TABLE orders ALTER note SET DEFAULT 'la'");
  expect(await told('orders note')).toContain('has not the same default');
  await psql('la', 'ALTER TABLE orders ALTER note DROP DEFAULT');
  expect(await lanekeeper('migrate leave-out visits note')).toMatchObject({ exitCode: 2 });
  expect((await lanekeeper('migrate check')).exitCode).toBe(0);
});

test('a data center that is away, or was taken over, is named, and nothing is changed anywhere', async () => {
  const { written, cluster } = pair.dc('ny');
  const { ny, la } = written.dataCenters;
  const apart = { ...written, dataCenters: { ny, la: { ...la, database: 'postgres://127.0.0.1:1/shop' } } };
  await writeFile(join(cluster.dir, 'apart.json'), JSON.stringify(apart));
  const away = await lanekeeper('migrate leave-out orders note', 'ny', 'apart.json');
  expect(away).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('la is away') });
  await runSql(pair.dc('la').urls.superuser, "INSERT INTO lanekeeper.frozen (publisher, term) VALUES ('ny', 2)");
  const frozen = await lanekeeper('migrate leave-out orders note');
  expect(frozen).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('la reads nothing of ny now') });
  await runSql(pair.dc('la').urls.superuser, 'DELETE FROM lanekeeper.frozen');
  expect((await lanekeeper('migrate check')).exitCode).toBe(0);
});

test('a column comes and goes while both data centers write: no stream stops, and nothing is lost', async () => {
  customers = shop();
  await customers.more();

  // Expand.
  const before = await lanekeeper('migrate leave-out orders gift_note --new');
  expect(before).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('ny, la: gift_note of public.orders will not'),
  });
  expect((await lanekeeper('migrate leave-out orders gift_note --new')).exitCode).toBe(0);
  await psql('la', 'ALTER TABLE orders ADD COLUMN gift_note text');
  await customers.more();
  const half = await lanekeeper('migrate check');
  expect(half.exitCode).toBe(1);
  expect(half.stdout).toContain('    la: text, left out of the streams\n');
  expect(half.stdout).toContain('→ on its way in: in ny: ALTER TABLE "public"."orders" ADD COLUMN "gift_note" text;');
  expect(half.stdout).not.toContain('wait before they reach');
  const early = await lanekeeper('migrate send orders gift_note');
  expect(early).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('ny has no column gift_note') });
  await psql('ny', 'ALTER TABLE orders ADD COLUMN gift_note text');
  expect((await lanekeeper('migrate check')).stdout).toContain('lanekeeper migrate send public.orders gift_note');
  expect(await lanekeeper('migrate send orders gift_note')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('ny, la: gift_note of public.orders is sent.'),
  });
  for (const dc of pair.names) expect((await lanekeeper('apply --now', dc)).exitCode).toBe(0);
  expect((await lanekeeper('migrate check')).exitCode).toBe(0);
  // The code, and the old rows, where their accounts are at home.
  customers.values.gift_note = 'for you';
  await customers.more();
  for (const dc of pair.names)
    await runSql(
      pair.dc(dc).urls.application,
      "UPDATE orders SET gift_note = 'old' WHERE gift_note IS NULL AND account_id = $1",
      [dc],
    );
  await arrives(async () => {
    const rows = await psql('la', "SELECT DISTINCT gift_note FROM orders WHERE account_id = 'ny' ORDER BY 1");
    expect(rows).toEqual([{ gift_note: 'for you' }, { gift_note: 'old' }]);
  });

  // Contract.
  delete customers.values.gift_note;
  await customers.more();
  const left = await lanekeeper('migrate leave-out orders gift_note');
  expect(left.exitCode).toBe(0);
  expect(left.stdout).toContain(
    '  Next, in ny, la, in any order: ALTER TABLE "public"."orders" DROP COLUMN "gift_note";\n',
  );
  expect((await lanekeeper('migrate check')).stdout).toContain('→ on its way out: `lanekeeper migrate leave-out');
  await psql('la', 'ALTER TABLE orders DROP COLUMN gift_note');
  await customers.more();
  // Whoever applies in between does not send it again, nor does the same command.
  expect((await lanekeeper('apply --now')).exitCode).toBe(0);
  expect((await lanekeeper('plan')).stdout).toContain('ny is as the configuration declares it');
  expect(await lanekeeper('migrate leave-out orders gift_note')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('  Next, in ny, in any order:'),
  });
  await customers.more();
  const other = await lanekeeper('migrate check');
  expect(other.stdout).toContain('→ on its way out: in ny: ALTER TABLE "public"."orders" DROP COLUMN "gift_note";');
  await psql('ny', 'ALTER TABLE orders DROP COLUMN gift_note');
  await customers.more();
  for (const dc of pair.names) expect((await lanekeeper('apply --now', dc)).exitCode).toBe(0);
  expect((await lanekeeper('migrate check')).exitCode).toBe(0);

  const written = await customers.close();
  expect(written).toBeGreaterThan(150);
  await arrives(async () => expect(await sameOrders()).toHaveLength(written));
  expect(await applyTrouble(superusers())).toEqual({});
}, 120_000);

test('what a transaction wrote before, and commits later, is waited for: it is sent with the column', async () => {
  for (const dc of pair.names) await psql(dc, 'ALTER TABLE order_lines ADD COLUMN old text');
  const [order] = await psql('ny', "SELECT id FROM orders WHERE account_id = 'ny' LIMIT 1");
  const late = new Client({ connectionString: pair.dc('ny').urls.application });
  await late.connect();
  await late.query('BEGIN');
  await late.query("INSERT INTO order_lines (id, order_id, old) VALUES ('l1', $1, 'x')", [order?.id]);
  const waiting = await lanekeeper('migrate leave-out order_lines old --wait 1s');
  expect(waiting.exitCode).toBe(1);
  expect(waiting.stdout).toContain('- la: everything sent from here with it has arrived\n');
  expect(waiting.stdout).toMatch(
    /… ny still waits for 1 transaction that wrote public\.order_lines before \(process \d+/,
  );
  const leaving = lanekeeper('migrate leave-out order_lines old');
  await late.query('COMMIT');
  await late.end();
  expect((await leaving).exitCode).toBe(0);
  expect(await psql('la', 'SELECT id, old FROM order_lines')).toEqual([{ id: 'l1', old: 'x' }]);
  for (const dc of pair.names) await psql(dc, 'ALTER TABLE order_lines DROP COLUMN old');
  for (const dc of pair.names) expect((await lanekeeper('apply --now', dc)).exitCode).toBe(0);
  expect(await applyTrouble(superusers())).toEqual({});
});

test('of a table that one data center feeds, what it sends is left out', async () => {
  const json = (await lanekeeper('migrate leave-out products hint --json')).stdout.trim().split('\n');
  const script = json.map((line) => JSON.parse(line));
  expect(script.slice(0, 2)).toEqual([
    { dataCenter: 'ny', kind: 'changed' },
    { dataCenter: 'la', kind: 'carries-none' },
  ]);
  expect(script.at(-1)).toMatchObject({ table: 'public.products', kind: 'left-out', having: ['ny', 'la'] });
  expect((await lanekeeper('migrate leave-out products hint', 'la')).stdout).toContain('- la: sends nothing of it\n');
  await psql('la', 'ALTER TABLE products DROP COLUMN hint');
  await publish(pair.dc('ny'), "INSERT INTO products VALUES ('p1', 'one')");
  await arrives(async () => expect(await psql('la', 'SELECT * FROM products')).toEqual([{ sku: 'p1', name: 'one' }]));
  await psql('ny', 'ALTER TABLE products DROP COLUMN hint');
  for (const dc of pair.names) expect((await lanekeeper('apply --now', dc)).exitCode).toBe(0);
  expect(await lanekeeper('migrate check')).toMatchObject({ exitCode: 0 });
  expect(await applyTrouble(superusers())).toEqual({});
});

test('what was written into a column while it was left out is sent by `verify --repair`, once it is sent again', async () => {
  expect((await lanekeeper('migrate leave-out orders note')).exitCode).toBe(0);
  await runSql(
    pair.dc('ny').urls.application,
    "INSERT INTO orders (id, account_id, total, note) VALUES ('kept', 'ny', 1, 'x')",
  );
  const there = () => psql('la', "SELECT note FROM orders WHERE id = 'kept'");
  await arrives(async () => expect(await there()).toEqual([{ note: null }]));
  expect((await lanekeeper('migrate send orders')).stdout).toContain('note of public.orders is sent.');
  expect((await lanekeeper('verify --table orders --repair')).exitCode).toBe(0);
  expect(await there()).toEqual([{ note: 'x' }]);
});

test('a change of a table with a policy waits by itself where a column is missing, until the row is written without it', async () => {
  const write = (sql: string) => runSql(pair.dc('ny').urls.application, sql);
  const merged = async () => {
    await finishPending(superusers());
    return psql('la', 'SELECT id, body FROM reviews ORDER BY id');
  };
  await psql('la', 'ALTER TABLE reviews DROP COLUMN stars');
  expect((await lanekeeper('apply --now', 'la')).exitCode).toBe(0);
  await write("INSERT INTO reviews VALUES ('r1', 'good', 5)");
  await arrives(async () => expect(await pending()).toBe(1));
  await psql('ny', 'ALTER TABLE reviews DROP COLUMN stars');
  expect((await lanekeeper('apply --now')).exitCode).toBe(0);
  expect(await merged()).toEqual([]);
  await write("UPDATE reviews SET body = body WHERE id = 'r1'");
  await arrives(async () => {
    expect(await merged()).toEqual([{ id: 'r1', body: 'good' }]);
    expect(await pending()).toBe(0);
  });
  expect(await applyTrouble(superusers())).toEqual({});
});

/** Changes of shared rows that could not be merged in `la`. */
async function pending(): Promise<unknown> {
  const [row] = await runSql(pair.dc('la').urls.agent, 'SELECT count(*)::int AS n FROM lanekeeper.merge_pending');
  return row?.n;
}
