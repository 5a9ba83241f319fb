/** Many rows of one transaction travel and are merged together; what is the matter with one of them is its own matter. */
import { applyChanges } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { seeded } from '../sim/timeline.ts';
import { applyPair, connectAs } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { finishPending, mergedEqually, merging, read } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE prices (sku int PRIMARY KEY, cents int NOT NULL, note text);
  CREATE TABLE goods (id int, part text, name text, PRIMARY KEY (part, id));
  CREATE TABLE numbered (id int PRIMARY KEY, a int, serial int GENERATED ALWAYS AS IDENTITY);
  CREATE TABLE keys_only (a int, b text, PRIMARY KEY (a, b));
  CREATE TABLE days (day date, id int, note text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
  CREATE TABLE days_old PARTITION OF days FOR VALUES FROM ('2000-01-01') TO ('2026-01-01');
  CREATE TABLE days_new PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2030-01-01');
  CREATE TABLE odd (number int PRIMARY KEY, all_vals text, written int[], place oid, cols regclass, "t" jsonb);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${testRoleNames.application};
`;
/** Sees what arrives before it is merged. */
const spy = `
  CREATE TABLE seen (LIKE lanekeeper.change, n int GENERATED ALWAYS AS IDENTITY);
  CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
  BEGIN
    INSERT INTO seen SELECT NEW.*;
    RETURN CASE WHEN to_regclass('swallow') IS NULL THEN NEW END;
  END $$;
  CREATE TRIGGER a_spy BEFORE INSERT ON lanekeeper.change FOR EACH ROW EXECUTE FUNCTION see();
  ALTER TABLE lanekeeper.change ENABLE REPLICA TRIGGER a_spy;
`;
const tables = ['prices', 'goods', 'numbered', 'keys_only', 'days', 'odd'];

let pair: TestPair;
let all: Record<string, string>;
const clients: Client[] = [];

const write = (dc: string, sql: string) => runSql(pair.dc(dc).urls.application, sql);
const admin = <R extends object>(dc: string, sql: string, values: unknown[] = []) =>
  runSql<R & object>(all[dc] ?? '', sql, values) as Promise<R[]>;

/** Of every change that arrived in la since the test began: which table, and how many rows. */
const arrived = async () =>
  (
    await admin<{ change: string }>(
      'la',
      `SELECT relation || ' ' || CASE array_ndims(stamp) WHEN 2 THEN array_length(stamp, 1) ELSE 1 END AS change FROM seen
        WHERE relation NOT LIKE 'lanekeeper.%' ORDER BY n`,
    )
  ).map(({ change }) => change);

async function sameVersions(table: string): Promise<void> {
  const versions = (dc: string) =>
    admin(
      dc,
      'SELECT key, stamp::text, root::text, deleted, application, at::text FROM lanekeeper.version WHERE relation = $1 ORDER BY key',
      [`public.${table}`],
    );
  expect(await versions('la')).toEqual(await versions('ny'));
}

async function equal<R extends object>(table: string): Promise<R[]> {
  const rows = await mergedEqually<R>(all, table);
  await sameVersions(table);
  return rows;
}

async function session(dc: string): Promise<Client> {
  const client = new Client({ connectionString: pair.dc(dc).urls.application });
  client.on('error', () => {});
  await client.connect();
  clients.push(client);
  return client;
}

const fill = (from: number, to: number) => `INSERT INTO prices SELECT i, 1 FROM generate_series(${from}, ${to}) i`;

beforeAll(async () => {
  pair = await testPair({
    schema,
    configuration: {
      approach: 'active-passive',
      tables: {
        ...Object.fromEntries(tables.map((table) => [table, { class: 'system-of-reference' as const }])),
        prices: { class: 'system-of-reference', policy: 'locality-weight' },
      },
      merge: { weights: { ny: 100, la: 300 } },
    },
  });
  await applyPair(pair);
  all = Object.fromEntries(pair.names.map((name) => [name, pair.dc(name).urls.superuser]));
  await admin('la', spy);
}, 120_000);
beforeEach(async () => {
  await admin('la', 'TRUNCATE seen');
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end().catch(() => {})));
  await pair?.stop();
});

it('nobody is sent a batch who has not said that he reads it', async () => {
  await write('ny', fill(1, 3));
  await equal('prices');
  expect(await arrived()).toEqual(['public.prices 1', 'public.prices 1', 'public.prices 1']);
  for (const dc of pair.names) await admin(dc, 'SELECT lanekeeper.mark_merged()');
  await read(all);
  await write('ny', fill(4, 6));
  await equal('prices');
  expect((await arrived()).slice(3)).toEqual(['public.prices 1', 'batch:public.prices 2']);
});

describe('a batch', () => {
  it('is no larger than it should be', async () => {
    await write('ny', fill(1001, 3000));
    expect(await equal('prices')).toHaveLength(2006);
    const sizes = (await arrived()).map((change) => Number(change.split(' ')[1]));
    expect(sizes.reduce((sum, size) => sum + size)).toBe(2000);
    expect(Math.max(...sizes)).toBe(500);
    await write('ny', `UPDATE prices SET note = repeat('x', 400000) WHERE sku <= 6`);
    await equal('prices');
    const large = (await arrived()).slice(sizes.length).map((change) => Number(change.split(' ')[1]));
    expect(large.reduce((sum, size) => sum + size)).toBe(6);
    expect(Math.max(...large)).toBeLessThanOrEqual(3);
    await write('ny', 'DELETE FROM prices WHERE sku > 2');
    expect(await equal('prices')).toHaveLength(2);
  });

  it('is merged by a few statements, whatever the table is like', async () => {
    const rows = 'FROM generate_series(1, 5) i';
    await write(
      'ny',
      `BEGIN;
        INSERT INTO goods SELECT i, 'p', CASE WHEN i <> 2 THEN 'a "quoted", {braced} \\ one' END ${rows};
        INSERT INTO numbered (id, a) SELECT i, i ${rows};
        INSERT INTO keys_only SELECT i, 'NULL' ${rows};
        INSERT INTO days SELECT '2025-12-30'::date + i, i, 'x' ${rows};
        INSERT INTO odd SELECT i, NULL, ARRAY[i, NULL], 5, 'pg_class', '{"a": null}' ${rows};
      COMMIT`,
    );
    for (const table of tables.slice(1)) expect(await equal(table)).toHaveLength(5);
    expect((await arrived()).sort()).toEqual([
      'batch:public.days 5',
      'batch:public.goods 4',
      'batch:public.keys_only 5',
      'batch:public.numbered 5',
      'batch:public.odd 5',
      'public.goods 1',
    ]);
    await write(
      'la',
      `BEGIN;
        UPDATE goods SET name = id::text, id = id + 10 WHERE id > 1; UPDATE numbered SET a = 7 WHERE id > 1;
        UPDATE keys_only SET b = 'c' WHERE a > 1; UPDATE days SET day = day + 1; DELETE FROM odd WHERE number > 3;
        UPDATE odd SET all_vals = 'x', written = '{}', "t" = 'null', cols = 'pg_type';
      COMMIT`,
    );
    for (const table of tables.slice(1)) await equal(table);
    await write('ny', tables.map((table) => `DELETE FROM ${table}`).join('; '));
    for (const table of tables) expect(await equal(table)).toEqual([]);
  });

  it('holds the last of what one transaction did to a row, and nothing that it took back', async () => {
    await write(
      'ny',
      `BEGIN;
        ${fill(1, 4)};
        UPDATE prices SET cents = 2 WHERE sku = 3;
        DELETE FROM prices WHERE sku = 4;
        SAVEPOINT a; UPDATE prices SET cents = 666; INSERT INTO goods VALUES (1, 'x'), (2, 'y'); ROLLBACK TO a;
        UPDATE prices SET cents = 3 WHERE sku IN (1, 3);
        INSERT INTO prices VALUES (4, 4), (5, 5);
        DELETE FROM prices WHERE sku = 5;
      COMMIT`,
    );
    expect(await equal('prices')).toEqual([
      { sku: 1, cents: 3, note: null },
      { sku: 2, cents: 1, note: null },
      { sku: 3, cents: 3, note: null },
      { sku: 4, cents: 4, note: null },
    ]);
    expect(await equal('goods')).toEqual([]);
    expect(await arrived()).toEqual(['public.prices 1', 'batch:public.prices 4', 'public.prices 1']);
  });

  it('misses nothing, whatever a session does to its settings and constraints', async () => {
    await write(
      'ny',
      `BEGIN; SET LOCAL lanekeeper.logged = 'much'; ${fill(11, 13)}; RESET ALL; ${fill(14, 16)};
        SET CONSTRAINTS ALL IMMEDIATE; ${fill(17, 19)}; SAVEPOINT b; ${fill(20, 21)}; RELEASE b; COMMIT`,
    );
    await write('ny', `BEGIN ISOLATION LEVEL SERIALIZABLE; ${fill(22, 24)}; COMMIT`);
    await write('ny', `BEGIN ISOLATION LEVEL REPEATABLE READ; ${fill(25, 27)}; COMMIT`);
    expect(await equal('prices')).toHaveLength(4 + 17);
    for (const dc of pair.names) expect(await admin(dc, 'SELECT FROM lanekeeper.written')).toEqual([]);
    await write('ny', 'DELETE FROM prices');
    await equal('prices');
  });
});

describe('of a hundred rows', () => {
  it('one that is locked and one in conflict are left for themselves', async () => {
    await write('ny', fill(1, 100));
    await equal('prices');
    const holder = await session('la');
    await holder.query('BEGIN; UPDATE prices SET cents = 7 WHERE sku = 10');
    await merging(all, false);
    await write('la', 'UPDATE prices SET cents = 8 WHERE sku = 30');
    await write('ny', 'UPDATE prices SET cents = 2');
    await merging(all, true);
    await read(all);
    const states = `SELECT count(*) FILTER (WHERE cents = 2)::int AS merged, count(DISTINCT xmin::text) FILTER (WHERE cents = 2 AND sku > 1)::int AS steps FROM prices`;
    // What is merged by itself has a subtransaction of its own.
    expect(await admin('la', states)).toEqual([{ merged: 98, steps: 1 }]);
    expect(await admin('la', 'SELECT key, sqlstate FROM lanekeeper.merge_pending')).toEqual([
      { key: ['10'], sqlstate: null },
    ]);
    await holder.query('COMMIT');
    const rows = await equal<{ sku: number; cents: number }>('prices');
    expect(rows.filter(({ cents }) => cents !== 2).map(({ sku, cents }) => [sku, cents])).toEqual([
      [10, 7],
      [30, 8],
    ]);
    const conflicts = 'SELECT key, winner, winner_dc, loser, loser_dc FROM lanekeeper.conflict ORDER BY key';
    const expected = [
      { key: ['10'], winner: ['10', '7', null], winner_dc: 'la', loser: ['10', '2', null], loser_dc: 'ny' },
      { key: ['30'], winner: ['30', '8', null], winner_dc: 'la', loser: ['30', '2', null], loser_dc: 'ny' },
    ];
    for (const dc of pair.names) expect(await admin(dc, conflicts)).toEqual(expected);
  });

  it('one that cannot be written stops neither the others nor the stream', async () => {
    await admin('la', 'ALTER TABLE prices ADD CONSTRAINT no_666 CHECK (cents <> 666)');
    const holder = await session('la');
    await holder.query('BEGIN; UPDATE prices SET cents = 9 WHERE sku = 40; INSERT INTO prices VALUES (101, 9)');
    await write(
      'ny',
      `BEGIN; UPDATE prices SET cents = CASE sku WHEN 20 THEN 666 ELSE 3 END; ${fill(101, 103)}; COMMIT`,
    );
    await write('ny', "INSERT INTO goods VALUES (1, 'passes')");
    await read(all);
    expect(await admin('la', 'SELECT key, sqlstate FROM lanekeeper.merge_pending ORDER BY key')).toEqual([
      { key: ['101'], sqlstate: null },
      { key: ['20'], sqlstate: '23514' },
      { key: ['40'], sqlstate: null },
    ]);
    const [merged] = await admin('la', 'SELECT count(*)::int AS n FROM prices WHERE cents = 3 OR sku > 101');
    expect(merged).toEqual({ n: 98 + 2 });
    expect(await admin('la', 'SELECT name FROM goods')).toHaveLength(1);
    await holder.query('COMMIT');
    await admin('la', 'ALTER TABLE prices DROP CONSTRAINT no_666');
    const rows = await equal<{ sku: number; cents: number }>('prices');
    expect(rows.find(({ sku }) => sku === 20)?.cents).toBe(666);
    expect(
      rows
        .filter(({ cents }) => cents === 9)
        .map(({ sku }) => sku)
        .sort(),
    ).toEqual([101, 40].sort());
    const errors = 'SELECT coalesce(sum(apply_error_count), 0)::int AS n FROM pg_stat_subscription_stats';
    for (const dc of pair.names) expect(await admin(dc, errors)).toEqual([{ n: 0 }]);
  });

  it('all carry the era that they are written in', async () => {
    const heavier = pair.configure('ny', (written) => ({ ...written, merge: { weights: { ny: 500, la: 300 } } }));
    expect(await applyChanges(connectAs(pair.dc('ny'), 'owner'), heavier)).toMatchObject({ kind: 'applied' });
    await merging(all, false);
    await write('la', 'UPDATE prices SET cents = 4');
    await write('ny', 'UPDATE prices SET cents = 5');
    await merging(all, true);
    const rows = await equal<{ cents: number }>('prices');
    expect(rows.every(({ cents }) => cents === 5)).toBe(true);
    const [roots] = await admin(
      'la',
      "SELECT count(root)::int AS n FROM lanekeeper.version WHERE relation = 'public.prices' AND NOT deleted",
    );
    expect(roots).toEqual({ n: rows.length });
  });
});

it('transactions of many rows that meet leave the same rows and stamps in both, and conflicts of the same rows', async () => {
  const random = seeded(Number(process.env.MERGE_BATCHES_SEED ?? 1));
  const keys = Array.from({ length: 40 }, (_, index) => index + 1);
  const some = () =>
    keys
      .filter(() => random.chance(0.4))
      .concat(0)
      .join(', ');
  const statement = () =>
    random.pick([
      `INSERT INTO prices SELECT i, 1 FROM unnest(ARRAY[${some()}]) i ON CONFLICT (sku) DO UPDATE SET cents = prices.cents + 1`,
      `UPDATE prices SET cents = cents * 2 % 1000 WHERE sku IN (${some()})`,
      `DELETE FROM prices WHERE sku IN (${some()})`,
      `INSERT INTO goods SELECT i, 'p', 'n' FROM unnest(ARRAY[${some()}]) i ON CONFLICT DO NOTHING`,
      `DELETE FROM goods WHERE id IN (${some()})`,
    ]);
  for (let round = 0; round < 6; round += 1) {
    await merging(all, false);
    for (let turn = 0; turn < 6; turn += 1)
      await write(random.pick(pair.names), `BEGIN; ${statement()}; ${statement()}; ${statement()}; COMMIT`);
    await merging(all, true);
    for (const table of ['prices', 'goods']) await equal(table);
  }
  expect((await arrived()).filter((change) => change.startsWith('batch:')).length).toBeGreaterThan(10);
  // Which two writes to a row met depends on where they did; that some did, does not.
  const disputed = (dc: string) => admin(dc, 'SELECT DISTINCT relation, key FROM lanekeeper.conflict ORDER BY 1, 2');
  const rows = await disputed('ny');
  expect(rows.length).toBeGreaterThan(20);
  expect(await disputed('la')).toEqual(rows);
});

it('what is announced is sent in batches, and dropped by who has it', async () => {
  const before = await admin('la', 'SELECT sku, xmin::text FROM prices ORDER BY sku');
  const [sent] = await admin<{ n: number }>('ny', "SELECT lanekeeper.announce('public.prices')::int AS n");
  await equal('prices');
  const changes = await arrived();
  expect(changes.length).toBeLessThan(10);
  expect(changes.reduce((sum, change) => sum + Number(change.split(' ')[1]), 0)).toBe(sent?.n);
  expect(await admin('la', 'SELECT sku, xmin::text FROM prices ORDER BY sku')).toEqual(before);
});

it('a batch that an older version kept as a whole is finished row by row', async () => {
  await admin('la', 'CREATE TABLE swallow ()');
  await write('ny', 'UPDATE prices SET cents = 6');
  await read(all);
  await admin('la', 'DROP TABLE swallow');
  await admin(
    'la',
    `INSERT INTO lanekeeper.merge_pending (relation, key, stamp, root, shape, columns, vals, application, at, reason, sqlstate)
      SELECT relation, key, stamp, root, shape, columns, vals, application, at, 'not read', '23502' FROM seen ORDER BY n`,
  );
  await finishPending(all);
  const rows = await equal<{ cents: number }>('prices');
  expect(rows.every(({ cents }) => cents === 6)).toBe(true);
});
