/**
 * What Lanekeeper costs the subscriber: rows applied a second of a table that is fenced and streamed as Lanekeeper does,
 * against the same table under plain native replication, between the same two clusters, in turn. The subscription is
 * stopped while the rows are written, so that only the apply is timed.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDatabase, roleUrl, startCluster } from '@lanekeeper/lab';
import { fencePieces, readCatalog } from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import pg from 'pg';
import { inPairs, machine, median, migrations, option, printTable, treeCpuSeconds } from '../measure.js';

const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `bench_${role}`, password: 'bench' }]),
);
const roleNames = Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name]));

export async function run(args) {
  const rows = option(args, 'rows', 100_000);
  const pairs = option(args, 'pairs', 5);
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const settings = { shared_buffers: '256MB', max_wal_size: '4GB', checkpoint_timeout: '1h' };
  const [source, target] = await Promise.all(
    ['source', 'target'].map((name) => startCluster({ dir: join(dir, name), settings })),
  );
  const clients = [];
  try {
    const open = async (cluster) => {
      await ensureDatabase(cluster, { name: 'bench', roles });
      const client = new pg.Client({ connectionString: cluster.superuserUrl('bench') });
      await client.connect();
      clients.push(client);
      return client;
    };
    const from = await open(source);
    const to = await open(target);
    await prepare(source, 'ny');
    await prepare(target, 'la');
    // Both streams are made the same way: what differs is the table.
    for (const table of ['fenced', 'plain']) {
      await from.query(
        `CREATE PUBLICATION bench_${table} FOR TABLE ${table === 'fenced' ? 'fenced, lanekeeper.deed, lanekeeper.acceptance' : 'plain'}`,
      );
      await to.query(
        `CREATE SUBSCRIPTION bench_${table} CONNECTION '${source.superuserUrl('bench')}' PUBLICATION bench_${table} WITH (origin = none, copy_data = false, enabled = false, synchronous_commit = local)`,
      );
    }
    console.log(`${machine()}; ${rows} rows in transactions of 1 and of 100, ${pairs} pairs`);
    const results = [];
    for (const perTransaction of [1, 100]) {
      const measure = (table) => () =>
        apply({ from, to, target, table, rows: perTransaction === 1 ? Math.floor(rows / 4) : rows, perTransaction });
      await measure('plain')();
      const { a: fenced, b: plain } = await inPairs(pairs, measure('fenced'), measure('plain'));
      results.push({
        'rows per transaction': perTransaction,
        'fenced rows/s': Math.round(median(fenced.map((one) => one.perSecond))),
        'plain rows/s': Math.round(median(plain.map((one) => one.perSecond))),
        'rate ratio': median(fenced.map((one, i) => one.perSecond / plain[i].perSecond)).toFixed(3),
        'CPU ratio': median(fenced.map((one, i) => one.cpu / plain[i].cpu)).toFixed(3),
      });
      console.log(JSON.stringify(results.at(-1)));
    }
    printTable('Rows applied a second', results);
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
    await Promise.all([source, target].map((cluster) => cluster.stop('immediate')));
    await rm(dir, { recursive: true, force: true });
  }
}

async function prepare(cluster, here) {
  const configuration = createConfiguration(
    {
      cluster: 'bench',
      approach: 'full-active-active',
      dataCenters: {
        ny: { place: 'ny', faultDomain: 'a', database: 'postgres://127.0.0.1:1/bench', url: 'http://127.0.1.1:1' },
        la: { place: 'la', faultDomain: 'b', database: 'postgres://127.0.0.1:2/bench', url: 'http://127.0.1.2:1' },
      },
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      roles: roleNames,
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        fenced: { class: 'system-of-record', account: 'account_id' },
        plain: { class: 'session-state' },
      },
    },
    { here },
  );
  const owner = new pg.Client({ connectionString: roleUrl(cluster, 'bench', roles.owner) });
  await owner.connect();
  await owner.query('CREATE TABLE accounts (id text PRIMARY KEY)');
  for (const table of ['fenced', 'plain']) {
    await owner.query(
      `CREATE TABLE ${table} (id bigint PRIMARY KEY, account_id text NOT NULL, note text NOT NULL, quantity integer NOT NULL)`,
    );
    await owner.query(`CREATE INDEX ON ${table} (account_id)`);
  }
  for (const sql of await migrations()) await owner.query(sql);
  for (const piece of fencePieces(configuration, await readCatalog(owner))) await owner.query(piece.create);
  await owner.query(
    "INSERT INTO lanekeeper.deed (account, home, term, counter) SELECT 'a' || i, 'ny', 1, 0 FROM generate_series(0, 99) i",
  );
  await owner.query('SELECT lanekeeper.set_lease(wall_ms + 3600000) FROM lanekeeper.clock()');
  await owner.end();
}

async function apply({ from, to, target, table, rows, perTransaction }) {
  await from.query(`DELETE FROM ${table}`);
  await to.query(`ALTER SUBSCRIPTION bench_${table} ENABLE`);
  await caughtUp(from, table);
  await to.query(`ALTER SUBSCRIPTION bench_${table} DISABLE`);
  await idle(from, table);
  await to.query(`VACUUM ${table}`);
  await from.query(`VACUUM ${table}`);
  await from.query('SET synchronous_commit = off');
  await from.query(`DO $$ BEGIN
    FOR i IN 1..${Math.floor(rows / perTransaction)} LOOP
      INSERT INTO ${table} SELECT i * ${perTransaction} + j, 'a' || (i % 100), repeat('x', 60), j FROM generate_series(1, ${perTransaction}) j;
      COMMIT;
    END LOOP; END $$`);
  const cpu = treeCpuSeconds(target.pid);
  const start = performance.now();
  await to.query(`ALTER SUBSCRIPTION bench_${table} ENABLE`);
  await caughtUp(from, table);
  const elapsed = (performance.now() - start) / 1000;
  const used = treeCpuSeconds(target.pid) - cpu;
  await to.query(`ALTER SUBSCRIPTION bench_${table} DISABLE`);
  await idle(from, table);
  return { perSecond: rows / elapsed, cpu: used };
}

async function caughtUp(from, table) {
  const { rows } = await from.query('SELECT pg_current_wal_insert_lsn() AS lsn');
  for (let tries = 0; tries < 12_000; tries++) {
    const { rows: slots } = await from.query(
      'SELECT confirmed_flush_lsn >= $1::pg_lsn AS there FROM pg_replication_slots WHERE slot_name = $2',
      [rows[0].lsn, `bench_${table}`],
    );
    if (slots[0]?.there) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the subscriber did not catch up within two minutes');
}

async function idle(from, table) {
  for (let tries = 0; tries < 1000; tries++) {
    const { rows } = await from.query('SELECT active FROM pg_replication_slots WHERE slot_name = $1', [
      `bench_${table}`,
    ]);
    if (!rows[0]?.active) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the slot stayed active');
}
