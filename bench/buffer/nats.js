/** NATS with JetStream, one server or three, for the length of a bench. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '@lanekeeper/lab';

export function missingNats() {
  return spawnSync('nats-server', ['--version']).status === 0 ? null : 'nats-server is not installed';
}

export async function startNats(dir, count) {
  const ports = [];
  for (let n = 0; n < count; n++) ports.push([await freePort('127.0.0.1'), await freePort('127.0.0.1')]);
  const routes = ports.map(([, route]) => `"nats://127.0.0.1:${route}"`).join(', ');
  const servers = [];
  for (const [n, [port, route]] of ports.entries()) {
    const file = `${dir}/nats-${count}-${n}.conf`;
    const cluster = count === 1 ? '' : `cluster { name: bench, listen: "127.0.0.1:${route}", routes: [${routes}] }`;
    await writeFile(
      file,
      `server_name: n${n}\nlisten: "127.0.0.1:${port}"\njetstream { store_dir: "${dir}/nats-${count}-${n}" }\n${cluster}\n`,
    );
    servers.push(spawn('nats-server', ['-c', file], { stdio: 'ignore' }));
  }
  // Three of them elect a leader first; whoever connects too early is told so, and tries again.
  await pause(count === 1 ? 1_000 : 4_000);
  return {
    urls: ports.map(([port]) => `nats://127.0.0.1:${port}`),
    async stop() {
      for (const server of servers) server.kill('SIGKILL');
      await Promise.all(
        servers.map((server) => (server.exitCode === null && !server.signalCode ? once(server, 'exit') : null)),
      );
    },
  };
}
