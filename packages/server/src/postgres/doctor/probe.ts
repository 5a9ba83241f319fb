/** Reads what the judges need from one server. Runs as whichever role can connect; the owner where possible. */
import type { Configuration, RoleName, TableName } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import { isGated } from '../classes/pieces.ts';
import type { Queryable } from '../queryable.ts';
import { hasRelays } from '../streams/names.ts';
import type { RoleFacts, RolesFacts, TableRights } from './roles.ts';
import type { ServerFacts, Setting } from './settings.ts';

export async function readServerFacts(client: Queryable, configuration: Configuration): Promise<ServerFacts> {
  const { rows } = await client.query<Setting>(
    'SELECT name, setting AS value, unit, context FROM pg_catalog.pg_settings',
  );
  const settings = new Map(rows.map((row) => [row.name, row]));
  const idle = await readRoleSetting(client, configuration.roles.application, 'idle_in_transaction_session_timeout');
  const present = settings.get('idle_in_transaction_session_timeout');
  if (idle !== null && present) settings.set(present.name, { ...present, value: idle });
  return {
    version: Number(settings.get('server_version_num')?.value ?? 0),
    settings,
    roles: { application: configuration.roles.application },
  };
}

/** What ALTER ROLE … SET says for a role in this database, or for it everywhere; null when it says nothing. */
async function readRoleSetting(client: Queryable, role: string, name: string): Promise<string | null> {
  const { rows } = await client.query<{ value: string }>(
    `SELECT split_part(c, '=', 2) AS value FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) c
      WHERE s.setrole IN (0, coalesce((SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1), 0)) AND split_part(c, '=', 1) = $2
        AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1`,
    [role, name],
  );
  return rows[0]?.value ?? null;
}

const roleSql = `SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolcanlogin AS login, r.rolreplication AS replication,
    r.rolcreaterole AS "createRole", has_database_privilege(r.oid, current_database(), 'CREATE') AS "createOnDatabase",
    has_parameter_privilege(r.oid, 'session_replication_role', 'SET') AS "setReplicationRole",
    (SELECT coalesce(json_agg(m.rolname), '[]') FROM pg_catalog.pg_roles m
      WHERE m.oid <> r.oid AND pg_has_role(r.oid, m.oid, 'MEMBER')) AS "memberOf",
    (SELECT coalesce(json_agg(m.rolname), '[]') FROM pg_catalog.pg_roles m
      WHERE m.oid <> r.oid AND pg_has_role(r.oid, m.oid, 'USAGE')) AS inherits
  FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($1)`;

const absent: RoleFacts = {
  exists: false,
  superuser: false,
  login: false,
  replication: false,
  createRole: false,
  createOnDatabase: false,
  setReplicationRole: false,
  memberOf: [],
  inherits: [],
};

export async function readRolesFacts(
  client: Queryable,
  configuration: Configuration,
  catalog: Catalog,
): Promise<RolesFacts> {
  const names = configuration.roles;
  const { rows } = await client.query<RoleFacts & { name: string }>(roleSql, [Object.values(names)]);
  const factsOf = (role: RoleName): RoleFacts => {
    const row = rows.find((candidate) => candidate.name === names[role]);
    return row ? { ...row, exists: true } : absent;
  };
  const { rows: rest } = await client.query<{
    name: string;
    origins: boolean;
    standbys: boolean;
    undoes: boolean;
    replays: boolean;
    uptime: boolean;
  }>(
    `SELECT current_database() AS name,
        coalesce((SELECT has_parameter_privilege(r.oid, 'synchronous_standby_names', 'ALTER SYSTEM')
          AND has_function_privilege(r.oid, 'pg_catalog.pg_reload_conf()', 'EXECUTE')
          FROM pg_catalog.pg_roles r WHERE r.rolname = $1), false) AS standbys,
        coalesce((SELECT has_parameter_privilege(r.oid, 'session_replication_role', 'SET')
          AND has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_create(text)', 'EXECUTE')
          AND has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_oid(text)', 'EXECUTE')
          AND has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_session_setup(text)', 'EXECUTE')
          AND has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_session_reset()', 'EXECUTE')
          FROM pg_catalog.pg_roles r WHERE r.rolname = $1), false) AS undoes,
        coalesce((SELECT has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_xact_setup(pg_lsn, timestamptz)', 'EXECUTE')
          FROM pg_catalog.pg_roles r WHERE r.rolname = $1), false) AS replays,
        coalesce((SELECT has_function_privilege(r.oid, 'pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE')
          FROM pg_catalog.pg_roles r WHERE r.rolname = $1), false) AS origins,
        coalesce((SELECT has_function_privilege(r.oid, 'pg_catalog.pg_read_file(text)', 'EXECUTE')
          AND pg_has_role(r.oid, 'pg_read_server_files', 'USAGE') FROM pg_catalog.pg_roles r WHERE r.rolname = $2), false) AS uptime`,
    [names.agent, names.owner],
  );
  const database = rest[0] ?? {
    name: '',
    origins: false,
    standbys: false,
    undoes: false,
    replays: false,
    uptime: false,
  };
  return {
    database: database.name,
    agentReadsOrigins: database.origins,
    agentSetsStandbys: database.standbys,
    agentUndoes: database.undoes,
    agentReplays: hasRelays(configuration) ? database.replays : null,
    ownerReadsUptime: database.uptime,
    names,
    roles: {
      owner: factsOf('owner'),
      application: factsOf('application'),
      agent: factsOf('agent'),
      replication: factsOf('replication'),
    },
    tables: factsOf('application').exists ? await readTableRights(client, configuration, catalog) : [],
  };
}

async function readTableRights(
  client: Queryable,
  configuration: Configuration,
  catalog: Catalog,
): Promise<readonly TableRights[]> {
  const declared = Object.keys(configuration.tables).filter((name) => catalog.tables.has(name));
  const { rows } = await client.query<{ table: TableName; application: string[] }>(
    `SELECT n.nspname || '.' || c.relname AS table, (SELECT coalesce(json_agg(p), '[]')
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p
        WHERE has_table_privilege($1, c.oid, p)) AS application
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname || '.' || c.relname = ANY ($2)`,
    [configuration.roles.application, declared],
  );
  const sequences = [...catalog.sequences.values()].filter((sequence) => declared.includes(sequence.table ?? ''));
  const closed = await client.query<{ name: TableName }>(
    // An identity column draws for whoever may insert; only a default with nextval asks for the right.
    `SELECT n.nspname || '.' || c.relname AS name
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname || '.' || c.relname = ANY ($2)
        AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege($1, c.oid, 'USAGE') ELSE false END
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
          AND d.objid = c.oid AND d.deptype = 'i')`,
    [configuration.roles.application, sequences.map((sequence) => sequence.name)],
  );
  const shut = new Set(closed.rows.map((row) => row.name));
  return rows.map((row) => ({
    ...row,
    owner: catalog.tables.get(row.table)?.owner ?? '',
    wanted: wantedRights(configuration, row.table),
    closedSequences: sequences.filter((s) => s.table === row.table && shut.has(s.name)).map((s) => s.name),
  }));
}

function wantedRights(configuration: Configuration, table: TableName): readonly string[] {
  const declared = configuration.tables[table];
  // What is published is published by its owner.
  const reads =
    declared !== undefined && (isGated(declared) || (declared.feeder ?? configuration.here) !== configuration.here);
  return reads ? ['SELECT'] : ['SELECT', 'INSERT', 'UPDATE', 'DELETE'];
}

export type Identity = {
  /** Tells one database from another, wherever it is reached from. */
  readonly database: string;
  readonly version: number;
  readonly encoding: string;
  /** Decides how text sorts. */
  readonly order: string;
  readonly clockAheadMs: number;
  /** As `lanekeeper.installation` says; null before the first apply, or when this role may not read it. */
  readonly installation: string | null;
};

/** `clockAheadMs`: the server's clock, taken half-way between asking and answer, less that of this process. */
export async function readIdentity(client: Queryable): Promise<Identity> {
  const { rows: present } = await client.query<{ readable: boolean }>(
    `SELECT coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false) AS readable
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'lanekeeper' AND c.relname = 'installation'`,
  );
  const installed = present[0]?.readable
    ? (await client.query<{ who: string }>("SELECT cluster || '/' || dc AS who FROM lanekeeper.installation")).rows[0]
    : undefined;
  const asked = performance.now();
  const started = Date.now();
  const { rows } = await client.query<{
    ms: number;
    database: string;
    version: string;
    encoding: string;
    order: string;
  }>(
    `SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS ms,
        (SELECT system_identifier FROM pg_control_system()) || '/' || d.oid AS database,
        current_setting('server_version_num') AS version, pg_encoding_to_char(d.encoding) AS encoding,
        concat_ws(' ', d.datlocprovider, d.datcollate, pg_database_collation_actual_version(d.oid)) AS order
      FROM pg_catalog.pg_database d WHERE d.datname = current_database()`,
  );
  const tookMs = performance.now() - asked;
  const row = rows[0];
  if (!row) throw new TypeError('no database');
  return {
    database: row.database,
    version: Number(row.version),
    encoding: row.encoding,
    order: row.order,
    clockAheadMs: row.ms - (started + tookMs / 2),
    installation: installed?.who ?? null,
  };
}
