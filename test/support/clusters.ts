/**
 * Real PostgreSQL for tests: see README.md in this folder. Everything started here ends with `stop()`; what a test file
 * leaves running fails it (see `leaks.setup.ts`), and could not outlive the worker anyway.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Cluster,
  ensureDatabase,
  type Native,
  type Role,
  roleUrl,
  type SettingValue,
  startCluster,
  watchOver,
} from '@lanekeeper/lab';
import type { RoleName } from 'lanekeeper/config';
import { Client } from 'pg';

export type TestUrls = Readonly<Record<RoleName | 'superuser', string>>;

export type TestDatabase = {
  readonly name: string;
  readonly roles: Readonly<Record<RoleName, Role>>;
  /** Connection URLs with passwords. They change when a restarted cluster got another port: ask again. */
  readonly urls: TestUrls;
  readonly cluster: Cluster;
};

export type TestCluster = {
  readonly cluster: Cluster;
  /** A new database of its own random name with the four roles; `schema` is run as the owner. */
  database(options?: { readonly schema?: string }): Promise<TestDatabase>;
  stop(): Promise<void>;
};

export const testRoleNames = {
  owner: 'lanekeeper_owner',
  application: 'lanekeeper_application',
  agent: 'lanekeeper_agent',
  replication: 'lanekeeper_replication',
} as const;

export function testPasswords(): Readonly<Record<RoleName, string>> {
  const password = () => randomBytes(9).toString('base64url');
  return { owner: password(), application: password(), agent: password(), replication: password() };
}

/** A cluster of its own, without durability, in a temporary folder. About 0.3 s. */
export async function testCluster(
  options: {
    readonly settings?: Readonly<Record<string, SettingValue>>;
    readonly passwords?: Readonly<Record<RoleName, string>>;
    readonly native?: Native;
  } = {},
): Promise<TestCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
  // PostgreSQL runs as another user when we are root, and has to walk through here.
  await chmod(dir, 0o755);
  // Also when the worker is killed.
  const released = watchOver({ folders: [dir] });
  const passwords = options.passwords ?? testPasswords();
  const role = (name: RoleName): Role => ({ name: testRoleNames[name], password: passwords[name] });
  const roles = {
    owner: role('owner'),
    application: role('application'),
    agent: role('agent'),
    replication: role('replication'),
  };
  const { settings = {}, native } = options;
  const cluster = await startCluster({ dir, durable: false, settings, ...(native && { native }) });
  return {
    cluster,
    async database({ schema } = {}) {
      const name = `shop_${randomBytes(4).toString('hex')}`;
      await ensureDatabase(cluster, { name, roles });
      const database: TestDatabase = {
        name,
        roles,
        cluster,
        get urls() {
          return {
            owner: roleUrl(cluster, name, roles.owner),
            application: roleUrl(cluster, name, roles.application),
            agent: roleUrl(cluster, name, roles.agent),
            replication: roleUrl(cluster, name, roles.replication),
            superuser: cluster.superuserUrl(name),
          };
        },
      };
      if (schema !== undefined) await runSql(database.urls.owner, schema);
      return database;
    },
    async stop() {
      await cluster.stop('immediate');
      await rm(dir, { recursive: true, force: true });
      released();
    },
  };
}

/** One plain database in a cluster of its own. */
export async function testDatabase(
  options: { readonly schema?: string; readonly settings?: Readonly<Record<string, SettingValue>> } = {},
): Promise<TestDatabase & { stop(): Promise<void> }> {
  const cluster = await testCluster(options.settings ? { settings: options.settings } : {});
  try {
    const database = await cluster.database(options.schema === undefined ? {} : { schema: options.schema });
    return Object.assign(database, { stop: () => cluster.stop() });
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

/** Runs one or more statements on a connection of its own; returns the rows of the last one. */
export async function runSql<Row = Record<string, unknown>>(
  url: string,
  sql: string,
  values?: readonly unknown[],
): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    const result = values ? await client.query(sql, [...values]) : await client.query(sql);
    const last = Array.isArray(result) ? result.at(-1) : result;
    return last.rows as Row[];
  } finally {
    await client.end();
  }
}
