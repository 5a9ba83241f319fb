/** The four roles of one server, judged: enough rights each, and not too many. Pure. */
import type { RoleName, TableName } from 'lanekeeper/config';
import { quoteName, quoteTable } from '../fence/names.ts';
import { splitName } from '../sql-text.ts';
import type { Found } from './finding.ts';

export type RoleFacts = {
  readonly exists: boolean;
  readonly superuser: boolean;
  readonly login: boolean;
  readonly replication: boolean;
  readonly createRole: boolean;
  readonly createOnDatabase: boolean;
  /** May turn triggers off for its session. */
  readonly setReplicationRole: boolean;
  /** Roles that it can become, directly or not. */
  readonly memberOf: readonly string[];
  /** Roles whose rights it has without becoming them. */
  readonly inherits: readonly string[];
};

export type TableRights = {
  readonly table: TableName;
  readonly owner: string;
  /** What the application needs: a table that another data center feeds is only read here. */
  readonly wanted: readonly string[];
  /** Of the application: SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER. */
  readonly application: readonly string[];
  /** Sequences that its columns draw from and the application may not use. */
  readonly closedSequences: readonly TableName[];
};

export type RolesFacts = {
  readonly database: string;
  readonly names: Readonly<Record<RoleName, string>>;
  readonly roles: Readonly<Record<RoleName, RoleFacts>>;
  /** The agent may call `pg_replication_origin_progress`. */
  readonly agentReadsOrigins: boolean;
  /** The agent may change `synchronous_standby_names` and have it read. */
  readonly agentSetsStandbys: boolean;
  /** The agent may write as replica and under an origin. */
  readonly agentUndoes: boolean;
  /** The agent may apply, under an origin, what was fetched from another data center; null: two data centers have nothing to fetch. */
  readonly agentReplays: boolean | null;
  /** The owner may read the machine's uptime from `/proc`. */
  readonly ownerReadsUptime: boolean;
  readonly tables: readonly TableRights[];
};

const bySuperuser = { runAs: 'superuser' } as const;

export function judgeRoles(facts: RolesFacts): Found[] {
  const missing = (Object.keys(facts.names) as RoleName[]).filter((role) => !facts.roles[role].exists);
  return [
    ...missing.map((role) => missingRole(facts, role)),
    ...(missing.length === 0 ? [...judgeAttributes(facts), ...judgeMemberships(facts), ...judgeFunctions(facts)] : []),
    ...judgeTables(facts),
  ];
}

function missingRole({ names }: RolesFacts, role: RoleName): Found {
  const attributes = role === 'replication' ? 'LOGIN REPLICATION' : 'LOGIN';
  return {
    severity: 'error',
    code: 'role-missing',
    subject: names[role],
    what: `there is no role ${names[role]}`,
    why: `it is the ${role} role; the roles are apart so that none of them can pass the fence`,
    mend: `CREATE ROLE ${quoteName(names[role])} ${attributes} PASSWORD '…';`,
    ...bySuperuser,
  };
}

function judgeAttributes({ names, roles, database }: RolesFacts): Found[] {
  const found: Found[] = [];
  for (const role of Object.keys(names) as RoleName[]) {
    const name = quoteName(names[role]);
    const subject = names[role];
    if (!roles[role].login) {
      const why = `the ${role} role connects`;
      found.push({
        severity: 'error',
        code: 'role-login',
        subject,
        what: `${subject} may not log in`,
        why,
        mend: `ALTER ROLE ${name} LOGIN;`,
        ...bySuperuser,
      });
    }
    if (roles[role].superuser) {
      found.push({
        severity: role === 'application' ? 'error' : 'warning',
        code: 'role-superuser',
        subject,
        what: `${subject} is a superuser`,
        why: role === 'application' ? 'a superuser passes every fence (R1)' : 'it needs far less',
        mend: `ALTER ROLE ${name} NOSUPERUSER;`,
        ...bySuperuser,
      });
    }
  }
  const { application, replication, owner, agent } = roles;
  if (!replication.replication) {
    found.push({
      severity: 'error',
      code: 'role-replication',
      subject: names.replication,
      what: `${names.replication} may not replicate`,
      why: 'the other data centers read their streams as this role',
      mend: `ALTER ROLE ${quoteName(names.replication)} REPLICATION;`,
      ...bySuperuser,
    });
  }
  for (const [role, attribute, keyword] of [
    ['application', application.replication, 'REPLICATION'],
    ['application', application.createRole, 'CREATEROLE'],
  ] as const) {
    if (!attribute) continue;
    found.push({
      severity: 'error',
      code: `role-${keyword.toLowerCase()}`,
      subject: names[role],
      what: `${names[role]} has ${keyword}`,
      why: 'the role of the application could give itself what passes the fence (R1)',
      mend: `ALTER ROLE ${quoteName(names[role])} NO${keyword};`,
      ...bySuperuser,
    });
  }
  if (application.setReplicationRole && !application.superuser) {
    found.push({
      severity: 'error',
      code: 'role-replica-mode',
      subject: names.application,
      what: `${names.application} may set session_replication_role`,
      why: 'that turns triggers off, and the fence with them (R1)',
      mend: `REVOKE SET ON PARAMETER session_replication_role FROM ${quoteName(names.application)};`,
      ...bySuperuser,
    });
  }
  for (const [role, facts, why] of [
    ['owner', owner, 'it creates the schema lanekeeper and the publications'],
    ['agent', agent, 'it creates the subscriptions'],
  ] as const) {
    if (facts.createOnDatabase) continue;
    const mend = `GRANT CREATE ON DATABASE ${quoteName(database)} TO ${quoteName(names[role])};`;
    found.push({
      severity: 'error',
      code: 'role-create',
      subject: names[role],
      what: `${names[role]} may not create anything in ${database}`,
      why,
      mend,
      ...bySuperuser,
    });
  }
  return found;
}

function judgeMemberships({ names, roles }: RolesFacts): Found[] {
  const found: Found[] = [];
  const wanted = [
    ['pg_create_subscription', 'error', 'it creates the subscriptions'],
    ['pg_monitor', 'error', 'it watches the streams'],
    [
      'pg_signal_backend',
      'error',
      'it ends transactions that do not come to an end, and commits that wait for a data center that is gone',
    ],
    [
      names.owner,
      'error',
      'what is applied is applied as the owner of the tables, and it calls what the owner created',
    ],
  ] as const;
  for (const [role, severity, why] of wanted) {
    if (roles.agent.superuser || roles.agent.inherits.includes(role)) continue;
    const mend = `GRANT ${quoteName(role)} TO ${quoteName(names.agent)};`;
    found.push({
      severity,
      code: 'role-membership',
      subject: names.agent,
      what: `${names.agent} is not a member of ${role}`,
      why,
      mend,
      ...bySuperuser,
    });
  }
  for (const role of [names.owner, names.agent, names.replication]) {
    if (roles.application.superuser || !roles.application.memberOf.includes(role)) continue;
    const why = 'it can become a role that the fence does not stop (R1)';
    const mend = `REVOKE ${quoteName(role)} FROM ${quoteName(names.application)};`;
    found.push({
      severity: 'error',
      code: 'role-separation',
      subject: names.application,
      what: `${names.application} is a member of ${role}`,
      why,
      mend,
      ...bySuperuser,
    });
  }
  return found;
}

const undoGrants = [
  'SET ON PARAMETER session_replication_role',
  `EXECUTE ON FUNCTION ${[
    'pg_replication_origin_create(text)',
    'pg_replication_origin_oid(text)',
    'pg_replication_origin_session_setup(text)',
    'pg_replication_origin_session_reset()',
  ]
    .map((name) => `pg_catalog.${name}`)
    .join(', ')}`,
];

/** What is worth having, and not everybody wants to give. */
function judgeFunctions({
  names,
  agentReadsOrigins,
  agentSetsStandbys,
  agentUndoes,
  agentReplays,
  ownerReadsUptime,
}: RolesFacts): Found[] {
  const found: Found[] = [];
  if (!agentSetsStandbys) {
    const agent = quoteName(names.agent);
    found.push({
      severity: 'warning',
      code: 'role-standbys',
      subject: names.agent,
      what: `${names.agent} may not say whom commits wait for`,
      why: 'applications then have to wait for other data centers themselves after a `remote` commit; those without the SDK do not',
      mend: `GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO ${agent}; GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO ${agent};`,
      ...bySuperuser,
    });
  }
  if (!agentUndoes) {
    found.push({
      severity: 'warning',
      code: 'role-undo',
      subject: names.agent,
      what: `${names.agent} may not take back what was stranded`,
      why: 'a data center that was taken over could then only come back by being seeded again',
      mend: undoGrants.map((grant) => `GRANT ${grant} TO ${quoteName(names.agent)};`).join(' '),
      ...bySuperuser,
    });
  }
  if (agentReplays === false) {
    found.push({
      severity: 'error',
      code: 'role-replay',
      subject: names.agent,
      what: `${names.agent} may not apply what it fetches from another data center`,
      why: 'a data center that had heard less than another one of one that failed would have to be seeded again',
      mend: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_xact_setup(pg_lsn, timestamptz) TO ${quoteName(names.agent)};`,
      ...bySuperuser,
    });
  }
  if (!agentReadsOrigins) {
    found.push({
      severity: 'error',
      code: 'role-origins',
      subject: names.agent,
      what: `${names.agent} may not read how far streams have been applied to disk`,
      why: 'without it nothing can be taken over here, and a database restored from an old copy is not known for one',
      mend: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean) TO ${quoteName(names.agent)};`,
      ...bySuperuser,
    });
  }
  if (!ownerReadsUptime) {
    const owner = quoteName(names.owner);
    found.push({
      severity: 'advice',
      code: 'role-uptime',
      subject: names.owner,
      what: `${names.owner} may not read /proc/uptime`,
      why: 'a lease is then also counted by a clock that nobody can set; the grant opens other files of the server to it, too',
      mend: `GRANT pg_read_server_files TO ${owner}; GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO ${owner};`,
      ...bySuperuser,
    });
  }
  return found;
}

function judgeTables({ names, roles, tables }: RolesFacts): Found[] {
  const found: Found[] = [];
  const application = quoteName(names.application);
  for (const { table, owner, wanted, application: rights, closedSequences } of tables) {
    const quoted = quoteTable(splitName(table));
    if (owner === names.application) {
      found.push({
        severity: 'error',
        code: 'table-owned-by-application',
        subject: table,
        what: `${table} belongs to ${owner}, the role of the application`,
        why: 'an owner can drop the triggers of his table (R1)',
        mend: `ALTER TABLE ${quoted} OWNER TO ${quoteName(names.owner)};`,
        ...bySuperuser,
      });
    } else if (owner !== names.owner && !roles.owner.superuser && !roles.owner.memberOf.includes(owner)) {
      found.push({
        severity: 'error',
        code: 'table-owner',
        subject: table,
        what: `${table} belongs to ${owner}, not to ${names.owner}`,
        why: 'only its owner can fence and publish it',
        mend: `ALTER TABLE ${quoted} OWNER TO ${quoteName(names.owner)};`,
        ...bySuperuser,
      });
    }
    const lacking = wanted.filter((right) => !rights.includes(right));
    if (lacking.length > 0 && owner !== names.application) {
      found.push({
        severity: 'warning',
        code: 'table-rights',
        subject: table,
        what: `${names.application} may not ${lacking.join(', ')}`,
        why: 'the application works with less than it may need',
        mend: `GRANT ${lacking.join(', ')} ON ${quoted} TO ${application};`,
        runAs: 'owner',
      });
    }
    const tooMuch = ['TRUNCATE', 'TRIGGER'].filter((right) => rights.includes(right));
    // What it may as a member of the owner is said by that.
    if (tooMuch.length > 0 && owner !== names.application && !roles.application.memberOf.includes(owner)) {
      found.push({
        severity: 'warning',
        code: 'table-rights-too-many',
        subject: table,
        what: `${names.application} may ${tooMuch.join(' and ')}`,
        why: 'TRUNCATE is refused in any case, and a trigger of the application could change rows behind the fence',
        mend: `REVOKE ${tooMuch.join(', ')} ON ${quoted} FROM ${application};`,
        runAs: 'owner',
      });
    }
    for (const sequence of closedSequences) {
      found.push({
        severity: 'warning',
        code: 'sequence-rights',
        subject: sequence,
        what: `${names.application} may not draw numbers`,
        why: `inserts into ${table} draw from it`,
        mend: `GRANT USAGE ON SEQUENCE ${quoteTable(splitName(sequence))} TO ${application};`,
        runAs: 'owner',
      });
    }
  }
  return found;
}
