/**
 * What `cached: true` costs a writer: updates of one row by several clients, on a table that announces its changes and on the same table
 * without, in turn, while somebody listens. Commits that announce something are made one after another by PostgreSQL, so each
 * commit is also given a delay, as a commit that waits for another data center has.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDatabase, roleUrl, startCluster } from '@lanekeeper/lab';
import { cachedPieces, readCatalog } from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import pg from 'pg';
import { inPairs, machine, median, migrations, option, printTable, treeCpuSeconds } from '../measure.js';

const rowsInTable = 10_000;
const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `bench_${role}`, password: 'bench' }]),
);

export async function run(args) {
  const seconds = option(args, 'seconds', 2);
  const pairs = option(args, 'pairs', 5);
  const clients = option(args, 'clients', 8);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const cluster = await startCluster({ dir, settings: { shared_buffers: '128MB', max_wal_size: '2GB' } });
  try {
    await ensureDatabase(cluster, { name: 'bench', roles });
    const owner = new pg.Client({ connectionString: roleUrl(cluster, 'bench', roles.owner) });
    await owner.connect();
    await prepare(owner);
    console.log(`${machine()}; ${clients} clients, ${pairs} pairs of ${seconds} s each`);
    const rows = [];
    for (const commitDelayMs of [0, 20]) {
      await delayCommits(cluster, commitDelayMs);
      const measure = (table) => () => load(cluster, table, { seconds, clients });
      await measure('cached')();
      const { a: cached, b: plain } = await inPairs(pairs, measure('cached'), measure('plain'));
      const ratio = (pick) => median(cached.map((one, i) => pick(one) / pick(plain[i]))).toFixed(3);
      rows.push({
        'a commit takes': commitDelayMs === 0 ? 'what the disk takes' : `${commitDelayMs} ms more`,
        'cached/s': Math.round(median(cached.map((one) => one.perSecond))),
        'plain/s': Math.round(median(plain.map((one) => one.perSecond))),
        'throughput ratio': ratio((one) => one.perSecond),
        'CPU ratio': ratio((one) => one.cpuUs),
      });
    }
    printTable('Announcing changes, per transaction', rows);
    await owner.end();
  } finally {
    await cluster.stop('immediate');
    await rm(dir, { recursive: true, force: true });
  }
}

async function prepare(owner) {
  const dc = (host) => ({
    place: host,
    faultDomain: host,
    database: `postgres://${host}:1/bench`,
    url: `http://${host}:1`,
  });
  const configuration = createConfiguration(
    {
      cluster: 'bench',
      approach: 'active-passive',
      dataCenters: { ny: dc('127.0.1.1'), la: dc('127.0.1.2') },
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      roles: Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name])),
      tables: { cached: { class: 'session-state', cached: true }, plain: { class: 'session-state' } },
    },
    { here: 'ny' },
  );
  for (const table of ['cached', 'plain'])
    await owner.query(
      `CREATE TABLE ${table} (id bigint PRIMARY KEY, quantity integer NOT NULL DEFAULT 0) WITH (fillfactor = 50);
       INSERT INTO ${table} SELECT generate_series(1, ${rowsInTable}); GRANT SELECT, UPDATE ON ${table} TO ${roles.application.name}`,
    );
  for (const sql of await migrations()) await owner.query(sql);
  for (const piece of cachedPieces(configuration, await readCatalog(owner))) await owner.query(piece.create);
}

/** In the commit, where the wait for another data center is as well; several commits share it where they may. */
async function delayCommits(cluster, commitDelayMs) {
  const superuser = new pg.Client({ connectionString: cluster.superuserUrl('bench') });
  await superuser.connect();
  for (const setting of [`commit_delay = ${commitDelayMs * 1000}`, 'commit_siblings = 0'])
    await superuser.query(`ALTER ROLE ${roles.application.name} SET ${setting}`);
  await superuser.end();
}

async function load(cluster, table, { seconds, clients }) {
  const connect = async (role) => {
    const client = new pg.Client({ connectionString: roleUrl(cluster, 'bench', role) });
    await client.connect();
    return client;
  };
  const listener = await connect(roles.application);
  await listener.query('LISTEN lanekeeper_cache');
  const connections = await Promise.all(Array.from({ length: clients }, () => connect(roles.application)));
  let done = 0;
  const cpuBefore = treeCpuSeconds(cluster.pid);
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(
    connections.map(async (client, i) => {
      while (performance.now() < end) {
        const id = 1 + ((i + clients * Math.floor(Math.random() * (rowsInTable / clients))) % rowsInTable);
        await client.query({
          name: 'work',
          text: `UPDATE ${table} SET quantity = quantity + 1 WHERE id = $1`,
          values: [id],
        });
        done++;
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  const cpu = treeCpuSeconds(cluster.pid) - cpuBefore;
  await Promise.all([...connections, listener].map((client) => client.end()));
  return { perSecond: done / elapsed, cpuUs: (cpu / done) * 1e6 };
}
