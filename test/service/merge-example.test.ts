/** Three real data centers that all write the same rows: the example of the policies, and a storm on one hot row. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { mergedEqually, merging } from '../support/merging.ts';
import { type Trio, testTrio } from '../support/trio.ts';

let trio: Trio;
const write = (dc: string, sql: string, values: unknown[] = []) => runSql(trio.dc(dc).urls.application, sql, values);

beforeAll(async () => {
  trio = await testTrio({
    schema: `
      CREATE TABLE heavy (id int PRIMARY KEY, value int);
      CREATE TABLE hot (id int PRIMARY KEY, value text, count int NOT NULL DEFAULT 0);
      CREATE TABLE last (id int PRIMARY KEY, value int);`,
    tables: {
      heavy: { class: 'system-of-reference', policy: 'locality-weight' },
      hot: { class: 'system-of-reference', policy: 'timestamp-weight' },
      last: { class: 'cache', policy: 'last-man-standing', allowDivergence: true },
    },
    weights: { ny: 200, la: 300, fra: 100 },
  });
}, 120_000);
afterAll(() => trio?.stop());

describe('three data centers change one value at the same time, la being the heaviest', () => {
  const changes = [
    ['ny', 1],
    ['la', 2],
    ['fra', 3],
  ] as const;

  async function changeAtOnce(table: string): Promise<void> {
    await write('ny', `INSERT INTO ${table} VALUES (1, 0)`);
    await mergedEqually(trio.superusers, table);
    await merging(trio.superusers, false);
    for (const [dc, value] of changes) await write(dc, `UPDATE ${table} SET value = $1 WHERE id = 1`, [value]);
    await merging(trio.superusers, true);
  }

  it('locality-weight: it becomes 2 everywhere, and what was lost is logged', async () => {
    await changeAtOnce('heavy');
    expect(await mergedEqually(trio.superusers, 'heavy')).toEqual([{ id: 1, value: 2 }]);
    const lost = await runSql(
      trio.superusers.la ?? '',
      `SELECT DISTINCT winner_dc, winner[2] AS winner, loser_dc, loser[2] AS loser FROM lanekeeper.conflict
        WHERE relation = 'public.heavy' ORDER BY loser`,
    );
    expect(lost).toEqual([
      { winner_dc: 'la', winner: '2', loser_dc: 'ny', loser: '1' },
      { winner_dc: 'la', winner: '2', loser_dc: 'fra', loser: '3' },
    ]);
  });

  it('last-man-standing: they stay different', async () => {
    await changeAtOnce('last');
    await mergedEqually(trio.superusers, 'heavy');
    const values = await Promise.all(
      trio.names.map(
        async (dc) => (await runSql<{ value: number }>(trio.superusers[dc] ?? '', 'TABLE last'))[0]?.value,
      ),
    );
    expect(new Set(values).size).toBeGreaterThan(1);
  });
});

describe('a storm on a few rows', () => {
  it('raises no error in any application, and they are equal at the end', { timeout: 60_000 }, async () => {
    await write('ny', `INSERT INTO hot SELECT n, 'first' FROM generate_series(1, 3) n`);
    await mergedEqually(trio.superusers, 'hot');
    const errors: string[] = [];
    const storm = trio.names.flatMap((dc) =>
      [1, 2].map(async (writer) => {
        const client = new Client({ connectionString: trio.dc(dc).urls.application });
        await client.connect();
        for (let turn = 0; turn < 60; turn++) {
          const id = 1 + (turn % 3);
          const written =
            turn % 10 === 9
              ? client.query('DELETE FROM hot WHERE id = $1', [id])
              : client.query(
                  'INSERT INTO hot VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = $2, count = hot.count + 1',
                  [id, `${dc} ${writer} ${turn}`],
                );
          await written.catch((error: Error) => errors.push(error.message));
        }
        await client.end();
      }),
    );
    await Promise.all(storm);
    expect(errors).toEqual([]);
    const rows = await mergedEqually(trio.superusers, 'hot');
    expect(rows.length).toBeLessThanOrEqual(3);
    for (const url of Object.values(trio.superusers))
      expect(await runSql(url, 'SELECT FROM lanekeeper.merge_pending')).toEqual([]);
  });
});
