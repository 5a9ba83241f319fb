/**
 * Moves among three data centers, 16 at a time, while raw SQL writes to the accounts in all of them: with one direction
 * delayed by 500 ms, one link of three cut and healed on the way, and an import of read-only rows beside it. Small by default;
 * LANEKEEPER_TEST_MOVES=1000 LANEKEEPER_TEST_IMPORT_ROWS=10000000 for all of it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LinksClient } from '@lanekeeper/lab';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { dataCenterOf, type TestLab, testLab } from '../support/lab.ts';
import { auditMoves, expectEverywhere, makeAccounts, moveMany, writeUnderMoves } from '../support/moves.ts';
import { applyTrouble, settled } from '../support/settled.ts';

const moves = Number(process.env.LANEKEEPER_TEST_MOVES ?? 150);
const importRows = Number(process.env.LANEKEEPER_TEST_IMPORT_ROWS ?? 50_000);
const rowsAtOnce = 10_000;
const moving = { prefix: 'a', accounts: 40 };
const writers = 24;

const bare = (file: string): string => fileURLToPath(new URL(`../support/bare/${file}`, import.meta.url));

let lab: TestLab;
let names: string[];
let supers: Record<string, string>;
beforeAll(async () => {
  const application = ['--app', `node ${bare('app.js')}`, '--schema', bare('schema.sql')];
  lab = await testLab(['--data-centers', 'ny,la,fra', ...application, '--config', bare('lanekeeper.yaml')]);
  names = Object.keys(lab.line.dataCenters);
  supers = Object.fromEntries(names.map((name) => [name, dataCenterOf(lab, name).databases.superuser]));
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

test(`${moves} moves among three under write load, la to ny 500 ms late, ny and fra apart for a while, ${importRows} rows imported beside it`, {
  timeout: 300_000 + moves * 1_000 + importRows / 4,
}, async () => {
  await makeAccounts(lab, 'ny', moving, "INSERT INTO orders (id, account_id) SELECT 'o-' || id, id FROM made");
  await settled(supers);
  const audited = await auditMoves(supers, moving);
  await lab.command('lab', 'link', 'la', 'ny', '--one-way', '--rtt', '500ms');

  const load = { on: true };
  // What is changed again and again is where an older write that comes late would be seen.
  const insert = `WITH line AS (INSERT INTO order_lines (order_id, sku) VALUES ($1, $2))
    UPDATE orders SET lines = lines + 1 WHERE id = $1`;
  const clock = stopwatch();
  const written = Array.from({ length: writers }, (_, i) => writeUnderMoves(lab, moving, `w${i}`, insert, load));
  let importMs: number | null = null;
  const importing = importCatalog(dataCenterOf(lab, 'ny').databases.owner, importRows).then(() => {
    importMs = clock.ms();
  });
  const pausesMs: Record<'beside' | 'after', number[]> = { beside: [], after: [] };
  let apart: Promise<unknown> | null = null;
  const outcomes = await moveMany(lab, moving, moves, (moved, pauseMs) => {
    if (pauseMs !== null) pausesMs[importMs === null ? 'beside' : 'after'].push(pauseMs);
    if (moved >= moves / 2) apart ??= cutForAWhile('ny', 'fra', 3_000);
  });
  const movingMs = clock.ms();
  expect(apart).not.toBeNull();
  await apart;
  load.on = false;
  const ledgers = await Promise.all(written);
  await importing;
  await lab.command('lab', 'link', 'la', 'ny', '--rtt', '60ms');
  await settled(supers, 60_000 + importRows / 5);
  const everywhereMs = clock.ms();
  console.info(
    JSON.stringify({
      outcomes,
      acknowledged: ledgers.reduce((n, l) => n + l.acknowledged.length, 0),
      refused: ledgers.reduce((n, l) => n + l.refused, 0),
      movesPerSecond: Math.round((moves / movingMs) * 10_000) / 10,
      pauseMs: { besideTheImport: percentiles(pausesMs.beside), afterIt: percentiles(pausesMs.after) },
      importedRowsPerSecond: Math.round((importRows / (importMs ?? 0)) * 1000),
      everywhereRowsPerSecond: Math.round((importRows / everywhereMs) * 1000),
      movingMs,
      importMs,
      everywhereMs,
    }),
  );
  expect(outcomes.moved).toBe(moves);
  expect(ledgers.flatMap(({ surprises }) => surprises)).toEqual([]);
  await expectEverywhere(lab, ledgers);
  const catalogs = await Promise.all(
    names.map((name) =>
      runSql(
        supers[name] as string,
        'SELECT count(*)::int AS n, sum(id)::text AS ids, sum(hashtextextended(words, id)::numeric)::text AS words FROM catalog',
      ),
    ),
  );
  for (const [i, name] of names.entries()) {
    expect(catalogs[i], name).toEqual([expect.objectContaining({ n: importRows })]);
    expect(catalogs[i], name).toEqual(catalogs[0]);
    const miscounted = await runSql(
      supers[name] as string,
      'SELECT o.* FROM orders o WHERE lines <> (SELECT count(*) FROM order_lines l WHERE l.order_id = o.id)',
    );
    expect(miscounted, name).toEqual([]);
  }
  const audit = await audited.finish();
  console.info(JSON.stringify({ local: audit.localWrites, accepted: audit.acceptances, auditedAfterMs: clock.ms() }));
  expect(audit.violations).toEqual([]);
  expect(audit.regressions).toEqual([]);
  for (const name of names) {
    // With fewer moves not every account has been everywhere.
    if (moves < 3 * moving.accounts) continue;
    expect(audit.localWrites[name], name).toBeGreaterThan(10);
    expect(audit.acceptances[name], name).toBeGreaterThan(moves / 10);
  }
  const { given, lost } = await workerErrors();
  console.info(JSON.stringify({ connectionsOfWorkersLost: lost }));
  expect(given).toEqual([]);
  const trouble = Object.keys(await applyTrouble(supers)).filter((what) => !what.endsWith(' apply_error_count'));
  expect(trouble).toEqual([]);
  for (const [i, here] of names.entries()) {
    for (const there of names.slice(i + 1)) {
      const verified = await lab.command('verify', '--dc', here, '--with', there, '--json');
      expect(verified.code, verified.stdout + verified.stderr).toBe(0);
    }
  }
  console.info(JSON.stringify({ verifiedAfterMs: clock.ms() }));
  const status = await lab.command('status', '--json');
  expect(status.code, status.stdout).toBe(0);
});

async function cutForAWhile(from: string, to: string, ms: number): Promise<void> {
  const links = new LinksClient(lab.line.links);
  for (const mode of ['cut', 'open'] as const) {
    for (const [a, b] of [[from, to] as const, [to, from] as const]) await links.change(a, b, { mode });
    if (mode === 'cut') await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/**
 * What ended workers that apply, from the servers' logs. A connection that was given up, since a link was cut or since so much was on
 * its way that no answer came within `wal_sender_timeout`, is counted by PostgreSQL as an error of applying, and begins again.
 */
async function workerErrors(): Promise<{ readonly given: readonly string[]; readonly lost: number }> {
  const logs = await Promise.all(
    names.map((name) => readFile(join(lab.line.dir, name, 'postgres/postgresql.log'), 'utf8')),
  );
  // Whoever is connected to a database has a name in front.
  const errors = logs.flatMap((log) => log.split('\n')).filter((line) => /^[^\]]+\] ERROR: /.test(line));
  const given = errors.filter(
    (line) =>
      !/could not (receive data from WAL stream|connect to the publisher)|logical replication worker due to timeout/.test(
        line,
      ),
  );
  return { given, lost: errors.length - given.length };
}

function stopwatch(): { ms(): number } {
  const startMs = performance.now();
  return { ms: () => Math.round(performance.now() - startMs) };
}

function percentiles(pausesMs: readonly number[]) {
  const sorted = pausesMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
  return { moves: sorted.length, p50: at(0.5), p99: at(0.99), longest: at(1) };
}

/** As an import job does it, so many rows at a time. */
async function importCatalog(owner: string, rows: number): Promise<void> {
  const client = new Client({ connectionString: owner });
  await client.connect();
  try {
    for (let from = 1; from <= rows; from += rowsAtOnce) {
      const to = Math.min(from + rowsAtOnce - 1, rows);
      await client.query(
        `BEGIN; SELECT lanekeeper.publishing();
         INSERT INTO catalog SELECT i, 'a thing that is number ' || i FROM generate_series(${from}, ${to}) i; COMMIT`,
      );
    }
  } finally {
    await client.end();
  }
}
