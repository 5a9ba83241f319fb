/**
 * 1,000 moves, 16 at a time, while raw SQL writes to the accounts in both data centers; then the same with one direction
 * delayed by 500 ms.
 */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { dataCenterOf, type TestLab, testLab } from '../support/lab.ts';
import { auditMoves, expectEverywhere, makeAccounts, moveMany, writeUnderMoves } from '../support/moves.ts';
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
  const moving = { prefix: slow ? 'slow' : 'fast', accounts };
  await makeAccounts(
    lab,
    'ny',
    moving,
    "INSERT INTO orders (id, account_id, total, placed_in) SELECT 'o-' || id, id, 0, 'ny' FROM made",
  );
  await settled(supers);
  if (slow) await lab.command('lab', 'link', 'la', 'ny', '--one-way', '--rtt', '500ms');
  const audited = await auditMoves(supers, moving);

  const load = { on: true };
  const insert = "INSERT INTO order_lines (order_id, sku, name, price, quantity) VALUES ($1, $2, '', 0, 1)";
  const written = Array.from({ length: writers }, (_, i) =>
    writeUnderMoves(lab, moving, `${moving.prefix}-${i}`, insert, load),
  );
  const outcomes = await moveMany(lab, moving, moves);
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

  if (slow) await lab.command('lab', 'link', 'la', 'ny', '--rtt', '60ms');
  await settled(supers, 60_000);
  expect(ledgers.flatMap(({ surprises }) => surprises)).toEqual([]);
  await expectEverywhere(lab, ledgers);
  const audit = await audited.finish();
  console.info(JSON.stringify({ local: audit.localWrites, accepted: audit.acceptances }));
  expect(audit.violations).toEqual([]);
  expect(audit.regressions).toEqual([]);
  for (const name of names) expect(audit.localWrites[name]).toBeGreaterThan(slow ? 20 : 100);
  expect(Object.values(audit.acceptances).reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(moves);
  expect(await applyTrouble(supers)).toEqual({});
  const verified = await lab.command('verify', '--json');
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
});
