/** What one database makes of writes to tables that are written in every data center. */
import type { DatabaseError } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

const schema = `
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE terms (
  word text, "Market %" integer, hits bigint NOT NULL DEFAULT 1, seen timestamptz NOT NULL DEFAULT clock_timestamp(),
  token uuid DEFAULT gen_random_uuid(), twice bigint GENERATED ALWAYS AS (hits * 2) STORED, PRIMARY KEY (word, "Market %")
);
CREATE TABLE kinds (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric, f double precision, b bytea, j jsonb, i interval, t timestamp,
  d date, a text[], m mood, r int4range, ip inet, c char(4), flag boolean
);
CREATE TABLE bare (id uuid PRIMARY KEY);
CREATE TABLE same_names (image text, given text, of_key text, wrong text, r text, i text, t text, removing text, PRIMARY KEY (image, of_key));
CREATE TABLE parts (id integer PRIMARY KEY, body text) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE audit (id text PRIMARY KEY, body text);
GRANT SELECT, INSERT, UPDATE, DELETE ON terms, kinds, bare, same_names, parts, parts_low TO lanekeeper_application;
GRANT SELECT ON audit TO lanekeeper_application;`;

const configuration = twoDataCenters({
  tables: {
    terms: { class: 'cache', writes: 'buffered' },
    kinds: { class: 'cache', writes: 'buffered' },
    bare: { class: 'cache', writes: 'direct' },
    parts: { class: 'cache', writes: 'direct' },
    same_names: { class: 'cache', writes: 'buffered' },
    audit: { class: 'cache', writes: 'buffered' },
  },
  extra: { approach: 'active-passive' },
});

async function refusal(work: Promise<unknown>): Promise<DatabaseError> {
  const error = await work.then(
    () => null,
    (reason: DatabaseError) => reason,
  );
  if (!error) throw new Error('it went through');
  return error;
}

let database: FencedDatabase;
const app = (sql: string, values?: unknown[]) =>
  runSql<Record<string, unknown>>(database.urls.application, sql, values);
const owner = (sql: string, values?: unknown[]) => runSql<Record<string, unknown>>(database.urls.owner, sql, values);
const agent = (sql: string, values?: unknown[]) => runSql<Record<string, unknown>>(database.urls.agent, sql, values);
const prepare = async (table: string, given: object, remove = false) =>
  (
    await agent('SELECT of_key AS key, image, of_stamp AS stamp FROM lanekeeper.buffer_prepare($1, $2, $3)', [
      `public.${table}`,
      JSON.stringify(given),
      remove,
    ])
  )[0] as { key: string[]; image: Record<string, unknown>; stamp: string };
const apply = async (table: string, key: string[], image: object | null, stamp: number, dc = 'la', number = 1) =>
  (
    await agent('SELECT lanekeeper.spread_apply($1, $2, $3, $4, $5, $6) AS won', [
      `public.${table}`,
      key,
      image === null ? null : JSON.stringify(image),
      stamp,
      dc,
      number,
    ])
  )[0]?.won;

beforeAll(async () => {
  database = await fencedDatabase(schema, configuration);
});
afterAll(() => database?.stop());
beforeEach(async () => {
  await runSql(
    database.urls.superuser,
    `SET session_replication_role = replica; DELETE FROM terms; DELETE FROM kinds; DELETE FROM parts; DELETE FROM lanekeeper.spread;
     DELETE FROM lanekeeper.buffer_waiting; DELETE FROM lanekeeper.buffer_log`,
  );
});

describe('plain SQL', () => {
  test.each([
    "INSERT INTO terms VALUES ('a', 1)",
    "UPDATE terms SET hits = 2 WHERE word = 'nobody'",
    'DELETE FROM terms',
    'TRUNCATE terms',
    "INSERT INTO parts VALUES (1, 'x')",
    "INSERT INTO parts_low VALUES (1, 'x')",
    "SET lanekeeper.spreading = 'on'; INSERT INTO terms VALUES ('a', 1)",
  ])('is refused: %s', async (sql) => {
    const { code, message, hint } = await refusal(app(sql));
    if (sql.startsWith('TRUNCATE')) return expect(['42501', 'LK006']).toContain(code);
    expect(code).toBe('LK020');
    expect(message).toMatch(/is written in every data center/);
    expect(hint).toMatch(/everywhere\('public\./);
  });

  test('is the owner’s only when he says that he means it', async () => {
    expect((await refusal(owner("INSERT INTO terms VALUES ('a', 1)"))).code).toBe('LK020');
    await owner("SET lanekeeper.spreading = 'on'; INSERT INTO terms VALUES ('a', 1)");
    expect(await app('SELECT word FROM terms')).toEqual([{ word: 'a' }]);
  });
});

describe('a write', () => {
  test('is refused where the application may not write the table', async () => {
    const write = app('SELECT lanekeeper.buffer_append(\'public.audit\', \'{"id": "1"}\', false)');
    expect((await refusal(write)).code).toBe('42501');
    const forged = app("SELECT lanekeeper.spread_apply('public.audit', '{1}', '{\"id\": \"1\"}', 1, 'la', 1)");
    expect((await refusal(forged)).code).toBe('42501');
    expect((await refusal(app("SELECT lanekeeper.spread_apply_all('[]')"))).code).toBe('42501');
    expect((await refusal(app('SELECT * FROM lanekeeper.buffer_log'))).code).toBe('42501');
  });

  test('gets its defaults once, where it is taken', async () => {
    const { key, image } = await prepare('terms', { word: 'tea', 'Market %': 7 });
    expect(key).toEqual(['tea', '7']);
    expect(image).toMatchObject({ word: 'tea', 'Market %': 7, hits: 1, token: expect.any(String) });
    expect(await apply('terms', key, image, 10)).toBe(true);
    const [row] = await app(`SELECT *, to_jsonb(seen) AS seen_text FROM terms`);
    expect(row).toMatchObject({ hits: '1', twice: '2', token: image.token, seen_text: image.seen });
  });

  test('of a column that this data center does not know yet is refused, and one that it has besides gets its default', async () => {
    const newer = { word: 'a', 'Market %': 1, hits: 1, seen: '2026-01-01', token: null, colour: 'red' };
    expect((await refusal(apply('terms', ['a', '1'], newer, 10))).code).toBe('42703');
    const { colour: _, hits: __, ...older } = newer;
    expect(await apply('terms', ['a', '1'], older, 10)).toBe(true);
    expect(await app('SELECT hits FROM terms')).toEqual([{ hits: '1' }]);
  });

  test('carries every kind of value unchanged', async () => {
    await owner(`SET lanekeeper.spreading = 'on'; INSERT INTO kinds OVERRIDING SYSTEM VALUE VALUES
      (9007199254740993, 123456789012345678901234567890.123456789, 0.1::float8 + 0.2::float8, '\\x00ff27', '{"a": [1.10, null, "é\\"''"]}',
       '1 mon 2 days 03:04:05.000006', '2026-02-03 04:05:06.000007', '0044-03-15 BC', ARRAY['a', NULL, 'x"y,{}'], 'sad', '[1,5)', '10.1.0.0/16', 'ab', true),
      (2, 'NaN', '-Infinity', '', '[]', '-1 year', 'infinity', '-infinity', '{}', NULL, 'empty', '::1', '', NULL)`);
    const before = await app('SELECT id, k::text AS text FROM kinds k ORDER BY id');
    for (const { id } of before) {
      const [row] = await agent('SELECT to_jsonb(k)::text AS row FROM kinds k WHERE id = $1', [id]);
      // As the text that travels, since JavaScript would round its numbers.
      const asked =
        "SELECT of_key AS key, image::text FROM lanekeeper.buffer_prepare('public.kinds', $1::jsonb, false)";
      const [prepared] = (await agent(asked, [row?.row])) as [{ key: string[]; image: string }];
      await runSql(
        database.urls.superuser,
        `SET session_replication_role = replica; DELETE FROM kinds WHERE id = ${id}`,
      );
      await agent("SELECT lanekeeper.spread_apply('public.kinds', $1, $2, 5, 'la', 1)", [prepared.key, prepared.image]);
    }
    expect(await app('SELECT id, k::text AS text FROM kinds k ORDER BY id')).toEqual(before);
  });

  test('may have columns that are called as ours are', async () => {
    const given = { image: 'a', given: 'b', of_key: 'c', wrong: 'd', r: 'e', i: 'f', t: 'g', removing: 'h' };
    const { key, image } = await prepare('same_names', given);
    expect(image).toEqual(given);
    for (const [stamp, wrong] of [
      [1, 'd'],
      [2, 'e'],
    ] as const)
      expect(await apply('same_names', key, { ...image, wrong }, stamp)).toBe(true);
    expect(await app('SELECT * FROM same_names')).toEqual([{ ...given, wrong: 'e' }]);
    expect(await apply('same_names', key, null, 3)).toBe(true);
    expect(await app('SELECT * FROM same_names')).toEqual([]);
  });

  test('of a partitioned table, and of one that is nothing but its key', async () => {
    expect(await apply('parts', ['5'], { id: 5, body: 'x' }, 1)).toBe(true);
    expect(await app('SELECT * FROM parts_low')).toEqual([{ id: 5, body: 'x' }]);
    const id = '8f8d3c3e-4b8e-4a39-9c0c-0a3f0b7a2c11';
    expect(await apply('bare', [id], { id }, 1)).toBe(true);
    expect(await apply('bare', [id], { id }, 2)).toBe(true);
    expect(await apply('bare', [id], null, 3)).toBe(true);
    expect(await app('SELECT * FROM bare')).toEqual([]);
  });
});

describe('of two writes to one key', () => {
  const row = (hits: number) => ({ word: 'a', 'Market %': 1, hits, seen: '2026-01-01', token: null });
  const key = ['a', '1'];
  const hits = async () => (await app('SELECT hits::int FROM terms')).map((one) => one.hits);

  test('the greater version stays: stamp, then data center, then number', async () => {
    expect(await apply('terms', key, row(1), 10, 'la', 5)).toBe(true);
    expect(await apply('terms', key, row(1), 10, 'la', 5)).toBe(false);
    expect(await apply('terms', key, row(2), 9, 'ny', 9)).toBe(false);
    expect(await apply('terms', key, row(3), 10, 'fra', 9)).toBe(false);
    expect(await hits()).toEqual([1]);
    expect(await apply('terms', key, row(4), 10, 'la', 6)).toBe(true);
    expect(await apply('terms', key, row(5), 10, 'ny', 1)).toBe(true);
    expect(await apply('terms', key, row(6), 11, 'fra', 1)).toBe(true);
    expect(await hits()).toEqual([6]);
  });

  test('a removal is a write: an older row does not come back', async () => {
    await apply('terms', key, row(1), 10);
    expect(await apply('terms', key, null, 20)).toBe(true);
    expect(await apply('terms', key, row(2), 15)).toBe(false);
    expect(await hits()).toEqual([]);
    expect(await apply('terms', key, row(3), 21)).toBe(true);
    expect(await hits()).toEqual([3]);
  });

  test('whoever has seen one writes a greater one, whatever his clock says', async () => {
    const future = (Date.now() + 3_600_000) * 1000;
    await apply('terms', key, row(1), future);
    expect(Number((await prepare('terms', { word: 'a', 'Market %': 1 })).stamp)).toBe(future + 1);
    await app('SELECT lanekeeper.buffer_append($1, $2, false)', ['public.terms', { word: 'a', 'Market %': 1 }]);
    const [next] = await app('SELECT of_stamp FROM lanekeeper.buffer_append($1, $2, true)', [
      'public.terms',
      { word: 'a', 'Market %': 1 },
    ]);
    expect(Number(next?.of_stamp)).toBe(future + 2);
    expect((await refusal(apply('terms', key, row(2), (Date.now() + 2 * 86_400_000) * 1000))).code).toBe('22008');
  });

  test('one that is refused among many leaves the others alone', async () => {
    const writes = [1, 2, 3].map((n) => ({
      relation: 'public.terms',
      key: [`w${n}`, '1'],
      image: { ...row(1), word: `w${n}`, ...(n === 2 ? { hits: 'many' } : {}) },
      stamp: 5,
      dc: 'la',
      number: n,
    }));
    const taken = await agent('SELECT outcome, state FROM lanekeeper.spread_apply_all($1)', [JSON.stringify(writes)]);
    expect(taken).toEqual([
      { outcome: 'written', state: null },
      { outcome: 'refused', state: '22P02' },
      { outcome: 'written', state: null },
    ]);
    expect(await app('SELECT word FROM terms ORDER BY word')).toEqual([{ word: 'w1' }, { word: 'w3' }]);
    const again = await agent('SELECT outcome FROM lanekeeper.spread_apply_all($1)', [JSON.stringify(writes)]);
    expect(again.map(({ outcome }) => outcome)).toEqual(['known', 'refused', 'known']);
  });
});
