/**
 * 1,000 moves, 16 at a time, while raw SQL writes to the accounts in both data centers; then the same with one direction
 * delayed by 500 ms. The writers go round the SDK on purpose: what holds here holds because of the database (R1).
 */

import { loadConfiguration } from 'lanekeeper/config';
import { createKeyRing, mintAgentToken } from 'lanekeeper/session';
import { Client, type DatabaseError } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { dataCenterOf, type TestLab, testLab } from '../support/lab.ts';
import { finishAudit, readDeeds, startAudit } from '../support/origin-audit.ts';
import { applyTrouble, settled } from '../support/settled.ts';

const accounts = 120;
const writers = 12;

let lab: TestLab;
let names: string[];
let supers: Record<string, string>;
beforeAll(async () => {
  lab = await testLab();
  names = Object.keys(lab.line.dataCenters);
  supers = Object.fromEntries(names.map((name) => [name, dataCenterOf(lab, name).databases.superuser]));
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

test.each([
  { title: 'links as they are', moves: 1000, slow: false },
  { title: 'from la to ny 500 ms', moves: 1000, slow: true },
])('$moves moves under write load, 16 at a time, $title', { timeout: 400_000 }, async ({ moves, slow }) => {
  const prefix = slow ? 'slow' : 'fast';
  await runSql(
    dataCenterOf(lab, 'ny').databases.application,
    `WITH made AS (INSERT INTO accounts (id) SELECT '${prefix}-' || i FROM generate_series(1, ${accounts}) i RETURNING id)
     INSERT INTO orders (id, account_id, total, placed_in) SELECT 'o-' || id, id, 0, 'ny' FROM made`,
  );
  await settled(supers);
  if (slow) await lab.command('lab', 'link', 'la', 'ny', '--one-way', '--rtt', '500ms');
  await startAudit(supers);
  const deeds = Object.fromEntries(
    await Promise.all(Object.entries(supers).map(async ([name, url]) => [name, await readDeeds(url)] as const)),
  );

  const load = { on: true };
  const written = Array.from({ length: writers }, (_, i) => write(`${prefix}-${i}`, prefix, load));
  const outcomes = await moveMany(prefix, moves);
  load.on = false;
  const ledgers = await Promise.all(written);
  console.info(
    JSON.stringify({
      outcomes,
      acknowledged: ledgers.reduce((n, l) => n + l.acknowledged.length, 0),
      refused: ledgers.reduce((n, l) => n + l.refused, 0),
    }),
  );
  expect(outcomes.moved).toBe(moves);

  if (slow) await lab.command('lab', 'link', 'la', 'ny', '--heal');
  await settled(supers, 60_000);
  for (const ledger of ledgers) {
    expect(ledger.surprises).toEqual([]);
    for (const name of names) {
      const rows = await runSql<{ sku: string }>(
        dataCenterOf(lab, name).databases.owner,
        'SELECT sku FROM order_lines WHERE sku LIKE $1',
        [`${ledger.writer}/%`],
      );
      expect(new Set(rows.map((row) => row.sku))).toEqual(new Set(ledger.acknowledged));
      expect(rows).toHaveLength(ledger.acknowledged.length);
    }
  }
  const parents = new Map(
    Array.from({ length: accounts }, (_, i) => [`public.orders/o-${prefix}-${i + 1}`, `${prefix}-${i + 1}`]),
  );
  const audit = await finishAudit(
    supers,
    [
      { name: 'public.orders', column: 'account_id' },
      { name: 'public.order_lines', column: 'order_id', through: 'public.orders' },
    ],
    { deeds, parents },
  );
  console.info(JSON.stringify({ local: audit.localWrites, accepted: audit.acceptances }));
  expect(audit.violations).toEqual([]);
  expect(audit.regressions).toEqual([]);
  for (const name of names) expect(audit.localWrites[name]).toBeGreaterThan(slow ? 20 : 100);
  expect(Object.values(audit.acceptances).reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(moves);
  expect(await applyTrouble(supers)).toEqual({});
  const verified = await lab.command('verify', '--json');
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
});

/** Appends lines to accounts by chance, in whichever data center it believes the account to be, until it is told to stop. */
async function write(writer: string, prefix: string, load: { readonly on: boolean }) {
  const clients = new Map<string, Client>();
  for (const name of names) {
    const client = new Client({ connectionString: dataCenterOf(lab, name).databases.application });
    await client.connect();
    clients.set(name, client);
  }
  const believed = new Map<string, string>();
  const acknowledged: string[] = [];
  const surprises: string[] = [];
  let refused = 0;
  for (let i = 0; load.on; i++) {
    const account = `${prefix}-${1 + Math.floor(Math.random() * accounts)}`;
    const at = believed.get(account) ?? names[0] ?? '';
    const sku = `${writer}/${i}`;
    try {
      await clients
        .get(at)
        ?.query("INSERT INTO order_lines (order_id, sku, name, price, quantity) VALUES ($1, $2, '', 0, 1)", [
          `o-${account}`,
          sku,
        ]);
      acknowledged.push(sku);
    } catch (error) {
      const { code, dataType } = error as DatabaseError;
      refused++;
      if (code === 'LK001') believed.set(account, dataType ?? '');
      else if (!['LK004', 'LK009', '40001'].includes(code ?? '')) surprises.push(`${code} ${(error as Error).message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20));
  }
  for (const client of clients.values()) await client.end();
  return { writer, acknowledged, surprises, refused };
}

/** Moves accounts to and fro, 16 at a time, until so many have moved. */
async function moveMany(prefix: string, wanted: number): Promise<Record<string, number>> {
  const { configuration } = await loadConfiguration({
    file: dataCenterOf(lab, 'ny').config,
    env: { ...process.env, ...dataCenterOf(lab, 'ny').environment },
    dc: 'ny',
  });
  const ring = createKeyRing(configuration, { env: { ...process.env, ...dataCenterOf(lab, 'ny').environment } });
  const outcomes: Record<string, number> = { moved: 0 };
  const homes = new Map<string, string>();
  let next = 0;
  let attempts = 0;
  const lane = async (): Promise<void> => {
    while ((outcomes.moved ?? 0) + underway < wanted && attempts < wanted * 4) {
      attempts++;
      underway++;
      const account = `${prefix}-${1 + (next++ % accounts)}`;
      const to = (homes.get(account) ?? 'ny') === 'ny' ? 'la' : 'ny';
      try {
        const response = await fetch(new URL('/v1/moves', dataCenterOf(lab, 'ny').agent), {
          method: 'POST',
          headers: { authorization: `Bearer ${mintAgentToken(ring, Date.now())}`, 'content-type': 'application/json' },
          body: JSON.stringify({ account, to, waitMs: 10_000, reason: 'test' }),
          signal: AbortSignal.timeout(30_000),
        });
        const answer = (await response.json()) as { kind?: string; home?: string; reason?: string };
        const kind = answer.kind === 'moved' ? 'moved' : `${answer.kind ?? response.status} ${answer.reason ?? ''}`;
        outcomes[kind] = (outcomes[kind] ?? 0) + 1;
        if (answer.home) homes.set(account, answer.home);
      } finally {
        underway--;
      }
    }
  };
  let underway = 0;
  await Promise.all(Array.from({ length: 16 }, lane));
  return outcomes;
}
