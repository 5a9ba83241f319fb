/**
 * Two nodes of MariaDB Galera, from Debian's packages, whose group communication goes through the links: the second reaches the first
 * by the link, and all between them goes over that one connection.
 */
import { execFile } from 'node:child_process';
import { access, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort, spawnLeashed } from '@lanekeeper/lab';

const run = promisify(execFile);
const provider = '/usr/lib/galera/libgalera_smm.so';
const packages = ['mariadb-server-core', 'mariadb-client-core', 'galera-4'];

/** Null when it is there now; else why not. Installs it where that is possible. */
export async function missingGalera() {
  if (await isThere()) return null;
  if (process.getuid?.() !== 0) return `${packages.join(', ')} are not installed, and only root can`;
  try {
    await run('apt-get', ['install', '-y', '--no-install-recommends', ...packages], {
      timeout: 300_000,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch (error) {
    return `apt-get could not install ${packages.join(', ')}: ${String(error.stderr ?? error).slice(-200)}`;
  }
  return (await isThere()) ? null : 'the packages lack what is needed';
}

async function isThere() {
  try {
    await Promise.all([access(provider), access('/usr/sbin/mariadbd'), access('/usr/bin/mariadb-install-db')]);
    await import('mysql2/promise');
    return true;
  } catch {
    return false;
  }
}

/**
 * How a node is brought up to the state of another one, as Galera calls it. The second is a copy already and needs no more than
 * to be told which state that is; the writes since then come through its own channel.
 */
const transfer = `#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in --role) role=$2 ;; --gtid) gtid=$2 ;; esac
  shift
done
if [ "$role" = donor ]; then
  printf '%s\\n' "$gtid" > "$BENCH_STATE.new" && mv "$BENCH_STATE.new" "$BENCH_STATE" && echo "done $gtid"
  exit
fi
echo 'ready 127.0.0.1:1'
tries=0
while [ $tries -lt 300 ]; do
  if [ -f "$BENCH_STATE" ]; then cat "$BENCH_STATE"; exit 0; fi
  sleep 0.1
  tries=$((tries + 1))
done
exit 62
`;

export async function startGalera(dir, carry, clients) {
  const { createConnection } = await import('mysql2/promise');
  const user = process.getuid?.() === 0 ? ['--user=root'] : [];
  const nodes = [];
  const stop = async () => {
    for (const node of nodes.toReversed()) {
      node.process.signal('SIGKILL');
      await node.process.exited;
    }
  };
  const dataOf = (name) => `${dir}/galera-${name}`;
  const start = async (name, address) => {
    const data = dataOf(name);
    const [port, group, incremental] = [
      await freePort('127.0.0.1'),
      await freePort('127.0.0.1'),
      await freePort('127.0.0.1'),
    ];
    const node = {
      group: { host: '127.0.0.1', port: group },
      socket: `${data}/socket`,
      log: `${data}/log.err`,
      process: await spawnLeashed(
        '/usr/sbin/mariadbd',
        [
          '--no-defaults',
          ...user,
          `--datadir=${data}`,
          `--socket=${data}/socket`,
          `--log-error=${data}/log.err`,
          `--pid-file=${data}/pid`,
          '--bind-address=127.0.0.1',
          `--port=${port}`,
          '--innodb-buffer-pool-size=128M',
          '--innodb-flush-log-at-trx-commit=1',
          '--innodb-autoinc-lock-mode=2',
          '--binlog-format=ROW',
          '--wsrep-on=ON',
          `--wsrep-provider=${provider}`,
          '--wsrep-cluster-name=bench',
          `--wsrep-node-name=${name}`,
          `--wsrep-cluster-address=gcomm://${address}`,
          `--wsrep-node-address=127.0.0.1:${group}`,
          `--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:${group};ist.recv_addr=127.0.0.1:${incremental}`,
          '--wsrep-sst-method=bench',
        ],
        { env: { ...process.env, PATH: `${dir}:${process.env.PATH}`, BENCH_STATE: `${dir}/state` } },
      ),
    };
    nodes.push(node);
    return node;
  };
  const open = (node) => createConnection({ socketPath: node.socket, user: 'root' });
  try {
    await writeFile(`${dir}/wsrep_sst_bench`, transfer, { mode: 0o755 });
    await mkdir(dataOf('ny'));
    await run(
      'mariadb-install-db',
      [
        '--no-defaults',
        `--datadir=${dataOf('ny')}`,
        ...user,
        '--auth-root-authentication-method=normal',
        '--skip-test-db',
      ],
      { timeout: 60_000 },
    );
    // The second node is a copy of the first, which knows by then which cluster it is of.
    const seed = await start('ny', '');
    await untilReady(seed, open, 1);
    seed.process.signal('SIGTERM');
    await seed.process.exited;
    await cp(dataOf('ny'), dataOf('la'), { recursive: true });
    const first = await start('ny', '');
    await untilReady(first, open, 1);
    const there = await carry('la', 'ny', first.group);
    const second = await start('la', `${there.host}:${there.port}`);
    await untilReady(second, open, 2);
    const one = await open(first);
    await one.query('CREATE DATABASE bench');
    await one.query(
      'CREATE TABLE bench.plain (id varchar(80) PRIMARY KEY, account_id varchar(20) NOT NULL, note varchar(80) NOT NULL) ENGINE=InnoDB',
    );
    await one.end();
    return {
      stop,
      load: (options) => load(() => open(first), { clients, ...options }),
      count: () => countIn(open, second),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function untilReady(node, open, size) {
  for (let tries = 0; tries < 300; tries++) {
    if (!node.process.running()) break;
    try {
      const connection = await open(node);
      const [rows] = await connection.query("SHOW STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_size')");
      await connection.end();
      const status = Object.fromEntries(rows.map((row) => [row.Variable_name, row.Value]));
      if (status.wsrep_ready === 'ON' && Number(status.wsrep_cluster_size) === size) return;
    } catch {
      // It does not listen yet.
    }
    await pause(100);
  }
  const log = await readFile(node.log, 'utf8').catch(() => '');
  const errors = log.split('\n').filter((line) => line.includes('[ERROR]'));
  throw new Error(
    `a node of Galera did not become ready:\n${(errors.length > 0 ? errors : log.split('\n')).slice(-15).join('\n')}`,
  );
}

/** What has arrived at the other node. */
async function countIn(open, node) {
  const connection = await open(node);
  const [rows] = await connection.query('SELECT count(*) AS n FROM bench.plain');
  await connection.end();
  return rows[0].n;
}

async function load(open, { seconds, clients }) {
  const connections = await Promise.all(Array.from({ length: clients }, open));
  const latencies = [];
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(
    connections.map(async (connection, i) => {
      while (performance.now() < end) {
        const at = performance.now();
        await connection.execute('INSERT INTO bench.plain (id, account_id, note) VALUES (?, ?, ?)', [
          `${at}-${i}-${Math.random()}`,
          `a${i}`,
          'x'.repeat(60),
        ]);
        latencies.push(performance.now() - at);
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  await Promise.all(connections.map((connection) => connection.end()));
  return { latencies, perSecond: latencies.length / elapsed };
}
