import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from './cluster.ts';
import { asSuperuser, ensureDatabase, roleUrl } from './database.ts';

const roles = {
  owner: { name: 'shop_owner', password: 'o /@:%' },
  application: { name: 'shop_application', password: 'a' },
  agent: { name: 'shop_agent', password: 'g' },
  replication: { name: 'shop_replication', password: 'r' },
};

let dir: string;
let cluster: Cluster;
let other: Cluster;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
  await chmod(dir, 0o755);
  [cluster, other] = await Promise.all([
    startCluster({ dir: join(dir, 'ny'), durable: false }),
    startCluster({ dir: join(dir, 'la'), durable: false, host: '127.0.0.1' }),
  ]);
});

afterAll(async () => {
  await cluster?.stop();
  await other?.stop();
  await rm(dir, { recursive: true, force: true });
});

async function ask<T>(url: string, sql: string): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query({ text: sql, rowMode: 'array' });
    return rows[0]?.[0] as T;
  } finally {
    await client.end();
  }
}

test('copies of the template are told apart by their system identifiers', async () => {
  const sql = 'SELECT system_identifier::text FROM pg_control_system()';
  const [one, two] = await Promise.all([ask(cluster.superuserUrl(), sql), ask(other.superuserUrl(), sql)]);
  expect(one).toMatch(/^\d{18,20}$/);
  expect(one).not.toBe(two);
});

test('settings are what replication and the fence need', async () => {
  expect(await ask(cluster.superuserUrl(), 'SHOW wal_level')).toBe('logical');
  expect(await ask(cluster.superuserUrl(), 'SHOW track_commit_timestamp')).toBe('on');
  expect(await ask(cluster.superuserUrl(), 'SHOW max_prepared_transactions')).toBe('0');
  expect(await ask(cluster.superuserUrl(), 'SHOW fsync')).toBe('off');
  expect(await ask(cluster.superuserUrl(), 'SHOW unix_socket_directories')).toBe('');
  expect(
    await ask<number>(cluster.superuserUrl(), 'SELECT count(*)::int FROM pg_file_settings WHERE error IS NOT NULL'),
  ).toBe(0);
});

test('roles have the rights they are told apart by', async () => {
  await ensureDatabase(cluster, { name: 'shop', roles });
  await ensureDatabase(cluster, { name: 'shop', roles });
  const owner = roleUrl(cluster, 'shop', roles.owner);
  expect(await ask(owner, 'SELECT current_user')).toBe('shop_owner');
  expect(await ask(owner, 'SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()')).toBe(
    'shop_owner',
  );
  const agent = roleUrl(cluster, 'shop', roles.agent);
  const rights = `SELECT string_agg(r, ',' ORDER BY r) FROM unnest(ARRAY['pg_create_subscription','pg_monitor','shop_owner']) r
    WHERE pg_has_role(current_user, r::name, 'USAGE') AND has_database_privilege(current_database(), 'CREATE')`;
  expect(await ask(agent, rights)).toBe('pg_create_subscription,pg_monitor,shop_owner');
  const application = roleUrl(cluster, 'shop', roles.application);
  expect(await ask(application, rights)).toBeNull();
  await expect(ask(application.replace(':a@', ':wrong@'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
});

test('what was committed survives kill -9', async () => {
  await asSuperuser(cluster, 'postgres', (client) => client.query('CREATE TABLE kept AS SELECT 42 AS n'));
  const port = cluster.port;
  await cluster.kill();
  expect(cluster.running()).toBe(false);
  expect(cluster.pid).toBeNull();
  await cluster.start();
  expect(cluster.port).toBe(port);
  expect(await ask(cluster.superuserUrl(), 'SELECT n FROM kept')).toBe(42);
});

test('a stopped cluster is found again in its folder, also when its port is taken', async () => {
  const port = other.port;
  await other.stop();
  const thief = await startCluster({ dir: join(dir, 'thief'), durable: false, port });
  try {
    expect(thief.port).toBe(port);
    other = await startCluster({ dir: join(dir, 'la'), durable: false, port });
    expect(other.port).not.toBe(port);
    expect(await ask(other.superuserUrl(), 'SELECT 1')).toBe(1);
  } finally {
    await thief.stop();
  }
});
