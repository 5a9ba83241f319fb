/** `adopt` and `advise` on a shop that nobody prepared: what is written is accepted, planned and applied there, and refuses nothing. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { runSql, type TestCluster, type TestDatabase, testCluster } from '../support/clusters.ts';

const schema = `
  CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL, code text, reset_token text UNIQUE);
  CREATE UNIQUE INDEX customers_email ON customers (lower(email));
  CREATE TABLE carts (id bigserial PRIMARY KEY, customer_id int REFERENCES customers ON UPDATE CASCADE);
  CREATE TABLE cart_lines (cart_id bigint NOT NULL REFERENCES carts, sku text NOT NULL, PRIMARY KEY (cart_id, sku));
  CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, number text UNIQUE, invoice oid);
  CREATE TABLE order_notes (order_id bigint NOT NULL REFERENCES orders, note text);
  CREATE TABLE payments (id uuid PRIMARY KEY, order_ref text, amount money);
  CREATE TABLE shipments (id uuid PRIMARY KEY, order_id bigint);
  CREATE TABLE stock_levels (sku text PRIMARY KEY, quantity int NOT NULL);
  CREATE TABLE products (sku text PRIMARY KEY, changed timestamp DEFAULT now());
  CREATE TABLE search_log (id bigserial PRIMARY KEY, term text);
  CREATE TABLE shop_settings (name text PRIMARY KEY, value text);
  CREATE TABLE user_sessions (sid text PRIMARY KEY, customer_id int REFERENCES customers);
  CREATE TABLE schema_migrations (version text PRIMARY KEY);
  CREATE TABLE slots (id uuid PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, during int4range,
    EXCLUDE USING gist (during WITH &&));
  CREATE TABLE old_orders () INHERITS (orders);
  CREATE RULE quiet AS ON DELETE TO products DO INSTEAD NOTHING;
  CREATE MATERIALIZED VIEW best AS SELECT sku FROM products;
  INSERT INTO customers (email) SELECT n || '@x' FROM generate_series(1, 50) n;
  INSERT INTO carts (customer_id) SELECT n FROM generate_series(1, 50) n;
  SELECT lo_create(0);
  CREATE TABLE rates (pair text PRIMARY KEY, rate numeric);
  INSERT INTO rates VALUES ('EUR/USD', 1);
  DO $$ BEGIN FOR n IN 1..1200 LOOP UPDATE rates SET rate = n; END LOOP; END $$;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;

let cluster: TestCluster;
let database: TestDatabase;
beforeAll(async () => {
  cluster = await testCluster();
  database = await cluster.database({ schema });
});
afterAll(() => cluster?.stop());

async function lanekeeper(...argv: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await run(argv, {
    env: {
      NO_COLOR: '1',
      LANEKEEPER_OWNER_PASSWORD: database.roles.owner.password,
      LANEKEEPER_DC: 'main',
    },
    directory: cluster.cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

const file = 'adopted.yaml';

test('adopt writes what config check, plan and apply accept on that very database, and changes nothing itself', async () => {
  // A session reports what it did when it ends, which is after it has said goodbye.
  const updates = "SELECT n_tup_upd::int AS n FROM pg_stat_user_tables WHERE relname = 'rates'";
  await expect.poll(() => runSql(database.urls.owner, updates), { timeout: 20_000 }).toEqual([{ n: 1200 }]);
  const adopted = await lanekeeper('adopt', '--database', database.urls.owner, '--output', file);
  expect(adopted).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await runSql(database.urls.owner, "SELECT to_regnamespace('lanekeeper') AS there")).toEqual([{ there: null }]);
  expect(adopted.stdout).toMatch(/^adopted\.yaml: accounts: public\.customers \(by its name, /);
  const text = readFileSync(join(cluster.cluster.dir, file), 'utf8');
  expect(text).not.toContain(database.roles.owner.password);
  for (const line of [
    'enforce: observe',
    '  owner: lanekeeper_owner',
    '  public.customers: { class: system-of-record, account: id, root: true }',
    '  public.carts: { class: system-of-record, account: customer_id, nullAccount: nobody }',
    '  public.cart_lines: { class: system-of-record, account: cart_id.customer_id }',
    '  public.payments: { class: system-of-record, home: shared }',
    '  # order_id names public.orders, but no foreign key says so, and a path to the account needs one',
    '  public.stock_levels: { class: system-of-record, home: shared }',
    '  public.products: { class: read-only, feeder: main }',
    // Not by its name: by how it was written.
    '  # written all the time (1 rows, 1 inserted, 1200 updated, 0 deleted), and belongs to no account',
    '  public.rates: { class: system-of-record, home: shared }',
    '  public.search_log: { class: system-of-reference, policy: timestamp-weight }',
    '  public.user_sessions: { class: session-state }',
    '  - public.schema_migrations # belongs to a migration tool',
    '  - public.shop_settings # looks like configuration',
    '  customers_email: { table: public.customers, column: email, normalise: lower }',
    '  orders_number: { table: public.orders, column: number }',
  ])
    expect(text).toContain(line);
  expect(text).not.toContain('column: reset_token');
  expect((await lanekeeper('config', 'check', file)).exitCode).toBe(0);
  const plan = await lanekeeper('plan', '--config', file);
  expect(plan).toMatchObject({ exitCode: 0, stderr: '' });
  expect(plan.stdout).not.toContain('neither declared nor ignored');
  expect(await lanekeeper('apply', '--config', file)).toMatchObject({ exitCode: 0, stderr: '' });
  // Observed, not refused: nobody ever gave this database a lease. And it is counted.
  const { application, owner } = database.urls;
  await runSql(application, "INSERT INTO orders (customer_id, number) VALUES (7, 'A-1')");
  expect(await runSql(owner, 'SELECT count(*)::int > 0 AS seen FROM lanekeeper.observation')).toEqual([{ seen: true }]);
});

test('adopt writes over nothing, and says what it guessed as JSON', async () => {
  const again = await lanekeeper('adopt', '--database', database.urls.owner, '--output', file);
  expect(again).toMatchObject({ exitCode: 1 });
  expect(again.stderr).toContain('adopted.yaml is there already; nothing was written.');
  const json = JSON.parse(
    (await lanekeeper('adopt', '--database', database.urls.owner, '--account-table', 'products', '--json')).stdout,
  );
  expect(json.accounts).toMatchObject({ table: 'public.products', why: 'as you said' });
  expect(json.configuration).toContain('root: true');
  const wrong = await lanekeeper('adopt', '--database', database.urls.owner, '--account-table', 'order_notes');
  expect(wrong).toMatchObject({ exitCode: 2 });
  expect(wrong.stderr).toContain('public.order_notes has no primary key of one column');
  expect(await lanekeeper('adopt', '--database', 'mysql://x/y')).toMatchObject({ exitCode: 2 });
});

test('advise finds what hurts later, in a database and in its configuration', async () => {
  const { exitCode, stdout } = await lanekeeper('advise', '--database', database.urls.owner, '--strict', '--json');
  expect(exitCode).toBe(1);
  const { findings, tables, declared } = JSON.parse(stdout);
  expect(declared).toBe(false);
  const brief = findings.map(({ code, subject }: { code: string; subject: string }) => `${code}: ${subject}`);
  expect(brief).toEqual(
    expect.arrayContaining([
      'table-without-key: public.order_notes',
      'unique-random: customers_reset_token_key on public.customers',
      'exclusion-across: slots_during_excl on public.slots',
      'rule-on-table: quiet on public.products',
      'key-mutable: carts_customer_id_fkey on public.carts',
      'table-inherited: public.old_orders',
      'column-oid: public.orders.invoice',
      'column-money: public.payments.amount',
      'column-local-time: public.products.changed',
      'materialized-view: public.best',
      'large-objects: pg_largeobject',
      'sequence-narrow: public.customers_id_seq',
      'path-without-index: public.carts (customer_id)',
    ]),
  );
  for (const found of findings) expect(found.why).not.toBe('');
  const of = (name: string) => tables.find(({ table }: { table: string }) => table === `public.${name}`);
  expect(of('customers')).toMatchObject({ suggested: 'system-of-record', activeActive: 'with-changes', pattern: 1 });
  expect(of('customers').changes.join()).toContain("lanekeeper.claim('customers_email'");
  expect(of('stock_levels')).toMatchObject({ activeActive: 'no', pattern: 2 });
  expect(of('search_log')).toMatchObject({ activeActive: 'with-changes', pattern: null, policy: 'timestamp-weight' });
  expect(of('products')).toMatchObject({ activeActive: 'no', pattern: 3 });

  const own = await lanekeeper('advise', '--config', file);
  expect(own).toMatchObject({ exitCode: 0, stderr: '' });
  expect(own.stdout).toContain('written in the home of their account: ');
  expect(own.stdout).toMatch(/\n✗ \d+ errors?, \d+ warnings?, \d+ to know\n$/);
  const one = await lanekeeper('advise', '--config', file, '--table', 'carts');
  expect(one.stdout).toContain('public.carts: system-of-record (declared system-of-record)');
  expect(one.stdout).toContain('give guests an account of their own');
  expect(one.stdout).not.toContain('slots');
  expect(await lanekeeper('advise', '--config', file, '--table', 'cart')).toMatchObject({ exitCode: 2 });
});

test('advise approach says what is missing, and its exit code is the answer', async () => {
  const missing = await lanekeeper('advise', 'approach', '--rto', '30s');
  expect(missing).toMatchObject({ exitCode: 2 });
  expect(missing.stderr).toContain('Missing: --rpo, --distance, --statements-per-page, --writes-per-page, --ability.');
  const asked = ['--rpo', '0', '--distance', '60ms', '--statements-per-page', '12', '--writes-per-page', '3'];
  const chosen = await lanekeeper('advise', 'approach', '--rto', '30s', ...asked, '--ability', 'medium');
  expect(chosen.exitCode).toBe(0);
  expect(chosen.stdout).toMatch(/^✓ mostly-active-active: /);
  expect(chosen.stdout).toContain('3 writes × 60 ms = 180 ms');
  const none = await lanekeeper('advise', 'approach', '--rto', '5s', ...asked, '--ability', 'high', '--json');
  expect(none.exitCode).toBe(1);
  expect(JSON.parse(none.stdout)).toMatchObject({ chosen: null });
});
