/**
 * From what was written, its shape known to be right, to the complete frozen configuration. Pure: everything read from
 * files or the environment comes in as an argument. Collects every mistake instead of stopping at the first.
 *
 * - `resolve-data-centers.ts`, `resolve-urls.ts`: where and how
 * - `resolve-leases.ts`: the lease store, and whether a failover may be automatic
 * - `resolve-tables.ts`: tables, ignored tables, claims
 * - `resolve-merging.ts`: how a table that belongs to no account is written and merged
 * - `resolve-sections.ts`: fixed homes, reads, the buffer, hooks, roll-outs
 * - `resolve-sessions.ts`: cookie domain and public keys
 */
import { approaches, type Homes } from '../model/index.ts';
import type { Configuration, RoleName } from './configuration.ts';
import { durationMs } from './duration.ts';
import { oneOf } from './nearest.ts';
import type { Problems } from './problem.ts';
import { checkDataCenterName, resolveDataCenters } from './resolve-data-centers.ts';
import { resolveLeases } from './resolve-leases.ts';
import { resolveSections } from './resolve-sections.ts';
import { resolveSessions } from './resolve-sessions.ts';
import { resolveClaims, resolveIgnore, resolveTables } from './resolve-tables.ts';
import type { FilledConfiguration } from './schema.ts';

/** The configuration before anyone has said in which data center this process is. */
export type PlacelessConfiguration = Omit<Configuration, 'here'>;

/** The result counts only when `problems` has no error. Names of files are relative to `directory`. */
export function resolve(written: FilledConfiguration, problems: Problems, directory: string): PlacelessConfiguration {
  const { routing } = approaches[written.approach];
  const homes = homesOf(written, problems);
  const dataCenters = resolveDataCenters(written, problems);
  const tables = resolveTables(written, homes, problems);
  if (written.accounts.existing !== undefined)
    checkDataCenterName(written.accounts.existing, ['accounts', 'existing'], written, problems);
  if (written.enforce === 'observe' && Object.keys(dataCenters).length > 1) {
    problems.error(
      ['enforce'],
      '`observe` lets every write through, which is only safe while there is one data center',
      'Write `enforce`, or remove the other data centers until nothing is counted any more.',
    );
  }
  return deepFreeze({
    cluster: written.cluster,
    approach: written.approach,
    homes,
    routing,
    dataCenters,
    stride: written.stride,
    enforce: written.enforce,
    existingAccounts: written.accounts.existing ?? Object.keys(dataCenters)[0] ?? '',
    leases: resolveLeases(written, dataCenters, problems, directory),
    failover: resolveFailover(written, problems),
    durability: {
      peerTimeoutMs: durationMs(written.durability.peerTimeout, ['durability', 'peerTimeout'], problems, 100, 60_000),
    },
    roles: resolveRoles(written, problems),
    tables,
    ignore: resolveIgnore(written, problems),
    claims: resolveClaims(written, homes, tables, problems),
    ...resolveSections(written, problems),
    moves: resolveMoves(written, problems),
    sessions: resolveSessions(written, dataCenters, problems),
  });
}

function homesOf(written: FilledConfiguration, problems: Problems): Homes {
  const { homes } = approaches[written.approach];
  if (written.homes === undefined || written.homes === homes) return homes;
  if (written.approach === 'stateless-frontends') return written.homes;
  const other = Object.entries(approaches).filter((entry) => entry[1].homes === written.homes);
  problems.error(
    ['homes'],
    `${written.approach} means \`homes: ${homes}\``,
    `Remove \`homes\`, or take another approach: ${oneOf(other.map(([name]) => name))}.`,
  );
  return homes;
}

const yearMs = 365 * 86_400_000;

function resolveFailover({ failover }: FilledConfiguration, problems: Problems): Configuration['failover'] {
  const { mode, rejoin, keepStranded } = failover;
  const path = ['failover', 'keepStranded'];
  return { mode, rejoin, keepStrandedMs: durationMs(keepStranded, path, problems, 60_000, 10 * yearMs) };
}

const roleNames = ['owner', 'application', 'agent', 'replication'] as const satisfies readonly RoleName[];

function resolveRoles(written: FilledConfiguration, problems: Problems): Configuration['roles'] {
  const seen = new Map<string, RoleName>();
  for (const role of roleNames) {
    const name = written.roles[role];
    if (Buffer.byteLength(name) > 63 || name.includes('\0'))
      problems.error(['roles', role], 'PostgreSQL cuts names off after 63 bytes', 'A shorter name.');
    if (/^pg_/.test(name) || name === 'public' || name === 'none')
      problems.error(['roles', role], `\`${name}\` is a name that PostgreSQL keeps for itself`, 'Another name.');
    const other = seen.get(name);
    if (other !== undefined) {
      problems.error(
        ['roles', role],
        `\`${other}\` and \`${role}\` are the same role`,
        'Four roles, so that none can do more than its job: the application must not be able to switch the fence off.',
      );
    } else seen.set(name, role);
  }
  return { ...written.roles };
}

function resolveMoves(written: FilledConfiguration, problems: Problems): Configuration['moves'] {
  const { moves } = written;
  return {
    dwellMs: durationMs(moves.dwell, ['moves', 'dwell'], problems, 0, 86_400_000),
    perHour: moves.perHour,
    signInWaitMs: durationMs(moves.signInWait, ['moves', 'signInWait'], problems, 0, 300),
    drainMs: durationMs(moves.drain, ['moves', 'drain'], problems, 100, 60_000),
  };
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}
