/**
 * Shared rows: how many updates of a merged table are applied a second, against native replication of the same table between
 * the same two clusters, in turn, the stream being held back while they are written; and a storm of writers in three data
 * centers on a few rows: whether any of them is told of an error, and how soon the rows are equal after the last write.
 */
import { writeFile } from 'node:fs/promises';
import pg from 'pg';
import { inPairs, machine, median, option, printTable, treeCpuSeconds } from '../measure.js';
import { names, withPlaces } from './places.js';

const columns = '(id bigint PRIMARY KEY, name text NOT NULL, note text NOT NULL, quantity integer NOT NULL)';
const schema = `CREATE TABLE shared ${columns}; CREATE TABLE plain ${columns}; CREATE TABLE hot (id int PRIMARY KEY, value text, count bigint NOT NULL)`;
const tables = {
  shared: { class: 'system-of-reference', policy: 'timestamp-weight' },
  hot: { class: 'system-of-reference', policy: 'timestamp-weight' },
  plain: { class: 'session-state' },
};
const transactions = [
  { perTransaction: 1, perStatement: 1 },
  { perTransaction: 100, perStatement: 100 },
  { perTransaction: 100, perStatement: 1 },
];
/** As often as an agent does it. */
const finishEveryMs = 250;
const resultsFile = new URL('../results/merge.md', import.meta.url);

export async function run(args) {
  const rows = option(args, 'rows', 20_000);
  const pairs = option(args, 'pairs', 5);
  const stormSeconds = option(args, 'seconds', 10);
  console.log(`${machine()}; ${rows} rows, ${pairs} pairs, a storm of ${stormSeconds} s`);
  await withPlaces(schema, tables, async (places) => {
    const { rows: version } = await places.get('ny').superuser.query('SHOW server_version');
    const rates = await measureRates(places, rows, pairs);
    printTable('Updates applied a second', rates);
    // Nothing is written down of half of it.
    if (stormSeconds === 0) return;
    const storms = [];
    for (let turn = 0; turn < 3; turn++) {
      storms.push(await storm(places, stormSeconds));
      console.log(JSON.stringify(storms.at(-1)));
    }
    printTable('Storms on three rows from three data centers', storms);
    await writeFile(
      resultsFile,
      page({ rates, storms, rows, pairs, stormSeconds, version: version[0].server_version }),
    );
    console.log(`written: ${resultsFile.pathname}`);
  });
}

async function measureRates(places, rows, pairs) {
  const from = places.get('ny').superuser;
  const to = places.get('la').superuser;
  // As agents do when they start: it says that batches are read.
  for (const name of names) await places.get(name).superuser.query('SELECT lanekeeper.mark_merged()');
  for (const name of names)
    for (const other of names.filter((one) => one !== name))
      await caughtUp(places.get(name).superuser, `lanekeeper_${other}_rest`);
  // The third one is left out of this part: each side has one subscriber.
  await places.get('fra').superuser.query('ALTER SUBSCRIPTION lanekeeper_ny_rest DISABLE');
  await from.query('CREATE PUBLICATION bench_plain FOR TABLE plain');
  await to.query(
    `CREATE SUBSCRIPTION bench_plain CONNECTION '${places.get('ny').cluster.superuserUrl('bench')}' PUBLICATION bench_plain
      WITH (origin = none, copy_data = false, synchronous_commit = local)`,
  );
  const sides = {
    shared: { subscription: 'lanekeeper_ny_rest', slot: 'lanekeeper_la_rest' },
    plain: { subscription: 'bench_plain', slot: 'bench_plain' },
  };
  for (const table of ['shared', 'plain']) {
    await from.query(
      `INSERT INTO ${table} SELECT i, 'name ' || i, repeat('x', 60), 0 FROM generate_series(1, ${rows}) i`,
    );
    await caughtUp(from, sides[table].slot);
  }
  const results = [];
  for (const { perTransaction, perStatement } of transactions) {
    const updates = perTransaction === 1 ? Math.floor(rows / 2) : rows;
    const measure = (table) => () =>
      apply({
        from,
        to,
        target: places.get('la').cluster,
        table,
        ...sides[table],
        updates,
        perTransaction,
        perStatement,
      });
    await measure('plain')();
    await measure('shared')();
    const { a: shared, b: plain } = await inPairs(pairs, measure('shared'), measure('plain'));
    results.push({
      'rows per transaction': perTransaction,
      'rows per statement': perStatement,
      'merged rows/s': Math.round(median(shared.map((one) => one.perSecond))),
      'native rows/s': Math.round(median(plain.map((one) => one.perSecond))),
      ratio: median(shared.map((one, i) => one.perSecond / plain[i].perSecond)).toFixed(2),
      'CPU ratio': median(shared.map((one, i) => one.cpu / plain[i].cpu)).toFixed(2),
    });
    console.log(JSON.stringify(results.at(-1)));
  }
  await to.query('DROP SUBSCRIPTION bench_plain');
  await places.get('fra').superuser.query('ALTER SUBSCRIPTION lanekeeper_ny_rest ENABLE');
  await caughtUp(from, 'lanekeeper_fra_rest');
  return results;
}

async function apply({ from, to, target, table, subscription, slot, updates, perTransaction, perStatement }) {
  await to.query(`ALTER SUBSCRIPTION ${subscription} DISABLE`);
  await idle(from, slot);
  for (const client of [from, to]) await client.query(`VACUUM ${table}`);
  if (table === 'shared')
    for (const client of [from, to]) await client.query('VACUUM lanekeeper.version, lanekeeper.change');
  await from.query('SET synchronous_commit = off');
  await from.query(`DO $$ BEGIN
    FOR i IN 0..${Math.floor(updates / perStatement) - 1} LOOP
      UPDATE ${table} SET quantity = quantity + 1 WHERE id > i * ${perStatement} AND id <= (i + 1) * ${perStatement};
      IF (i + 1) % ${perTransaction / perStatement} = 0 THEN COMMIT; END IF;
    END LOOP; END $$`);
  const cpu = treeCpuSeconds(target.pid);
  const start = performance.now();
  await to.query(`ALTER SUBSCRIPTION ${subscription} ENABLE`);
  await caughtUp(from, slot);
  const elapsed = (performance.now() - start) / 1000;
  return { perSecond: updates / elapsed, cpu: treeCpuSeconds(target.pid) - cpu };
}

/** Six writers, two in each data center, as fast as they can, on three rows. */
async function storm(places, seconds) {
  const errors = [];
  let writes = 0;
  let storming = true;
  const agents = names.map((name) => finishing(places.get(name), () => storming));
  const endMs = performance.now() + seconds * 1000;
  const writers = names.flatMap((name) =>
    [1, 2].map(async (number) => {
      const client = new pg.Client({ connectionString: places.get(name).url('application') });
      await client.connect();
      for (let turn = 0; performance.now() < endMs; turn++) {
        const id = 1 + (turn % 3);
        const statement =
          turn % 20 === 19
            ? ['DELETE FROM hot WHERE id = $1', [id]]
            : [
                'INSERT INTO hot VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE SET value = $2, count = hot.count + 1',
                [id, `${name} ${number} ${turn}`],
              ];
        await client.query(...statement).catch((error) => errors.push(error.message));
        writes++;
      }
      await client.end();
    }),
  );
  await Promise.all(writers);
  const lastMs = performance.now();
  await equal(places);
  const equalMs = performance.now() - lastMs;
  storming = false;
  await Promise.all(agents);
  const conflicts = await places.get('ny').superuser.query('SELECT count(*)::int AS n FROM lanekeeper.conflict');
  for (const error of new Set(errors)) console.log(`an application was told: ${error}`);
  return {
    'writes/s': Math.round(writes / seconds),
    'errors in applications': errors.length,
    'equal after': `${(equalMs / 1000).toFixed(2)} s`,
    'conflicts logged so far in ny': conflicts.rows[0].n,
  };
}

async function finishing({ cluster }, goesOn) {
  const client = new pg.Client({ connectionString: cluster.superuserUrl('bench') });
  await client.connect();
  await client.query('SET session_replication_role = replica');
  while (goesOn()) {
    await client.query('SELECT lanekeeper.finish_pending(500)');
    await new Promise((resolve) => setTimeout(resolve, finishEveryMs));
  }
  await client.end();
}

/** The same rows everywhere, and nothing under way or pending. */
async function equal(places) {
  const all = [...places.values()].map(({ superuser }) => superuser);
  for (let tries = 0; tries < 6_000; tries++) {
    const seen = await Promise.all(
      all.map(async (client) => {
        const { rows } = await client.query(
          `SELECT coalesce(jsonb_agg(h ORDER BY h.id)::text, '') AS rows, (SELECT count(*)::int FROM lanekeeper.merge_pending) AS pending,
            (SELECT count(*)::int FROM pg_replication_slots WHERE slot_name LIKE '%_rest' AND confirmed_flush_lsn < pg_current_wal_insert_lsn()) AS behind
            FROM hot h`,
        );
        return rows[0];
      }),
    );
    const same = seen.every(({ rows, pending }) => rows === seen[0].rows && pending === 0);
    if (same && (seen.every(({ behind }) => behind === 0) || (await staysEqual(all, seen[0].rows)))) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('not equal within two minutes');
}

/** Slots are confirmed late: what is under way would show within this. */
async function staysEqual(all, rows) {
  const marks = await Promise.all(all.map((client) => client.query('SELECT pg_current_wal_insert_lsn()::text AS lsn')));
  for (const [i, client] of all.entries()) {
    const { rows: slots } = await client.query(
      `SELECT count(*)::int AS behind FROM pg_stat_replication WHERE application_name LIKE '%_rest' AND replay_lsn < $1::pg_lsn`,
      [marks[i].rows[0].lsn],
    );
    if (slots[0].behind > 0) return false;
  }
  const now = await Promise.all(
    all.map((client) => client.query(`SELECT coalesce(jsonb_agg(h ORDER BY h.id)::text, '') AS rows FROM hot h`)),
  );
  return now.every((one) => one.rows[0].rows === rows);
}

async function caughtUp(from, slot) {
  const { rows } = await from.query('SELECT pg_current_wal_insert_lsn() AS lsn');
  for (let tries = 0; tries < 24_000; tries++) {
    const { rows: slots } = await from.query(
      'SELECT confirmed_flush_lsn >= $1::pg_lsn AS there FROM pg_replication_slots WHERE slot_name = $2',
      [rows[0].lsn, slot],
    );
    if (slots[0]?.there) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('the subscriber did not catch up within two minutes');
}

async function idle(from, slot) {
  for (let tries = 0; tries < 2_000; tries++) {
    const { rows } = await from.query('SELECT active FROM pg_replication_slots WHERE slot_name = $1', [slot]);
    if (!rows[0]?.active) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the slot stayed active');
}

function page({ rates, storms, rows, pairs, stormSeconds, version }) {
  const day = new Date().toISOString().slice(0, 10);
  const table = (objects) => {
    const heads = Object.keys(objects[0]);
    const cells = [heads, ...objects.map((one) => heads.map((head) => String(one[head])))];
    const widths = heads.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
    const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
    const [head, ...body] = cells.map(line);
    return [head, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...body].join('\n');
  };
  const verdict = rates
    .map(
      (one) =>
        `${Number(one.ratio) >= 0.4 ? 'Reached' : 'Not reached'} with ${one['rows per transaction']} to a transaction, ${one['rows per statement']} to a statement`,
    )
    .join('; n')
    .replaceAll('; nR', '; r')
    .replaceAll('; nN', '; n');
  const quiet = storms.every(
    (one) => one['errors in applications'] === 0 && Number.parseFloat(one['equal after']) <= 2,
  );
  return `# Merged rows against native replication

\`npm run bench -- merge\`, ${day}, ${machine()}, PostgreSQL ${version}. ${rows} rows of one table merged and of one that is replicated
natively, updated in one data center while the stream is held back, then applied in another one; ${pairs} pairs. Goal: 0.4.

${table(rates)}

${verdict}. A merged row costs the target its version beside the row. What a transaction writes after its first row is
sent and merged together, so that calls, locks and plans are shared; the first, and so a transaction of one row, is merged by itself.

Two writers in each of three data centers, each on a cluster of its own on this machine, as fast as they can on three rows, for
${stormSeconds} s: one write in twenty deletes, the others insert or update. What waits is finished every ${finishEveryMs} ms, as agents do. Goal: no
error, equal within 2 s of the last write.

${table(storms)}

${quiet ? 'Reached' : 'Not reached'}. Three data centers share two processors here, and what an apply worker has not merged when the last write ends counts.
`;
}
