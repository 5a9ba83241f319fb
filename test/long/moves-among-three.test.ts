/**
 * Moves among three data centers, 16 at a time, while raw SQL writes to the accounts in all of them: with one direction
 * delayed by 500 ms, one link of three cut and healed on the way, and an import of read-only rows beside it. Small by default;
 * LANEKEEPER_TEST_MOVES=1000 LANEKEEPER_TEST_IMPORT_ROWS=10000000 for all of it.
 */
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
  timeout: 3_000_000,
}, async () => {
  await makeAccounts(lab, 'ny', moving, "INSERT INTO orders (id, account_id) SELECT 'o-' || id, id FROM made");
  await settled(supers);
  const audited = await auditMoves(supers, moving);
  await lab.command('lab', 'link', 'la', 'ny', '--one-way', '--rtt', '500ms');

  const load = { on: true };
  const importing = importCatalog(dataCenterOf(lab, 'ny').databases.owner, importRows);
  // What is changed again and again is where an older write that comes late would be seen.
  const insert = `WITH line AS (INSERT INTO order_lines (order_id, sku) VALUES ($1, $2))
    UPDATE orders SET lines = lines + 1 WHERE id = $1`;
  const startMs = performance.now();
  const written = Array.from({ length: writers }, (_, i) => writeUnderMoves(lab, moving, `w${i}`, insert, load));
  let apart: Promise<unknown> | null = null;
  const outcomes = await moveMany(lab, moving, moves, (moved) => {
    if (moved >= moves / 2) apart ??= cutForAWhile('ny', 'fra', 3_000);
  });
  expect(apart).not.toBeNull();
  await apart;
  load.on = false;
  const ledgers = await Promise.all(written);
  const importMs = await importing;
  await lab.command('lab', 'link', 'la', 'ny', '--heal');
  console.info(
    JSON.stringify({
      outcomes,
      acknowledged: ledgers.reduce((n, l) => n + l.acknowledged.length, 0),
      refused: ledgers.reduce((n, l) => n + l.refused, 0),
      movingMs: Math.round(performance.now() - startMs),
      importedRowsPerSecond: Math.round((importRows / importMs) * 1000),
    }),
  );
  expect(outcomes.moved).toBe(moves);

  await settled(supers, 60_000 + importRows / 5);
  expect(ledgers.flatMap(({ surprises }) => surprises)).toEqual([]);
  await expectEverywhere(lab, ledgers);
  for (const name of names) {
    const [row] = await runSql<{ n: number }>(supers[name] as string, 'SELECT count(*)::int AS n FROM catalog');
    expect(row?.n, name).toBe(importRows);
    const miscounted = await runSql(
      supers[name] as string,
      'SELECT o.* FROM orders o WHERE lines <> (SELECT count(*) FROM order_lines l WHERE l.order_id = o.id)',
    );
    expect(miscounted, name).toEqual([]);
  }
  const audit = await audited.finish();
  console.info(JSON.stringify({ local: audit.localWrites, accepted: audit.acceptances }));
  expect(audit.violations).toEqual([]);
  expect(audit.regressions).toEqual([]);
  for (const name of names) {
    expect(audit.localWrites[name], name).toBeGreaterThan(10);
    expect(audit.acceptances[name], name).toBeGreaterThan(moves / 10);
  }
  // On a machine that is busy a connection through the cut link may have been given up, which its worker counts as an error.
  const trouble = Object.entries(await applyTrouble(supers)).filter(
    ([what]) => !/^(ny lanekeeper_fra|fra lanekeeper_ny)_(homed|rest) apply_error_count$/.test(what),
  );
  expect(trouble).toEqual([]);
  // Each pair: every one as it sees the others.
  for (const here of names) {
    const verified = await lab.command('verify', '--dc', here, '--json');
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  }
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

/** As an import job does it, so many rows at a time; resolves with how long it took. */
async function importCatalog(owner: string, rows: number): Promise<number> {
  const client = new Client({ connectionString: owner });
  await client.connect();
  const startMs = performance.now();
  try {
    for (let from = 1; from <= rows; from += rowsAtOnce) {
      const to = Math.min(from + rowsAtOnce - 1, rows);
      await client.query(
        `BEGIN; SELECT lanekeeper.publishing();
         INSERT INTO catalog SELECT i, 'a thing that is number ' || i FROM generate_series(${from}, ${to}) i; COMMIT`,
      );
    }
    return performance.now() - startMs;
  } finally {
    await client.end();
  }
}
