/** A database with the four roles that Lanekeeper tells apart, made the way the documentation tells an operator to. */

import type { RoleName } from 'lanekeeper/config';
import { Client, escapeIdentifier, escapeLiteral } from 'pg';
import type { Cluster } from './cluster.ts';

export type Role = { readonly name: string; readonly password: string };

export type DatabaseOptions = {
  readonly name: string;
  readonly roles: Readonly<Record<RoleName, Role>>;
};

/** Creates roles and database where they are missing; passwords are set in any case. Safe to repeat. */
export async function ensureDatabase(cluster: Cluster, options: DatabaseOptions): Promise<void> {
  const { owner, application, agent, replication } = options.roles;
  await asSuperuser(cluster, 'postgres', async (client) => {
    await ensureRole(client, owner, '');
    await ensureRole(client, application, '');
    await ensureRole(client, agent, '');
    await ensureRole(client, replication, 'REPLICATION');
    await client.query(`GRANT ${escapeIdentifier(owner.name)} TO ${escapeIdentifier(agent.name)}`);
    await client.query(
      `GRANT pg_create_subscription, pg_monitor, pg_signal_backend TO ${escapeIdentifier(agent.name)}`,
    );
    await ensureOwned(client, options.name, owner);
    await client.query(`GRANT CREATE ON DATABASE ${escapeIdentifier(options.name)} TO ${escapeIdentifier(agent.name)}`);
    await client.query(`GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO ${escapeIdentifier(agent.name)}`);
    await client.query(`GRANT SET ON PARAMETER session_replication_role TO ${escapeIdentifier(agent.name)}`);
  });
  // Rights on functions are a database's own.
  await asSuperuser(cluster, options.name, (client) =>
    client.query(
      `GRANT EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean), pg_catalog.pg_reload_conf(),
        pg_catalog.pg_replication_origin_create(text), pg_catalog.pg_replication_origin_oid(text),
        pg_catalog.pg_replication_origin_session_setup(text), pg_catalog.pg_replication_origin_session_reset(),
        pg_catalog.pg_replication_origin_xact_setup(pg_lsn, timestamptz)
        TO ${escapeIdentifier(agent.name)}`,
    ),
  );
}

/** A database with nobody but its owner, for the witness. Safe to repeat. */
export async function ensurePlainDatabase(cluster: Cluster, name: string, owner: Role): Promise<void> {
  await asSuperuser(cluster, 'postgres', async (client) => {
    await ensureRole(client, owner, '');
    await ensureOwned(client, name, owner);
  });
}

async function ensureOwned(client: Client, name: string, owner: Role): Promise<void> {
  const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name]);
  if (rowCount !== 0) return;
  await client.query(`CREATE DATABASE ${escapeIdentifier(name)} OWNER ${escapeIdentifier(owner.name)}`);
}

/** The URL of a database for one role, password included. */
export function roleUrl(cluster: Cluster, database: string, role: Role): string {
  const user = `${encodeURIComponent(role.name)}:${encodeURIComponent(role.password)}`;
  return `postgres://${user}@${cluster.host}:${cluster.port}/${encodeURIComponent(database)}`;
}

/** Runs `work` on a superuser's connection. */
export async function asSuperuser<T>(
  cluster: Cluster,
  database: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({ connectionString: cluster.superuserUrl(database) });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function ensureRole(client: Client, role: Role, attributes: string): Promise<void> {
  const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [role.name]);
  const verb = rowCount === 0 ? 'CREATE' : 'ALTER';
  await client.query(
    `${verb} ROLE ${escapeIdentifier(role.name)} LOGIN ${attributes} PASSWORD ${escapeLiteral(role.password)}`,
  );
}
