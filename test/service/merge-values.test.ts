/** Every type's awkward values through the merge log, whatever the session's settings; generated and identity columns. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { applyPair } from '../support/applied.ts';
import { awkwardTypes, awkwardValues, createAwkwardTypes } from '../support/awkward-values.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { mergedEqually, read } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';

let pair: TestPair;
let all: Record<string, string>;
let types: string[];

const ofTypes = (names: readonly string[]) => `
  CREATE TABLE many (id int PRIMARY KEY, ${names.map((type, i) => `c${i} ${type}`).join(', ')});
  CREATE TABLE "odd ""one""" (
    "the key" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int NOT NULL, twice int GENERATED ALWAYS AS (a * 2) STORED,
    serial int GENERATED ALWAYS AS IDENTITY, "A b" text DEFAULT 'default', gone int
  );
  ALTER TABLE "odd ""one""" DROP COLUMN gone;
  CREATE TABLE parts (day date, id int, note text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
  CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2026-01-01');
  CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2030-01-01');
  CREATE TABLE keys_of (a real, b char(5), c mood, d even, e bytea, f timestamptz, PRIMARY KEY (a, b, c, d, e, f), note text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${testRoleNames.application};
`;

beforeAll(async () => {
  pair = await testPair({
    schema: createAwkwardTypes,
    configuration: {
      approach: 'active-passive',
      tables: {
        many: { class: 'system-of-reference' },
        'public.odd "one"': { class: 'system-of-reference' },
        keys_of: { class: 'system-of-reference' },
        parts: { class: 'system-of-reference' },
      },
    },
  });
  all = Object.fromEntries(pair.names.map((name) => [name, pair.dc(name).urls.superuser]));
  for (const name of pair.names) {
    types = await awkwardTypes(pair.dc(name).urls.superuser);
    await runSql(pair.dc(name).urls.owner, ofTypes(types));
  }
  await applyPair(pair);
  // From here on what one statement writes to many rows goes as a batch, and what is written row by row as before.
  for (const url of Object.values(all)) await runSql(url, 'SELECT lanekeeper.mark_merged()');
  await read(all);
}, 120_000);
afterAll(() => pair?.stop());

/** Every version of both sides is the same; the rows are compared apart, column by column. */
async function arrived(rows: number): Promise<void> {
  const versions = (dc: string) =>
    runSql<{ key: string[] }>(
      all[dc] ?? '',
      "SELECT key, stamp::text FROM lanekeeper.version WHERE relation = 'public.many' ORDER BY key",
    );
  await read(all);
  for (const url of Object.values(all))
    expect(await runSql(url, 'SELECT key, reason FROM lanekeeper.merge_pending')).toEqual([]);
  expect(await versions('la')).toEqual(await versions('ny'));
  expect(await versions('ny')).toHaveLength(rows);
}

it('every value of every type arrives as it was, by insert and by update', async () => {
  const url = pair.dc('ny').urls.application;
  const rows = Math.max(...types.map((type) => awkwardValues[type]?.length ?? 0));
  const strange = `SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kathmandu'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'; SET extra_float_digits = -5;`;
  for (let id = 0; id < rows; id += 1) {
    const literals = types.map((type) => {
      const value = awkwardValues[type]?.[id];
      return value === undefined ? 'NULL' : `'${value.replaceAll("'", "''")}'::${type}`;
    });
    // Read as they are written, then written by a session with other habits.
    await runSql(url, `${strange} SET DateStyle = 'ISO, YMD'; INSERT INTO many VALUES (${id}, ${literals.join(', ')})`);
  }
  const text = 'SELECT id, t::text AS row FROM many t ORDER BY id';
  await arrived(rows);
  expect(await runSql(all.la ?? '', text)).toEqual(await runSql(all.ny ?? '', text));
  const columns = types.map((_, i) => `c${i}`).join(', ');
  const moved = types.map((_, i) => `o.c${i}`).join(', ');
  await runSql(
    pair.dc('la').urls.application,
    `${strange} UPDATE many t SET (${columns}) = (SELECT ${moved} FROM many o WHERE o.id = (t.id + 1) % ${rows})`,
  );
  await arrived(rows);
  expect(await runSql(all.la ?? '', text)).toEqual(await runSql(all.ny ?? '', text));
}, 60_000);

it('generated columns are computed, identity columns keep their numbers, dropped ones are gone', async () => {
  const table = '"odd ""one"""';
  await runSql(pair.dc('ny').urls.application, `INSERT INTO ${table} (a) VALUES (1), (2)`);
  const [first] = await mergedEqually<{ twice: number; serial: number }>(all, table);
  expect(first).toMatchObject({ twice: 2 });
  await runSql(pair.dc('la').urls.application, `UPDATE ${table} SET a = 5, "A b" = NULL WHERE a = 1`);
  const rows = await mergedEqually<{ a: number; twice: number; serial: number; 'A b': string | null }>(all, table);
  expect(rows.find(({ a }) => a === 5)).toMatchObject({ twice: 10, serial: first?.serial, 'A b': null });
});

it('keys of many types are one key when they are equal', async () => {
  const row = `'-0', 'a', 'sad', 2, '\\x00', '2024-01-01 00:00+00'`;
  await runSql(pair.dc('ny').urls.application, `INSERT INTO keys_of VALUES (${row}, 'one')`);
  await mergedEqually(all, 'keys_of');
  await runSql(
    pair.dc('la').urls.application,
    `SET bytea_output = 'escape'; SET TimeZone = 'Asia/Tokyo'; UPDATE keys_of SET note = 'two' WHERE a = 0`,
  );
  const [one, ...others] = await mergedEqually<{ note: string }>(all, 'keys_of');
  expect([one?.note, others]).toEqual(['two', []]);
  expect(await runSql(all.la ?? '', `SELECT key FROM lanekeeper.version WHERE relation = 'public.keys_of'`)).toEqual([
    { key: ['0', 'a    ', 'sad', '2', '\\x00', '2024-01-01 00:00:00+00'] },
  ]);
});

it('a partitioned table is merged as one, also where a row moves to another partition', async () => {
  const ny = pair.dc('ny').urls;
  await runSql(ny.application, "INSERT INTO parts VALUES ('2025-05-05', 1, 'a'), ('2026-06-06', 2, 'b')");
  await mergedEqually(all, 'parts');
  await runSql(pair.dc('la').urls.application, "UPDATE parts SET day = '2027-07-07' WHERE id = 1");
  await runSql(pair.dc('la').urls.application, 'DELETE FROM parts WHERE id = 2');
  const rows = await mergedEqually<{ id: number; note: string }>(all, 'parts');
  expect(rows).toEqual([expect.objectContaining({ id: 1, note: 'a' })]);
  expect(await runSql(ny.superuser, 'SELECT id FROM ONLY parts_new')).toEqual([{ id: 1 }]);
  // A partition that is attached later is in it at once, here and where it arrives.
  for (const name of pair.names)
    await runSql(
      pair.dc(name).urls.owner,
      "CREATE TABLE parts_next PARTITION OF parts FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
    );
  await runSql(ny.owner, "INSERT INTO parts_next VALUES ('2030-03-03', 3, 'c')");
  expect(await mergedEqually(all, 'parts')).toHaveLength(2);
  await expect(runSql(ny.owner, 'TRUNCATE parts_old')).rejects.toThrow(/TRUNCATE/);
});
