/**
 * The proxies that are compared, each one process with one thread, in front of the same two servers: the applications of
 * this data center, and whatever stands for the other one. All keep their connections, add X-Forwarded-For and log nothing.
 *
 * `verified`: they route by the signed session (ES256). Otherwise by a plain cookie `home`, which costs them least.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const cli = new URL('../../packages/server/bin/lanekeeper.js', import.meta.url).pathname;
const fileOf = (name) => new URL(`./${name}`, import.meta.url).pathname;

/** A port that is free now, below the range of outgoing connections. */
export async function freePort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = net.createServer();
    const free = await new Promise((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (free) {
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  }
  throw new Error('No free port.');
}

async function untilListening(port, child) {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) break;
    const socket = net.connect(port, '127.0.0.1');
    const open = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
      delay(500, false),
    ]);
    socket.destroy();
    if (open) return;
    await delay(50);
  }
  throw new Error(`${child.spawnargs.join(' ')} does not listen on ${port}.`);
}

function stopper(child) {
  return async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await once(child, 'exit');
    clearTimeout(timer);
  };
}

/** Two servers that answer everything with 1 KiB: `{local, peer, stop}` with their ports. */
export async function startServers(dir) {
  const [local, peer] = [await freePort(), await freePort()];
  const body = 'x'.repeat(1024);
  const server = (port, name) =>
    `server { listen 127.0.0.1:${port} backlog=4096; location / { add_header X-Served-By ${name}; add_header Set-Cookie "seen=1; Path=/"; default_type text/html; return 200 "${body}"; } }`;
  const child = await startNginx(dir, 'servers', `${server(local, 'local')}\n${server(peer, 'peer')}`, local);
  return { local, peer, stop: stopper(child) };
}

async function startNginx(dir, name, http, port) {
  const file = join(dir, `${name}.conf`);
  await writeFile(
    file,
    `worker_processes 1; daemon off; pid ${dir}/${name}.pid; error_log /dev/null;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_body_temp_path ${dir}/${name}.body;
proxy_temp_path ${dir}/${name}.proxy; fastcgi_temp_path ${dir}/${name}.f; uwsgi_temp_path ${dir}/${name}.u; scgi_temp_path ${dir}/${name}.s;
large_client_header_buffers 4 16k;
${http}
}`,
  );
  const child = spawn('nginx', ['-c', file, '-p', dir, '-e', '/dev/null'], { stdio: 'ignore' });
  await untilListening(port, child);
  return child;
}

export async function nginx({ dir, servers }) {
  const port = await freePort();
  const child = await startNginx(
    dir,
    'nginx-proxy',
    `upstream local { server 127.0.0.1:${servers.local}; keepalive 256; keepalive_requests 100000000; }
upstream peer { server 127.0.0.1:${servers.peer}; keepalive 256; keepalive_requests 100000000; }
map $cookie_home $to { la peer; default local; }
server { listen 127.0.0.1:${port} backlog=4096; location / { proxy_pass http://$to; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } }`,
    port,
  );
  return { port, pid: child.pid, stop: stopper(child) };
}

export async function haproxy({ dir, servers, publicKeyFile, verified }) {
  const port = await freePort();
  const file = join(dir, `haproxy-${verified ? 'es256' : 'plain'}.cfg`);
  // jwt_verify does not look at exp; a proxy that means it has to.
  const routing = verified
    ? `http-request set-var(txn.token) req.cook(__Secure-lanekeeper)
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request set-var(txn.left) var(txn.exp),sub(txn.now)
  http-request set-var(txn.home) var(txn.token),jwt_payload_query('$.home') if { var(txn.left) -m int gt 0 } { var(txn.token),jwt_verify("ES256","${publicKeyFile}") 1 }
  use_backend peer if { var(txn.home) -m str la }`
    : 'use_backend peer if { req.cook(home) -m str la }';
  await writeFile(
    file,
    `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
frontend edge
  bind 127.0.0.1:${port}
  http-request del-header lanekeeper- -m beg
  ${routing}
  default_backend local
backend local
  server a 127.0.0.1:${servers.local}
backend peer
  server b 127.0.0.1:${servers.peer}
`,
  );
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
  await untilListening(port, child);
  return { port, pid: child.pid, stop: stopper(child) };
}

/** One of the files here: `node FILE PORT LOCAL PEER`. */
export async function nodeServer(file, { servers }) {
  const port = await freePort();
  const args = [fileOf(file), String(port), String(servers.local), String(servers.peer)];
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  await untilListening(port, child);
  return { port, pid: child.pid, stop: stopper(child) };
}

/** `profile`: a directory for a CPU profile, or undefined. */
export async function edge({ configFile, signingKeyFile, cookies, profile }) {
  const profiling = profile ? ['--cpu-prof', '--cpu-prof-interval=250', `--cpu-prof-dir=${profile}`] : [];
  const args = [...profiling, cli, 'edge', '--config', configFile, '--listen', '127.0.0.1:0', '--json'];
  const child = spawn(process.execPath, [...args, '--sessions', String(cookies), '--drain', '1s'], {
    env: { ...process.env, LANEKEEPER_DC: 'ny', LANEKEEPER_SIGNING_KEY_FILE: signingKeyFile },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const { ready } = JSON.parse(line);
  return { port: Number(new URL(ready.url).port), pid: child.pid, stop: stopper(child) };
}
