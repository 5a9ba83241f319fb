/** `doctor` with the real roles: healthy, then with one thing after another taken away; its statements mend what it finds. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { doctor, type Finding } from '@lanekeeper/server/postgres';
import type { LeaseView } from 'lanekeeper/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY);
  CREATE TABLE orders (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, number text);
  CREATE INDEX ON orders (account_id);
  CREATE TABLE lines (id uuid PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders);
  CREATE INDEX ON lines (order_id);
  CREATE TABLE products (sku text PRIMARY KEY);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  lines: { class: 'system-of-record', account: 'order_id.account_id' },
  products: { class: 'read-only', feeder: 'ny' },
} as const;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  for (const dc of [ny, la]) {
    await runSql(
      dc.urls.superuser,
      "ALTER ROLE lanekeeper_application SET idle_in_transaction_session_timeout = '30s'",
    );
  }
});
afterAll(() => pair?.stop());

async function findings(dc = ny, env: Readonly<Record<string, string>> = dc.env): Promise<Finding[]> {
  return [...(await doctor({ configuration: dc.configuration, env })).findings];
}

const brief = (found: readonly Finding[]) =>
  found.filter(({ severity }) => severity !== 'advice').map(({ code, subject }) => `${code}: ${subject}`);

/** What a durable server would not show. */
const ofTests = ['setting-fsync: fsync', 'setting-full_page_writes: full_page_writes'];

test('a database prepared as documented has no errors, before and after apply', async () => {
  expect(brief(await findings())).toEqual(ofTests);
  await applyPair(pair);
  expect(brief(await findings(ny))).toEqual(ofTests);
  expect(brief(await findings(la))).toEqual(ofTests);
});

test('roles: too little and too much is found, and the statements mend it', async () => {
  await runSql(
    ny.urls.superuser,
    `REVOKE pg_create_subscription FROM lanekeeper_agent;
    REVOKE lanekeeper_owner FROM lanekeeper_agent;
    REVOKE CREATE ON DATABASE ${ny.database.name} FROM lanekeeper_agent;
    REVOKE ALTER SYSTEM ON PARAMETER synchronous_standby_names FROM lanekeeper_agent;
    ALTER ROLE lanekeeper_replication NOREPLICATION;
    GRANT lanekeeper_owner TO lanekeeper_application;
    GRANT SET ON PARAMETER session_replication_role TO lanekeeper_application;
    REVOKE INSERT ON orders FROM lanekeeper_application;
    GRANT TRUNCATE ON orders TO lanekeeper_application;
    REVOKE USAGE ON SEQUENCE orders_id_seq FROM lanekeeper_application;
    ALTER TABLE accounts OWNER TO lanekeeper_application;
    ALTER TABLE products OWNER TO postgres`,
  );
  const found = await findings();
  expect(brief(found).sort()).toEqual(
    [
      ...ofTests,
      'role-create: lanekeeper_agent',
      'role-membership: lanekeeper_agent',
      'role-membership: lanekeeper_agent',
      'role-replica-mode: lanekeeper_application',
      'role-replication: lanekeeper_replication',
      'role-separation: lanekeeper_application',
      'role-standbys: lanekeeper_agent',
      'table-owned-by-application: public.accounts',
      'table-owner: public.products',
    ].sort(),
  );
  await mend(found);
  // While the application was a member of the owner it had these rights by that: now they are missed.
  const second = await findings();
  expect(brief(second)).toEqual(
    expect.arrayContaining([
      'table-rights: public.orders',
      'table-rights-too-many: public.orders',
      'sequence-rights: public.orders_id_seq',
    ]),
  );
  await mend(second);
  expect(brief(await findings())).toEqual(ofTests);
});

async function mend(found: readonly Finding[]): Promise<void> {
  for (const { mend: sql, runAs } of found) {
    if (runAs !== null && sql !== null && !sql.startsWith('ALTER SYSTEM')) await runSql(ny.urls.superuser, sql);
  }
}

test('an agent that could not take over, or could not end a wait, is an error', async () => {
  await runSql(
    ny.urls.superuser,
    `REVOKE pg_signal_backend FROM lanekeeper_agent;
    REVOKE EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean) FROM lanekeeper_agent`,
  );
  const found = await findings();
  const errors = found.filter(({ severity }) => severity === 'error').map(({ code }) => code);
  expect(errors.sort()).toEqual(['role-membership', 'role-origins']);
  await mend(found);
  expect(brief(await findings())).toEqual(ofTests);
});

test('a superuser as the application is an error, and so is a role that is not there', async () => {
  await runSql(ny.urls.superuser, 'ALTER ROLE lanekeeper_application SUPERUSER');
  expect(brief(await findings())).toContain('role-superuser: lanekeeper_application');
  await runSql(
    ny.urls.superuser,
    'ALTER ROLE lanekeeper_application NOSUPERUSER; ALTER ROLE lanekeeper_application RENAME TO away',
  );
  const found = await findings();
  await runSql(ny.urls.superuser, 'ALTER ROLE away RENAME TO lanekeeper_application');
  await runSql(
    ny.urls.superuser,
    `ALTER ROLE lanekeeper_application PASSWORD '${ny.database.roles.application.password}'`,
  );
  expect(brief(found)).toContain('role-missing: lanekeeper_application');
  expect(brief(found)).toContain('connect-wrong-password: application to ny');
});

test('settings: the exact statement, and whether a restart is needed', async () => {
  await runSql(ny.urls.superuser, 'ALTER SYSTEM SET max_replication_slots = 3');
  await runSql(ny.urls.superuser, "ALTER SYSTEM SET wal_receiver_status_interval = '10s'");
  await ny.cluster.stop();
  await ny.cluster.start();
  const found = (await findings()).filter(({ code }) => code.startsWith('setting-'));
  expect(found).toContainEqual({
    severity: 'error',
    code: 'setting-wal_receiver_status_interval',
    dataCenter: 'ny',
    subject: 'wal_receiver_status_interval',
    what: 'wal_receiver_status_interval is 10s',
    why: expect.any(String),
    mend: "ALTER SYSTEM SET wal_receiver_status_interval = '1s'; SELECT pg_reload_conf();",
    runAs: 'superuser',
    takesEffect: 'reload',
  });
  await runSql(ny.urls.superuser, 'ALTER SYSTEM RESET wal_receiver_status_interval');
  await runSql(ny.urls.superuser, 'SELECT pg_reload_conf()');
});

test('schema: what stops a stream, crosses accounts or runs out', async () => {
  await runSql(
    ny.urls.owner,
    `CREATE TABLE forgotten (id int);
    ALTER TABLE orders ADD COLUMN gift_for text REFERENCES accounts;
    CREATE UNIQUE INDEX orders_number ON orders (number);
    CREATE UNIQUE INDEX orders_mine ON orders (account_id, number);
    CREATE SEQUENCE tickets AS integer START 2000000000; SELECT nextval('tickets');
    CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER copy AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION copy(); ALTER TABLE orders ENABLE ALWAYS TRIGGER copy;
    DROP INDEX lines_order_id_idx;
    ALTER TABLE lines DROP CONSTRAINT lines_pkey;
    ALTER PUBLICATION lanekeeper_rest DROP TABLE products; ALTER TABLE products SET UNLOGGED`,
  );
  const found = await findings();
  expect(
    brief(found)
      .filter((one) => !ofTests.includes(one))
      .sort(),
  ).toEqual([
    'key-across-accounts: orders_gift_for_fkey on public.orders',
    'path-without-index: public.lines (order_id)',
    'sequence-narrow: public.tickets',
    'table-undeclared: public.forgotten',
    'table-unlogged: public.products',
    'table-without-key: public.lines',
    'trigger-at-apply: copy on public.orders',
    'unique-without-claim: orders_number on public.orders',
  ]);
  expect(found.find(({ code }) => code === 'path-without-index')?.mend).toBe(
    'CREATE INDEX CONCURRENTLY ON "public"."lines" ("order_id");',
  );
});

test('peers: wrong password, unreachable, the same database twice, the wrong database', async () => {
  const wrong = await findings(ny, { ...ny.env, LANEKEEPER_LA_REPLICATION_PASSWORD: 'se-cret' });
  expect(brief(wrong)).toContain('connect-wrong-password: replication to la');
  expect(JSON.stringify(wrong)).not.toContain('se-cret');
  const { ny: ours, la: theirs } = ny.written.dataCenters;
  const twice = pair.configure('ny', (written) => ({
    ...written,
    dataCenters: { ny: ours!, la: { ...theirs!, database: ours!.database.replace('127.0.0.1', 'localhost') } },
  }));
  const same = await doctor({ configuration: twice, env: ny.env });
  expect(brief(same.findings)).toEqual(expect.arrayContaining(['same-database: ny and la', 'other-installation: la']));
  await la.cluster.stop();
  expect(brief(await findings())).toContain('connect-unreachable: agent to la');
  await la.cluster.start();
});

test('a lease store that is not on PostgreSQL: unreachable, or one that knows another database by this name', async () => {
  const endpoints = ['http://127.0.0.1:3', 'http://127.0.0.1:4'];
  const configuration = pair.configure('ny', (written) => ({ ...written, leases: { store: 'etcd', endpoints } }));
  const look = async (askStore: () => Promise<LeaseView>) => {
    const report = await doctor({ configuration, env: ny.env, askStore });
    return report.findings.filter(({ subject }) => subject === 'the lease store').map(({ code, what }) => [code, what]);
  };
  expect(await look(() => Promise.reject(new Error('etcd refuses leases.user')))).toEqual([
    ['store-unreachable', 'etcd refuses leases.user'],
  ]);
  const [own] = await runSql<{ id: string }>(
    ny.urls.agent,
    'SELECT system_identifier::text AS id FROM pg_control_system()',
  );
  const knowing = (systemIdentifier: string) => async (): Promise<LeaseView> => ({
    term: 1,
    successions: [],
    leases: [
      {
        dataCenter: 'ny',
        incarnation: { systemIdentifier, timeline: 1, generation: 1 },
        positions: { log: '0/1', received: {}, applied: {} },
        holder: 'ny-1',
        revision: 1,
        state: 'held',
        ttlMs: 6000,
        inSync: [],
        takenOver: null,
      },
    ],
  });
  expect(await look(knowing(own?.id ?? ''))).toEqual([]);
  expect(await look(knowing('7'))).toEqual([
    ['store-other-database', expect.stringContaining('another database as ny')],
  ]);
});

test('as a command: words for a person, statements for psql, JSON for a script', async () => {
  const file = join(ny.cluster.dir, 'lanekeeper.json');
  await writeFile(file, JSON.stringify(ny.written));
  const said = async (...argv: string[]) => {
    let stdout = '';
    const env = { ...ny.env, NO_COLOR: '1', LANEKEEPER_CONFIG: file };
    const write = (text: string) => (stdout += text);
    const exitCode = await run(['doctor', ...argv], {
      env,
      directory: ny.cluster.dir,
      stdout: { write },
      stderr: { write },
    });
    return { exitCode, stdout };
  };
  const words = await said();
  expect(words.exitCode).toBe(1);
  expect(words.stdout).toContain('✗ public.forgotten is neither declared nor ignored');
  expect(words.stdout).toMatch(/✗ ny: \d+ errors, \d+ warnings\n$/);
  const sql = (await said('--sql')).stdout;
  expect(sql).toContain('\nALTER TABLE "public"."products" SET LOGGED;\n');
  expect(sql).toContain('\n-- ALTER TABLE "public"."lines" ADD PRIMARY KEY (…);\n');
  // What is meant for psql is SQL, every line of it.
  for (const line of sql.split('\n')) expect(line).toMatch(/^(--.*|(ALTER|CREATE|GRANT|REVOKE) .*;.*|)$/);
  expect(JSON.parse((await said('--json')).stdout)).toMatchObject({ dataCenter: 'ny', healthy: false });
});
