/** Starts the links' process. */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { spawnLeashed } from '../processes/leash.ts';
import { readyUrl } from '../processes/ready.ts';
import { LinksClient } from './client.ts';
import type { DirectionSettings } from './direction.ts';

/** `logFd` takes what the process has to complain about; default: nowhere. */
export async function startLinks(
  options: {
    readonly defaults?: Partial<DirectionSettings>;
    readonly controlPort?: number;
    readonly logFd?: number;
  } = {},
): Promise<{ readonly client: LinksClient; readonly pid: number; stop(): Promise<void> }> {
  const token = randomBytes(18).toString('base64url');
  const leashed = await spawnLeashed(process.execPath, [linksProgram()], {
    env: {
      PATH: process.env.PATH,
      LANEKEEPER_LINKS_TOKEN: token,
      LANEKEEPER_LINKS_DEFAULTS: JSON.stringify(options.defaults ?? {}),
      LANEKEEPER_LINKS_PORT: String(options.controlPort ?? 0),
      ...(process.env.LANEKEEPER_TEST_RUN ? { LANEKEEPER_TEST_RUN: process.env.LANEKEEPER_TEST_RUN } : {}),
    },
    stdout: 'pipe',
    stderr: options.logFd ?? 'ignore',
  });
  const control = await readyUrl(leashed, 20_000);
  return {
    client: new LinksClient({ control, token }),
    pid: leashed.pid,
    async stop() {
      leashed.signal('SIGTERM');
      await leashed.exited;
    },
  };
}

/** Child processes run what the compiler wrote, also when we run from the sources. */
function linksProgram(): string {
  return fileURLToPath(new URL('../../dist/links/main.js', import.meta.url));
}
