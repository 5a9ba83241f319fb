/** The lease store: where it is, how long leases last, and whether it can decide a failover. Part of `resolve.ts`. */
import { resolve as resolvePath } from 'node:path';
import type { Configuration, DataCenter } from './configuration.ts';
import { durationMs, formatDuration } from './duration.ts';
import type { Problems } from './problem.ts';
import { isLoopback } from './resolve-data-centers.ts';
import { checkDatabaseUrl, checkOrigin, serverIdentity } from './resolve-urls.ts';
import type { FilledConfiguration } from './schema.ts';

type DataCenters = Readonly<Record<string, DataCenter>>;
type Store = Pick<Configuration['leases'], 'url' | 'endpoints' | 'user' | 'tls'>;

/** `leases.faultDomain` of a store that has no place of its own. */
const noFaultDomain = 'none';

const instead = 'Put the store into a third place, or write `failover: { mode: manual }`: a person then decides.';

export function resolveLeases(
  written: FilledConfiguration,
  dataCenters: DataCenters,
  problems: Problems,
  directory: string,
): Configuration['leases'] {
  const { store, faultDomain } = written.leases;
  const where = store === 'etcd' ? etcd(written, problems, directory) : postgres(written, dataCenters, problems);
  checkFaultDomain(written, dataCenters, problems);
  return { store, ...where, faultDomain, ...times(written, problems) };
}

function times(written: FilledConfiguration, problems: Problems) {
  const { leases } = written;
  const ttlMs = durationMs(leases.ttl, ['leases', 'ttl'], problems, 500, 300_000);
  const renewEveryMs = durationMs(leases.renewEvery, ['leases', 'renewEvery'], problems, 50, 300_000);
  const skewMs = durationMs(leases.skew, ['leases', 'skew'], problems, 0, 300_000);
  if (renewEveryMs * 2 >= ttlMs) {
    problems.error(
      ['leases', 'renewEvery'],
      `Renewed every ${formatDuration(renewEveryMs)}, a lease of ${formatDuration(ttlMs)} would not survive one lost renewal`,
      'Less than half of `ttl`.',
    );
  }
  if (skewMs >= ttlMs)
    problems.error(['leases', 'skew'], 'Clocks that drift by a whole lease cannot hold one', 'Less than `ttl`.');
  return { ttlMs, renewEveryMs, skewMs };
}

function postgres(written: FilledConfiguration, dataCenters: DataCenters, problems: Problems): Store {
  const { leases, failover } = written;
  for (const key of ['endpoints', 'user'] as const)
    if (leases[key] !== undefined)
      problems.error(['leases', key], `\`${key}\` is for etcd`, 'Remove it, or write `store: etcd`.', 'key');
  if (Object.keys(leases.tls).length > 0)
    problems.error(
      ['leases', 'tls'],
      '`tls` is for etcd',
      'PostgreSQL takes it in the URL: `?sslmode=verify-full&sslrootcert=…`.',
      'key',
    );
  const none = { url: '', endpoints: [], user: null, tls: { ca: null, cert: null, key: null } };
  if (leases.url === undefined) {
    const shape = 'The URL of the witness: postgres://user@host:port/database.';
    problems.error(['leases', 'url'], '`leases.url` is missing', shape, 'key');
    return none;
  }
  const url = checkDatabaseUrl(leases.url, ['leases', 'url'], problems, {
    user: 'allowed',
    secret: 'LANEKEEPER_WITNESS_PASSWORD',
  });
  if (url === null) return none;
  for (const dc of Object.values(dataCenters)) {
    if (dc.database === '' || serverIdentity(new URL(dc.database)) !== serverIdentity(url)) continue;
    const message = `The witness is the PostgreSQL of \`${dc.name}\`: when that fails, nobody can say who may write`;
    if (failover.mode === 'automatic' && Object.keys(dataCenters).length === 2)
      problems.error(['leases', 'url'], `${message}, so automatic failover is refused`, instead);
    else problems.warn(['leases', 'url'], message, 'Put the witness into a third place.');
  }
  return { ...none, url: url.href };
}

function etcd(written: FilledConfiguration, problems: Problems, directory: string): Store {
  const { leases } = written;
  if (leases.url !== undefined)
    problems.error(
      ['leases', 'url'],
      '`url` is for a store on PostgreSQL',
      'etcd has `endpoints`: https://etcd-1.example:2379.',
      'key',
    );
  const endpoints: string[] = [];
  for (const [index, text] of (leases.endpoints ?? []).entries()) {
    const path = ['leases', 'endpoints', index];
    const origin = checkOrigin(
      text,
      path,
      problems,
      'The user is `leases.user`, its password LANEKEEPER_WITNESS_PASSWORD.',
    );
    if (origin === null) continue;
    if (endpoints.includes(origin)) problems.error(path, 'The same address twice', 'Remove one of them.');
    const { protocol, hostname } = new URL(origin);
    if (protocol === 'http:' && !isLoopback(hostname))
      problems.warn(path, 'Whoever is on the way could say who may write', 'Use https.');
    endpoints.push(origin);
  }
  if (leases.endpoints === undefined || leases.endpoints.length === 0)
    problems.error(
      ['leases', 'endpoints'],
      'Where is etcd?',
      'Add `endpoints:` with the base URLs of its members: [https://etcd-1.example:2379, …].',
      'key',
    );
  else if (leases.endpoints.length === 1)
    problems.warn(
      ['leases', 'endpoints'],
      'With one endpoint the store is lost when that member is',
      'Name all members, three or five of them.',
    );
  const { ca, cert, key } = leases.tls;
  if ((cert === undefined) !== (key === undefined))
    problems.error(
      ['leases', 'tls'],
      'A certificate and its private key belong together',
      cert === undefined ? 'Add `cert`, or remove `key`.' : 'Add `key`, or remove `cert`.',
    );
  if (Object.keys(leases.tls).length > 0 && endpoints.some((origin) => origin.startsWith('http:')))
    problems.error(['leases', 'tls'], '`tls` is for https endpoints, and one of these is http', 'Write https.');
  const file = (name: string | undefined) => (name === undefined ? null : resolvePath(directory, name));
  return { url: '', endpoints, user: leases.user ?? null, tls: { ca: file(ca), cert: file(cert), key: file(key) } };
}

/** Two data centers cannot tell a dead peer from a cut link: a third place has to, and must not die with one of them. */
function checkFaultDomain(written: FilledConfiguration, dataCenters: DataCenters, problems: Problems): void {
  if (Object.keys(dataCenters).length !== 2 || written.failover.mode === 'manual') return;
  const path = ['leases', 'faultDomain'];
  const { faultDomain } = written.leases;
  if (faultDomain.toLowerCase() === noFaultDomain) {
    problems.error(
      path,
      'Two data centers without a witness cannot tell a dead peer from a cut link, so automatic failover is refused',
      instead,
    );
    return;
  }
  const shared = Object.values(dataCenters).find((dc) => dc.faultDomain.toLowerCase() === faultDomain.toLowerCase());
  if (shared !== undefined)
    problems.error(
      path,
      `The lease store fails together with \`${shared.name}\`, and then nobody can say who may write, so automatic failover is refused`,
      instead,
    );
}
