/** Data centers: where they are and how they are reached. Part of `resolve.ts`. */

import type { DataCenter, Standby } from './configuration.ts';
import { nearest, oneOf } from './nearest.ts';
import type { Path, Problems } from './problem.ts';
import { checkDatabaseUrl, checkOrigin, databaseIdentity } from './resolve-urls.ts';
import type { FilledConfiguration } from './schema.ts';

/** What this version runs. A third data center needs the relay and the held stream of three-way moves. */
export const maxDataCenters = 3;

export function resolveDataCenters(written: FilledConfiguration, problems: Problems): Record<string, DataCenter> {
  const resolved: Record<string, DataCenter> = Object.create(null);
  const names = Object.keys(written.dataCenters);
  checkCount(names, problems);
  const byNumber = new Map<number, string>();
  const byDatabase = new Map<string, string>();
  const byUrl = new Map<string, string>();
  const byFaultDomain = new Map<string, string>();

  for (const [index, name] of names.entries()) {
    const dc = written.dataCenters[name]!;
    const path: Path = ['dataCenters', name];
    const number = dc.number ?? index + 1;
    if (number > written.stride) {
      problems.error(
        dc.number === undefined ? path : [...path, 'number'],
        `\`${name}\` would have number ${number}, but sequences step by ${written.stride}`,
        `A number from 1 to ${written.stride}.`,
        dc.number === undefined ? 'key' : 'value',
      );
    }
    once(byNumber, number, name, (other) =>
      problems.error(
        dc.number === undefined ? path : [...path, 'number'],
        `\`${other}\` and \`${name}\` both have number ${number}, so their sequences would draw the same values`,
        'Give every data center a `number` of its own.',
        dc.number === undefined ? 'key' : 'value',
      ),
    );

    const database = checkDatabaseUrl(dc.database, [...path, 'database'], problems, {
      user: 'refused',
      secret: `LANEKEEPER_${name.toUpperCase()}_<ROLE>_PASSWORD`,
    });
    if (database !== null) {
      once(byDatabase, databaseIdentity(database), name, (other) =>
        problems.error(
          [...path, 'database'],
          `\`${other}\` and \`${name}\` have the same database`,
          'Every data center has a PostgreSQL of its own.',
        ),
      );
    }
    const url = checkOrigin(dc.url, [...path, 'url'], problems);
    if (url !== null) {
      once(byUrl, url, name, (other) =>
        problems.error(
          [...path, 'url'],
          `\`${other}\` and \`${name}\` have the same url`,
          'Customers must be able to reach each data center by a name of its own.',
        ),
      );
      warnAboutPlainHttp(url, [...path, 'url'], problems);
    }
    once(byFaultDomain, dc.faultDomain.toLowerCase(), name, (other) =>
      problems.warn(
        [...path, 'faultDomain'],
        `\`${other}\` and \`${name}\` are in the same fault domain`,
        'What takes one down takes the other down too: two data centers then protect little more than one.',
      ),
    );
    resolved[name] = {
      name,
      number,
      place: dc.place,
      faultDomain: dc.faultDomain,
      database: database?.href ?? '',
      url: url ?? '',
      edge: (dc.edge === undefined ? url : checkOrigin(dc.edge, [...path, 'edge'], problems)) ?? '',
      agents: origins(dc.agents, [...path, 'agents'], problems),
      applications: origins(dc.applications, [...path, 'applications'], problems),
      backends: origins(dc.backends, [...path, 'backends'], problems),
      capacity: dc.capacity === undefined ? null : { limit: dc.capacity.limit, peak: dc.capacity.peak },
      standbys: standbys(dc.standbys, [...path, 'standbys'], problems),
    };
  }
  return resolved;
}

function checkCount(names: readonly string[], problems: Problems): void {
  if (names.length === 0)
    problems.error(['dataCenters'], 'There is no data center', 'Name at least one, for example `ny`.', 'key');
  if (names.length > maxDataCenters) {
    problems.error(
      ['dataCenters', names[maxDataCenters]!],
      `There are ${names.length} data centers, and at most ${maxDataCenters} can be run`,
      'Two or three are right: more cost more than they protect.',
      'key',
    );
  }
}

function once<K>(seen: Map<K, string>, key: K, name: string, twice: (other: string) => void): void {
  const other = seen.get(key);
  if (other === undefined) seen.set(key, name);
  else twice(other);
}

function origins(written: readonly string[], path: Path, problems: Problems): string[] {
  const seen = new Set<string>();
  return written.flatMap((text, index) => {
    const origin = checkOrigin(text, [...path, index], problems);
    if (origin === null) return [];
    if (seen.has(origin)) problems.error([...path, index], 'The same address twice', 'Remove one of them.');
    seen.add(origin);
    return [origin];
  });
}

/** Names as PostgreSQL takes them for slots; ours are the streams' own. */
function standbys(written: readonly Standby[], path: Path, problems: Problems): readonly Standby[] {
  const seen = new Set<string>();
  for (const [index, { name }] of written.entries()) {
    const where: Path = [...path, index, 'name'];
    if (!/^[a-z0-9_]{1,63}$/.test(name) || name.startsWith('lanekeeper_'))
      problems.error(
        where,
        `\`${name}\` cannot be the name of a standby`,
        'It names a slot: lower-case letters, digits and _, and it does not begin with lanekeeper_.',
      );
    if (seen.has(name)) problems.error(where, 'The same standby twice', 'Remove one of them.');
    seen.add(name);
  }
  return written.map(({ name, sync }) => ({ name, sync }));
}

function warnAboutPlainHttp(origin: string, path: Path, problems: Problems): void {
  const url = new URL(origin);
  if (url.protocol === 'https:' || isLoopback(url.hostname)) return;
  problems.warn(path, 'Customers would send their session cookie in the clear', 'Use https.');
}

/** Loopback by name (`localhost`, `*.localhost`, RFC 6761) or by address. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}

/** Checks that `name`, written at `path`, is one of the data centers. */
export function checkDataCenterName(name: string, path: Path, written: FilledConfiguration, problems: Problems): void {
  if (Object.hasOwn(written.dataCenters, name)) return;
  const names = Object.keys(written.dataCenters);
  const meant = nearest(name, names);
  problems.error(
    path,
    `There is no data center \`${name}\``,
    meant === null ? `One of ${oneOf(names)}.` : `Did you mean \`${meant}\`?`,
  );
}
