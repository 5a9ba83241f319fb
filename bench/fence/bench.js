/**
 * What the fence costs: a single-row update and a 1,000-row batch of one account, on a fenced table and on the same table
 * without a fence, in turn. Durable commits for throughput; `synchronous_commit = off` for CPU and WAL per write, where
 * no disk hides the difference.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDatabase, roleUrl, startCluster } from '@lanekeeper/lab';
import { fencePieces, readCatalog } from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import pg from 'pg';
import { inPairs, machine, median, migrations, option, printTable, treeCpuSeconds } from '../measure.js';

const accounts = 64;
const batchRows = 1000;

const tables = (name) => `
CREATE TABLE ${name} (id bigint PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text NOT NULL, quantity integer NOT NULL) WITH (fillfactor = 50);
CREATE INDEX ON ${name} (account_id);
INSERT INTO ${name} SELECT a * ${batchRows} + i, 'a' || a, repeat('x', 60), 0 FROM generate_series(1, ${accounts}) a, generate_series(1, ${batchRows}) i;`;

const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `bench_${role}`, password: 'bench' }]),
);

export async function run(args) {
  const seconds = option(args, 'seconds', 3);
  const pairs = option(args, 'pairs', 7);
  const clients = option(args, 'clients', 8);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const cluster = await startCluster({
    dir,
    settings: { shared_buffers: '256MB', max_wal_size: '4GB', checkpoint_timeout: '1h', autovacuum: true },
  });
  try {
    await ensureDatabase(cluster, { name: 'bench', roles });
    await prepare(cluster);
    console.log(`${machine()}; ${clients} clients, ${pairs} pairs of ${seconds} s each`);
    const rows = [];
    for (const work of works) {
      for (const durable of [true, false]) {
        const measure = (table) => () => load(cluster, work, table, { seconds, clients, durable });
        await measure('fenced')();
        await measure('plain')();
        const { a: fenced, b: plain } = await inPairs(pairs, measure('fenced'), measure('plain'));
        const ratio = (pick) => median(fenced.map((one, i) => pick(one) / pick(plain[i])));
        rows.push({
          work: work.name,
          commit: durable ? 'durable' : 'synchronous_commit = off',
          'fenced/s': Math.round(median(fenced.map((one) => one.perSecond))),
          'plain/s': Math.round(median(plain.map((one) => one.perSecond))),
          'throughput ratio': ratio((one) => one.perSecond).toFixed(3),
          'CPU µs fenced': Math.round(median(fenced.map((one) => one.cpuUs))),
          'CPU µs plain': Math.round(median(plain.map((one) => one.cpuUs))),
          'CPU ratio': ratio((one) => one.cpuUs).toFixed(3),
          'WAL bytes fenced': Math.round(median(fenced.map((one) => one.walBytes))),
          'WAL bytes plain': Math.round(median(plain.map((one) => one.walBytes))),
        });
        console.log(JSON.stringify(rows.at(-1)));
      }
    }
    printTable('The fence, per transaction', rows);
  } finally {
    await cluster.stop('immediate');
    await rm(dir, { recursive: true, force: true });
  }
}

const works = [
  {
    name: 'update of one row',
    sql: (table) => `UPDATE ${table} SET quantity = quantity + 1 WHERE id = $1`,
    value: (client) => (1 + (client % accounts)) * batchRows + 1 + Math.floor(Math.random() * batchRows),
  },
  {
    name: 'update of 1,000 rows of one account',
    sql: (table) => `UPDATE ${table} SET quantity = quantity + 1 WHERE account_id = $1`,
    value: (client) => `a${1 + (client % accounts)}`,
  },
];

async function prepare(cluster) {
  const configuration = createConfiguration(
    {
      cluster: 'bench',
      approach: 'full-active-active',
      dataCenters: {
        ny: { place: 'ny', faultDomain: 'a', database: 'postgres://127.0.0.1:1/bench', url: 'http://127.0.1.1:1' },
        la: { place: 'la', faultDomain: 'b', database: 'postgres://127.0.0.1:2/bench', url: 'http://127.0.1.2:1' },
      },
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      roles: Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name])),
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        // What `remote` adds is measured by `commit`; here it would make durable what the session wants to be off.
        fenced: { class: 'system-of-record', account: 'account_id', durability: 'local' },
        plain: { class: 'session-state' },
      },
    },
    { here: 'ny' },
  );
  const owner = new pg.Client({ connectionString: roleUrl(cluster, 'bench', roles.owner) });
  await owner.connect();
  await owner.query('CREATE TABLE accounts (id text PRIMARY KEY)');
  await owner.query(`INSERT INTO accounts SELECT 'a' || i FROM generate_series(1, ${accounts}) i`);
  for (const table of ['fenced', 'plain']) await owner.query(tables(table));
  for (const sql of await migrations()) await owner.query(sql);
  for (const piece of fencePieces(configuration, await readCatalog(owner))) await owner.query(piece.create);
  await owner.query("INSERT INTO lanekeeper.deed (account, home, term, counter) SELECT id, 'ny', 1, 0 FROM accounts");
  await owner.query(`GRANT SELECT, UPDATE ON fenced, plain TO ${roles.application.name}`);
  await owner.query('SELECT lanekeeper.set_lease(wall_ms + 3600000) FROM lanekeeper.clock()');
  await owner.end();
}

async function load(cluster, work, table, { seconds, clients, durable }) {
  const connections = await Promise.all(
    Array.from({ length: clients }, async () => {
      const client = new pg.Client({ connectionString: roleUrl(cluster, 'bench', roles.application) });
      await client.connect();
      await client.query(`SET synchronous_commit = ${durable ? 'on' : 'off'}`);
      return client;
    }),
  );
  const sweeper = new pg.Client({ connectionString: roleUrl(cluster, 'bench', roles.agent) });
  await sweeper.connect();
  const walAt = async () =>
    Number((await sweeper.query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS at")).rows[0].at);
  const query = { name: 'work', text: work.sql(table) };
  let done = 0;
  const cpuBefore = treeCpuSeconds(cluster.pid);
  const walBefore = await walAt();
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(
    connections.map(async (client, i) => {
      while (performance.now() < end) {
        await client.query({ ...query, values: [work.value(i)] });
        done++;
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  const walBytes = (await walAt()) - walBefore;
  const cpu = treeCpuSeconds(cluster.pid) - cpuBefore;
  // What the agent does every few seconds, outside the measured time for neither side.
  if (table === 'fenced') await sweeper.query('SELECT lanekeeper.sweep()');
  await sweeper.query(`VACUUM public.${table}`).catch(() => {});
  await Promise.all([...connections, sweeper].map((client) => client.end()));
  return { perSecond: done / elapsed, cpuUs: (cpu / done) * 1e6, walBytes: walBytes / done };
}
