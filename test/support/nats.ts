/** A real NATS with JetStream for tests, of one server or three, which can be killed and started again one by one. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type LeashedProcess, spawnLeashed, watchOver } from '@lanekeeper/lab';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';

export type TestNats = {
  readonly urls: readonly string[];
  start(server: number): Promise<void>;
  kill(server: number): Promise<void>;
  stop(): Promise<void>;
};

/** Why there is none on this machine; null when there is. */
export function missingNats(): string | null {
  try {
    execFileSync('nats-server', ['--version'], { stdio: 'ignore' });
    return null;
  } catch {
    return 'nats-server is not installed';
  }
}

export async function testNats(options: {
  readonly servers: 1 | 3;
  readonly login?: { readonly user: string; readonly password: string };
}): Promise<TestNats> {
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-nats-'));
  const released = watchOver({ folders: [dir] });
  const servers: { port: number; route: number }[] = [];
  for (let number = 0; number < options.servers; number++)
    servers.push({ port: await freePort('127.0.0.1'), route: await freePort('127.0.0.1') });
  const urls = servers.map(({ port }) => `nats://127.0.0.1:${port}`);
  const processes = new Map<number, LeashedProcess>();
  const { login } = options;

  const spawnServer = async (number: number): Promise<void> => {
    const { port, route } = servers[number] as (typeof servers)[number];
    const routes = servers.map((one) => `"nats://127.0.0.1:${one.route}"`).join(', ');
    const file = join(dir, `n${number}.conf`);
    await writeFile(
      file,
      `server_name: n${number}
listen: "127.0.0.1:${port}"
jetstream { store_dir: "${join(dir, `n${number}`)}", max_mem: 64MB, max_file: 1GB }
${login === undefined ? '' : `authorization { user: "${login.user}", password: "${login.password}" }`}
${servers.length === 1 ? '' : `cluster { name: test, listen: "127.0.0.1:${route}", routes: [${routes}] }`}
`,
    );
    const log = openSync(join(dir, `n${number}.log`), 'a');
    processes.set(
      number,
      await spawnLeashed('nats-server', ['-c', file], { stdout: log, stderr: log, lastSignal: 'KILL' }),
    );
    closeSync(log);
  };
  const healthy = async (): Promise<void> => {
    for (let attempt = 0; ; attempt++) {
      try {
        const connection = await connect({
          servers: [...urls],
          timeout: 1_000,
          reconnect: false,
          ...(login === undefined ? {} : { user: login.user, pass: login.password }),
        });
        try {
          await (await jetstreamManager(connection, { timeout: 1_000 })).getAccountInfo();
          return;
        } finally {
          await connection.close();
        }
      } catch (error) {
        if (attempt === 150) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  const nats: TestNats = {
    urls,
    async start(server) {
      await spawnServer(server);
      await healthy();
    },
    async kill(server) {
      const found = processes.get(server);
      found?.signal('SIGKILL');
      await found?.exited;
    },
    async stop() {
      for (const one of processes.values()) one.signal('SIGKILL');
      await Promise.all([...processes.values()].map((one) => one.exited));
      await rm(dir, { recursive: true, force: true });
      released();
    },
  };
  try {
    await Promise.all(servers.map((_, number) => spawnServer(number)));
    await healthy();
    return nats;
  } catch (error) {
    await nats.stop();
    throw error;
  }
}
