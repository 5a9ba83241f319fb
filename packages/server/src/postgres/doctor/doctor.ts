/**
 * Looks at everything Lanekeeper needs before it is needed: connects with the real roles, reads rights and settings, and
 * says what is missing together with the statement that mends it. Changes nothing.
 */
import { type Configuration, databaseUrl, type Environment, type RoleName, witnessUrl } from 'lanekeeper/config';
import type { DataCenterName, LeaseView } from 'lanekeeper/model';
import type { Client } from 'pg';
import { lookForLeaks } from '../classes/leaks.ts';
import { connect } from '../connect.ts';
import { readHazards } from '../inspect/hazards.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import { readStandbys } from '../standbys/read.ts';
import { absentPeers, readMembers } from '../streams/members.ts';
import { peersOf } from '../streams/names.ts';
import { databaseProblem } from '../transaction.ts';
import { bySeverity, type Finding, type Found, finding } from './finding.ts';
import { judgePlaces, judgeSchema } from './judge.ts';
import { judgeConnection, judgeIdentities, type Seen } from './peers.ts';
import { type Identity, readIdentity, readRolesFacts, readServerFacts } from './probe.ts';
import { judgeRoles } from './roles.ts';
import { judgeSettings } from './settings.ts';
import { judgeStandbys } from './standbys.ts';

export type DoctorOptions = {
  readonly configuration: Configuration;
  readonly env: Environment;
  /** Reads a lease store that is not on PostgreSQL; throws when it does not answer. Default: it is not looked at. */
  readonly askStore?: () => Promise<LeaseView>;
};

export type DoctorReport = {
  readonly dataCenter: DataCenterName;
  /** No finding is an error. */
  readonly healthy: boolean;
  /** The gravest first. */
  readonly findings: readonly Finding[];
};

const applicationName = 'lanekeeper doctor';
const roleNames: readonly RoleName[] = ['owner', 'agent', 'application', 'replication'];

export async function doctor({ configuration, env, askStore }: DoctorOptions): Promise<DoctorReport> {
  const { here } = configuration;
  const findings: Finding[] = [];
  const add = (dc: DataCenterName, found: readonly Found[]) => findings.push(...found.map((one) => finding(dc, one)));
  const own = await lookAtOwn(configuration, env);
  add(here, own.found);
  findings.push(...judgePlaces(configuration));
  const peers: Seen[] = [];
  const absent = await readAbsent(configuration, env);
  for (const dc of peersOf(configuration)) {
    const peer = await lookAtPeer(configuration, env, dc);
    add(dc, absent.includes(dc) ? [notJoined(dc), ...peer.found.map(asAdvice)] : peer.found);
    if (peer.identity) peers.push({ dc, identity: peer.identity });
  }
  if (own.identity) add(here, judgeIdentities(configuration, { dc: here, identity: own.identity }, peers));
  add(
    here,
    configuration.leases.store === 'postgres'
      ? await lookAtWitness(configuration, env)
      : await lookAtStore(configuration, own.identity, askStore),
  );
  findings.sort(bySeverity);
  return { dataCenter: here, healthy: findings.every(({ severity }) => severity !== 'error'), findings };
}

/** As this data center has it; nobody, where that cannot be read. */
async function readAbsent(configuration: Configuration, env: Environment): Promise<readonly DataCenterName[]> {
  const connected = await connect(databaseUrl(configuration, configuration.here, 'agent', env), { applicationName });
  if (connected.kind === 'unavailable') return [];
  try {
    return absentPeers(configuration, await readMembers(connected.client));
  } catch (thrown) {
    if (databaseProblem(thrown) === null) throw thrown;
    return [];
  } finally {
    await connected.client.end();
  }
}

function notJoined(dc: DataCenterName): Found {
  const why = `nobody reads it or waits for it until \`lanekeeper join ${dc}\``;
  return { severity: 'advice', code: 'not-joined', subject: dc, what: `${dc} has not joined yet`, why };
}

/** What has to be right before it joins stops nobody now. */
function asAdvice(found: Found): Found {
  return { ...found, severity: 'advice' };
}

type Look = { readonly found: readonly Found[]; readonly identity: Identity | null };

async function lookAtOwn(configuration: Configuration, env: Environment): Promise<Look> {
  const { here } = configuration;
  const found: Found[] = [];
  const clients = new Map<RoleName, Client>();
  try {
    for (const role of roleNames) {
      const result = await connect(databaseUrl(configuration, here, role, env), { applicationName });
      if (result.kind === 'connected') clients.set(role, result.client);
      else found.push(judgeConnection(result, here, role, here));
      // Four times the same answer helps nobody.
      if (result.kind === 'unavailable' && result.reason === 'unreachable') break;
    }
    const client = [...clients.values()][0];
    if (!client) return { found, identity: null };
    const catalog = await readCatalog(client);
    found.push(
      ...judgeSettings(await readServerFacts(client, configuration), peersOf(configuration).length),
      ...judgeStandbys(await readStandbys(client), here, configuration.dataCenters[here]?.standbys ?? []),
      ...judgeRoles(await readRolesFacts(client, configuration, catalog)),
      ...(await lookForLeaks(client, configuration)),
      ...judgeSchema(configuration, catalog, await readHazards(client)),
    );
    return { found, identity: await readIdentity(client) };
  } catch (thrown) {
    const problem = databaseProblem(thrown);
    if (!problem) throw thrown;
    const why = 'the rest could not be looked at';
    found.push({
      severity: 'error',
      code: 'probe-failed',
      subject: here,
      what: `${problem.message} [${problem.code}]`,
      why,
    });
    return { found, identity: null };
  } finally {
    for (const client of clients.values()) await client.end();
  }
}

/** A peer's own `doctor` looks at its settings; from here, only what has to work from here. */
async function lookAtPeer(configuration: Configuration, env: Environment, dc: DataCenterName): Promise<Look> {
  const found: Found[] = [];
  let identity: Identity | null = null;
  for (const role of ['agent', 'replication'] as const) {
    const result = await connect(databaseUrl(configuration, dc, role, env), { applicationName });
    if (result.kind === 'unavailable') {
      found.push(judgeConnection(result, dc, role, dc));
      if (result.reason === 'unreachable') break;
      continue;
    }
    try {
      if (role === 'agent') identity = await readIdentity(result.client);
      found.push(...(await lookAtTransport(result.client, dc, role)));
    } finally {
      await result.client.end();
    }
  }
  return { found, identity };
}

/** Rows between data centers travel encrypted, unless they stay on this machine. */
async function lookAtTransport(client: Client, dc: DataCenterName, role: RoleName): Promise<Found[]> {
  const { rows } = await client.query<{ plain: boolean }>(
    `SELECT NOT s.ssl AND a.client_addr IS NOT NULL AND NOT a.client_addr <<= '127.0.0.0/8' AND a.client_addr <> '::1' AS plain
      FROM pg_catalog.pg_stat_ssl s JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE s.pid = pg_backend_pid()`,
  );
  if (!rows[0]?.plain) return [];
  return [
    {
      severity: 'warning',
      code: 'connection-plain',
      subject: `${role} to ${dc}`,
      what: 'the connection is not encrypted',
      why: 'everything customers write passes here',
      mend: `dataCenters.${dc}.database: …?sslmode=verify-full`,
    },
  ];
}

async function lookAtStore(
  { here }: Configuration,
  identity: Identity | null,
  askStore: DoctorOptions['askStore'],
): Promise<Found[]> {
  if (askStore === undefined) return [];
  const found = { severity: 'error', subject: 'the lease store' } as const;
  let view: LeaseView;
  try {
    view = await askStore();
  } catch (thrown) {
    const why = 'without it there is no lease, and without a lease nothing is written';
    return [{ ...found, code: 'store-unreachable', what: (thrown as Error).message, why }];
  }
  const known = view.leases.find(({ dataCenter }) => dataCenter === here)?.incarnation;
  if (known === undefined || identity === null || identity.database.startsWith(`${known.systemIdentifier}/`)) return [];
  const what = `the lease store knows another database as ${here}, with system identifier ${known.systemIdentifier}`;
  const why = 'two databases of one name would both be written; this one gets no lease';
  return [{ ...found, code: 'store-other-database', what, why }];
}

async function lookAtWitness(configuration: Configuration, env: Environment): Promise<Found[]> {
  const result = await connect(witnessUrl(configuration, env, configuration.here), { applicationName });
  if (result.kind === 'unavailable') return [judgeConnection(result, 'the witness', 'witness', configuration.here)];
  await result.client.end();
  return [];
}
