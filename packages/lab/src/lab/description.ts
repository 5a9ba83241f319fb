/**
 * What a running lab says about itself: with `--json` on one line, and in `<dir>/lab.json`, from where the other
 * commands take it. It holds passwords of throw-away databases, so the file is for its owner only.
 */
import { chmodSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { RoleName } from 'lanekeeper/config';
import type { ApproachName } from 'lanekeeper/model';
import type { LinksAccess } from '../links/client.ts';

export type DataCenterDescription = {
  readonly place: string;
  /** The edge by address: works for every client on this machine. */
  readonly edge: string;
  /** The edge as customers type it; a name below `localhost` where that works, so that sessions are shared. */
  readonly url: string;
  readonly apps: readonly string[];
  /** Under `stateless-frontends`, what `apps` call; else empty. */
  readonly backends: readonly string[];
  /** The database as its owner, password included. */
  readonly database: string;
  /** The same for every role, and for a superuser, which the product never uses. */
  readonly databases: Readonly<Record<RoleName | 'superuser', string>>;
  readonly agent: string;
  /** The configuration of this data center's processes, and their environment: what commands need. */
  readonly config: string;
  readonly environment: Readonly<Record<string, string>>;
};

export type LabDescription = {
  readonly approach: ApproachName;
  /** Where to begin: the edge of the first data center. */
  readonly storefront: string;
  readonly dataCenters: Readonly<Record<string, DataCenterDescription>>;
  /** Its database, or the members of its etcd; not through links. */
  readonly witness: { readonly database: string | null; readonly endpoints: readonly string[] };
  /** The storefront's payment service, not through links; null with an application of one's own. */
  readonly payments: string | null;
  readonly links: LinksAccess;
  /** Stops, kills and starts what runs in it: for drills. */
  readonly switchboard: { readonly url: string; readonly token: string };
  readonly dir: string;
  /** Of the lab itself: SIGTERM stops everything. */
  readonly pid: number;
  /** When that process started, as the system tells it: the number alone may be somebody else's later. */
  readonly processStart: string;
};

export const labFileName = 'lab.json';

/** Appears complete or not at all. */
export function writeDescription(file: string, description: LabDescription): void {
  const partial = `${file}.${process.pid}`;
  writeFileSync(partial, `${JSON.stringify(description)}\n`, { mode: 0o600 });
  chmodSync(partial, 0o600);
  renameSync(partial, file);
}

/** Null when there is no such file or something else is in it. */
export function readDescription(file: string): LabDescription | null {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as Partial<LabDescription>;
    return typeof value.pid === 'number' && typeof value.links?.control === 'string' ? (value as LabDescription) : null;
  } catch {
    return null;
  }
}

/** The file that LANEKEEPER_LAB or `--dir` names, else `.lanekeeper/lab.json` in `directory` or above; null: none. */
export function findDescription(directory: string, named: string | undefined): string | null {
  if (named) {
    const path = resolve(directory, named);
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, labFileName) : path;
  }
  for (let folder = resolve(directory); ; folder = dirname(folder)) {
    const file = join(folder, '.lanekeeper', labFileName);
    if (readDescription(file)) return file;
    if (dirname(folder) === folder) return null;
  }
}
