/** The merge log at its edges: locks, eras, floors, columns that are missing, tables that are refused, what verify says. */
import { applyChanges, planChanges, repairDifferences, verifyTables } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyPair, connectAs } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { finishPending, mergedEqually, merging } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';

let pair: TestPair;
let all: Record<string, string>;
const clients: Client[] = [];

const write = (dc: string, sql: string) => runSql(pair.dc(dc).urls.application, sql);
const admin = <R extends object>(dc: string, sql: string, values: unknown[] = []) =>
  runSql<R & object>(all[dc] ?? '', sql, values) as Promise<R[]>;
const pending = async (dc: string) =>
  (await admin<{ n: number }>(dc, 'SELECT count(*)::int AS n FROM lanekeeper.merge_pending'))[0]?.n;

async function session(dc: string): Promise<Client> {
  const client = new Client({ connectionString: pair.dc(dc).urls.application });
  client.on('error', () => {});
  await client.connect();
  clients.push(client);
  return client;
}

beforeAll(async () => {
  pair = await testPair({
    schema: `
      CREATE TABLE prices (sku text PRIMARY KEY, cents int NOT NULL);
      CREATE TABLE goods (id int PRIMARY KEY, name text);
      CREATE TABLE hints (word text PRIMARY KEY, hint text);
      INSERT INTO goods VALUES (1, 'old');
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${testRoleNames.application};
    `,
    configuration: {
      approach: 'active-passive',
      tables: {
        prices: { class: 'system-of-reference', policy: 'locality-weight' },
        goods: { class: 'system-of-reference' },
        hints: { class: 'cache', policy: 'last-man-standing', allowDivergence: true },
      },
      merge: { weights: { ny: 100, la: 300 } },
    },
  });
  await applyPair(pair);
  all = Object.fromEntries(pair.names.map((name) => [name, pair.dc(name).urls.superuser]));
}, 120_000);
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end().catch(() => {})));
  await pair?.stop();
});

describe('a locked row', () => {
  it('holds up nobody else, and is merged when it is free', async () => {
    await write('ny', "INSERT INTO prices VALUES ('a', 1), ('b', 1)");
    await mergedEqually(all, 'prices');
    const holder = await session('la');
    await holder.query("BEGIN; UPDATE prices SET cents = 7 WHERE sku = 'a'");
    await write('ny', "UPDATE prices SET cents = 2 WHERE sku = 'a'");
    await write('ny', "UPDATE prices SET cents = 2 WHERE sku = 'b'");
    const b = async () => (await admin<{ cents: number }>('la', "SELECT cents FROM prices WHERE sku = 'b'"))[0]?.cents;
    await expect.poll(b, { timeout: 20_000 }).toBe(2);
    expect(await pending('la')).toBe(1);
    await finishPending(all);
    expect(await pending('la')).toBe(1);
    await holder.query('COMMIT');
    expect(await mergedEqually(all, 'prices')).toEqual([
      { sku: 'a', cents: 7 },
      { sku: 'b', cents: 2 },
    ]);
    expect(await pending('la')).toBe(0);
  });

  it('may be one that nobody sees yet', async () => {
    const holder = await session('la');
    await holder.query("BEGIN; INSERT INTO prices VALUES ('new', 7)");
    await write('ny', "INSERT INTO prices VALUES ('new', 2)");
    await expect.poll(() => pending('la'), { timeout: 20_000 }).toBe(1);
    await holder.query('COMMIT');
    const rows = await mergedEqually<{ sku: string; cents: number }>(all, 'prices');
    expect(rows.find(({ sku }) => sku === 'new')?.cents).toBe(7);
    const [conflict] = await admin('ny', "SELECT winner_dc, loser_dc FROM lanekeeper.conflict WHERE key = '{new}'");
    expect(conflict).toEqual({ winner_dc: 'la', loser_dc: 'ny' });
  });
});

describe('eras', () => {
  it('new weights begin one, and what is written in it outweighs what was written before', async () => {
    const weights = { merge: { weights: { ny: 500, la: 300 } } };
    const heavier = pair.configure('ny', (written) => ({ ...written, ...weights }));
    await write('la', "INSERT INTO prices VALUES ('era', 1)");
    await mergedEqually(all, 'prices');
    await merging(all, false);
    expect(await applyChanges(connectAs(pair.dc('ny'), 'owner'), heavier)).toMatchObject({ kind: 'applied' });
    await write('ny', "UPDATE prices SET cents = 2 WHERE sku = 'era'");
    await write('la', "UPDATE prices SET cents = 3 WHERE sku = 'era'");
    await merging(all, true);
    const rows = await mergedEqually<{ sku: string; cents: number }>(all, 'prices');
    expect(rows.find(({ sku }) => sku === 'era')?.cents).toBe(2);
    // la has not taken the configuration yet, and writes in the new era all the same.
    await write('la', "UPDATE prices SET cents = 4 WHERE sku = 'era'");
    await mergedEqually(all, 'prices');
    const layouts = await admin(
      'la',
      "SELECT era, shape FROM lanekeeper.layout WHERE relation = 'public.prices' ORDER BY era",
    );
    expect(layouts).toHaveLength(2);
    const [row] = await admin<{ newest: boolean; cents: number }>(
      'la',
      `SELECT stamp[1] = $1 AS newest, cents FROM lanekeeper.version v, prices WHERE sku = 'era' AND key = '{era}' AND v.relation = 'public.prices'`,
      [(layouts[1] as { era: string }).era],
    );
    expect(row).toEqual({ newest: true, cents: 4 });
    // The same in both again: la declares what is there already, and no era begins.
    const same = pair.configure('la', (written) => ({ ...written, ...weights }));
    expect(await applyChanges(connectAs(pair.dc('la'), 'owner'), same)).toMatchObject({ kind: 'applied' });
    expect(await admin('la', "SELECT FROM lanekeeper.layout WHERE relation = 'public.prices'")).toHaveLength(2);
  });

  it('a write on an era that is not known here is to be tried again', async () => {
    await write('ny', "INSERT INTO goods VALUES (40001, 'a')");
    await mergedEqually(all, 'goods');
    await admin('la', "UPDATE lanekeeper.version SET stamp[1] = stamp[1] + 4294967296 WHERE key = '{40001}'");
    await expect(write('la', 'UPDATE goods SET id = id WHERE id = 40001')).rejects.toMatchObject({ code: '40001' });
    await admin('la', "UPDATE lanekeeper.version SET stamp[1] = stamp[1] - 4294967296 WHERE key = '{40001}'");
  });
});

describe('deleted rows', () => {
  const mark = (dc: string) => admin(dc, 'SELECT lanekeeper.mark_merged()');
  const purge = async (dc: string, before: Date) =>
    (
      await admin<{ n: number }>(dc, 'SELECT lanekeeper.purge_deleted(clock_timestamp() - $1::timestamptz) AS n', [
        before.toISOString(),
      ])
    )[0]?.n;
  const now = async (dc: string) => {
    const [row] = await admin<{ at: Date }>(dc, 'SELECT clock_timestamp() AS at');
    return row?.at as Date;
  };

  it('are forgotten when everybody is known to have merged the deletion, and begin anew above the floor', async () => {
    await write('ny', "INSERT INTO goods VALUES (2, 'two'), (3, 'three')");
    await mergedEqually(all, 'goods');
    await write('ny', 'DELETE FROM goods WHERE id IN (2, 3)');
    await mergedEqually(all, 'goods');
    await new Promise((resolve) => setTimeout(resolve, 5));
    const before = await now('ny');
    for (const dc of ['la', 'ny']) await mark(dc);
    await mergedEqually(all, 'goods');
    // la has not said yet that it has merged up to the mark of ny.
    expect(await purge('ny', before)).toBe(0);
    for (const dc of ['la', 'ny']) await mark(dc);
    await mergedEqually(all, 'goods');
    expect(await purge('ny', before)).toBe(2);
    expect(
      await admin('ny', "SELECT FROM lanekeeper.version WHERE relation = 'public.goods' AND key IN ('{2}', '{3}')"),
    ).toEqual([]);
    // Without a floor this would begin at nothing, and lose to the deletion that la still knows.
    await write('ny', "INSERT INTO goods VALUES (2, 'again')");
    const rows = await mergedEqually<{ id: number; name: string }>(all, 'goods');
    expect(rows.find(({ id }) => id === 2)).toEqual({ id: 2, name: 'again' });
    // Both forget, both write: one of them wins, in both.
    expect(await purge('la', before)).toBe(1);
    await merging(all, false);
    await write('ny', "INSERT INTO goods VALUES (3, 'ny')");
    await write('la', "INSERT INTO goods VALUES (3, 'la')");
    await merging(all, true);
    await mergedEqually(all, 'goods');
  });

  it('are kept while one data center has not merged the deletion', async () => {
    await write('ny', "INSERT INTO goods VALUES (4, 'four')");
    await mergedEqually(all, 'goods');
    await merging({ la: all.la ?? '' }, false);
    await write('ny', 'DELETE FROM goods WHERE id = 4');
    await new Promise((resolve) => setTimeout(resolve, 5));
    const before = await now('ny');
    for (let n = 0; n < 3; n += 1) for (const dc of ['la', 'ny']) await mark(dc);
    expect(await purge('ny', before)).toBe(0);
    await merging({ la: all.la ?? '' }, true);
    await mergedEqually(all, 'goods');
  });
});

it('what cannot be written is kept, stops no stream, and is merged when it can be', async () => {
  await runSql(pair.dc('ny').urls.owner, 'ALTER TABLE goods ADD COLUMN colour text');
  expect(await applyChanges(connectAs(pair.dc('ny'), 'owner'), pair.dc('ny').configuration)).toMatchObject({
    kind: 'applied',
  });
  await write('ny', "INSERT INTO goods VALUES (5, 'five', 'red')");
  await write('ny', "INSERT INTO prices VALUES ('passes', 1)");
  await mergedEqually(all, 'prices');
  expect(await admin('la', 'SELECT relation, key, sqlstate FROM lanekeeper.merge_pending')).toEqual([
    { relation: 'public.goods', key: ['5'], sqlstate: '42703' },
  ]);
  await runSql(pair.dc('la').urls.owner, 'ALTER TABLE goods ADD COLUMN colour text');
  expect(await applyChanges(connectAs(pair.dc('la'), 'owner'), pair.dc('la').configuration)).toMatchObject({
    kind: 'applied',
  });
  const rows = await mergedEqually<{ id: number; colour: string }>(all, 'goods');
  expect(rows.find(({ id }) => id === 5)?.colour).toBe('red');
  const errors = `SELECT coalesce(sum(apply_error_count), 0)::int AS n FROM pg_stat_subscription_stats`;
  for (const dc of pair.names) expect(await admin(dc, errors)).toEqual([{ n: 0 }]);
});

describe('verify', () => {
  const sides = () => ({
    configuration: pair.dc('ny').configuration,
    here: 'ny',
    there: 'la',
    connect: (dc: string) => connectAs(pair.dc(dc), 'agent'),
  });

  it('finds what last-man-standing leaves, and says that it is allowed', async () => {
    await merging(all, false);
    await write('ny', "INSERT INTO hints VALUES ('a', 'ny')");
    await write('la', "INSERT INTO hints VALUES ('a', 'la')");
    await merging(all, true);
    const hint = async (dc: string) => (await admin<{ hint: string }>(dc, 'SELECT hint FROM hints'))[0]?.hint;
    await expect.poll(() => hint('ny'), { timeout: 20_000 }).toBe('la');
    await expect.poll(() => hint('la'), { timeout: 20_000 }).toBe('ny');
    const result = await verifyTables(sides());
    if (result.kind !== 'verified') throw new Error(result.message);
    expect(result.tables.find(({ table }) => table === 'public.hints')).toMatchObject({
      kind: 'differs',
      differences: 1,
      allowed: true,
    });
    expect(result.tables.find(({ table }) => table === 'public.prices')).toMatchObject({ kind: 'equal' });
    expect(result.clean).toBe(true);
  });

  it('waits for what is pending, finds what was changed past us, and repairs what is older', async () => {
    await admin('la', "SET session_replication_role = replica; UPDATE prices SET cents = 99 WHERE sku = 'a'");
    // As if a change had been lost on its way.
    await admin(
      'la',
      `SET session_replication_role = replica; UPDATE prices SET cents = 98 WHERE sku = 'b';
        UPDATE lanekeeper.version SET stamp[2] = 0, stamp[3] = 0 WHERE key = '{b}' AND relation = 'public.prices'`,
    );
    const result = await verifyTables({ ...sides(), tables: ['public.prices'] });
    if (result.kind !== 'verified') throw new Error(result.message);
    expect(result.clean).toBe(false);
    const repaired = await repairDifferences({ ...sides(), differences: result.differences, dryRun: false });
    if (repaired.kind !== 'repaired') throw new Error(repaired.message);
    expect(Object.fromEntries(repaired.steps.map(({ difference, outcome }) => [difference.key.sku, outcome]))).toEqual({
      a: { kind: 'refused', why: expect.stringContaining('write it once more') },
      b: { kind: 'sent', from: 'ny' },
    });
    await write('ny', "UPDATE prices SET cents = cents WHERE sku = 'a'");
    await mergedEqually(all, 'prices');
  });
});

it('tables that cannot be merged are refused, with the reason', async () => {
  const owner = pair.dc('ny').urls.owner;
  await runSql(
    owner,
    `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      CREATE TABLE keyless (a int);
      CREATE TABLE twice (a int PRIMARY KEY, b int UNIQUE);
      CREATE TABLE loosely (a text COLLATE loose PRIMARY KEY);
      CREATE TABLE spans (a interval PRIMARY KEY)`,
  );
  const tables = { keyless: {}, twice: {}, loosely: {}, spans: {} };
  const configuration = pair.configure('ny', (written) => ({
    ...written,
    tables: {
      ...written.tables,
      ...Object.fromEntries(Object.keys(tables).map((name) => [name, { class: 'system-of-reference' as const }])),
    },
  }));
  const planned = await planChanges(connectAs(pair.dc('ny'), 'owner'), configuration);
  if (planned.kind !== 'planned') throw new Error(planned.kind);
  expect(planned.plan.steps).toEqual([]);
  expect(planned.plan.problems.map(({ message }) => message).sort()).toEqual([
    expect.stringMatching(/keyless: it has no primary key/),
    expect.stringMatching(/loosely: its key column a is compared by a nondeterministic collation/),
    expect.stringMatching(/spans: its key column a is of type interval/),
    expect.stringMatching(/twice: the unique index twice_b_key/),
  ]);
});
