/** PgBouncer in transaction mode in front of one database, where it is installed. */
import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, spawnLeashed } from '@lanekeeper/lab';
import { runSql } from '../../support/clusters.ts';

const command = ['pgbouncer', '/usr/sbin/pgbouncer'].find((name) => spawnSync(name, ['--version']).status === 0);

/** Null where it is installed, else why the tests are skipped. */
export const missingPgBouncer = command === undefined ? 'pgbouncer is not installed here' : null;

export type Bouncer = { readonly url: string; stop(): Promise<void> };

/** PgBouncer refuses to run as root; this user has no rights anywhere. */
const nobody = { uid: 65534, gid: 65534 };

/** `url`: what it leads to, with the password. */
export async function startPgBouncer(url: string, poolSize: number): Promise<Bouncer> {
  const target = new URL(url);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-pgbouncer-'));
  await chmod(dir, 0o755);
  // PgBouncer cannot be asked to listen on any free port.
  const port = await freePort('127.0.0.1');
  const user = decodeURIComponent(target.username);
  await writeFile(join(dir, 'users.txt'), `"${user}" "${decodeURIComponent(target.password)}"\n`);
  await writeFile(
    join(dir, 'pgbouncer.ini'),
    `[databases]
${target.pathname.slice(1)} = host=${target.hostname} port=${target.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = plain
auth_file = ${join(dir, 'users.txt')}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 200
`,
  );
  const child = await spawnLeashed(command ?? 'pgbouncer', [join(dir, 'pgbouncer.ini')], {
    ...(process.getuid?.() === 0 ? { user: nobody } : {}),
  });
  const through = new URL(url);
  through.host = `127.0.0.1:${port}`;
  const stop = async (): Promise<void> => {
    child.signal('SIGTERM');
    await child.exited;
    await rm(dir, { recursive: true, force: true });
  };
  for (let attempt = 0; ; attempt += 1) {
    try {
      await runSql(through.href, 'SELECT 1');
      return { url: through.href, stop };
    } catch (error) {
      if (attempt === 100 || !child.running()) {
        await stop();
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
