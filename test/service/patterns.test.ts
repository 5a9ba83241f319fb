/**
 * Patterns 1 to 3 as the guide writes them down: its configurations are read from docs/guides/patterns.md and run. Patterns 4
 * and 5 have tests of their own.
 */
import { readFileSync } from 'node:fs';
import type { WrittenConfiguration } from 'lanekeeper/config';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair, lease, publish } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { mergedEqually, merging } from '../support/merging.ts';
import { type TestPair, testPair } from '../support/pair.ts';
import { codeBlocksOf } from '../tidy/markdown.ts';

type Written = Partial<Omit<WrittenConfiguration, 'dataCenters'>>;

const guide = readFileSync(new URL('../../docs/guides/patterns.md', import.meta.url), 'utf8');

/** The configuration under a heading of the guide. */
function pattern(number: 1 | 2 | 3): Written {
  const section = guide.slice(guide.indexOf(`\n## ${number}. `), guide.indexOf(`\n## ${number + 1}. `));
  const [block] = codeBlocksOf(section).filter(({ language }) => language === 'yaml');
  return parse(block?.text ?? '') as Written;
}

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY);
  CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text);
`;
const shared = `
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  CREATE TABLE rates (currency text PRIMARY KEY, rate int);
  CREATE TABLE prices (sku text PRIMARY KEY, cents int);
`;
const grants = 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;';

describe('many masters, one active; and a feeder', () => {
  let pair: TestPair;
  let all: Record<string, string>;
  const at = <Row>(dc: string, sql: string) => runSql<Row>(pair.dc(dc).urls.application, sql);

  beforeAll(async () => {
    const one = pattern(1);
    const three = pattern(3);
    pair = await testPair({
      schema: schema + shared + grants,
      configuration: { ...one, tables: { ...one.tables, ...three.tables } },
    });
    await applyPair(pair);
    all = Object.fromEntries(pair.names.map((dc) => [dc, pair.dc(dc).urls.superuser]));
    for (const dc of pair.names) await lease(pair.dc(dc), 600_000);
  });
  afterAll(() => pair?.stop());

  test('1: both write at the same time, each its own accounts, and hold the same in the end', async () => {
    await Promise.all(
      pair.names.map(async (dc) => {
        for (let i = 0; i < 20; i++)
          await at(
            dc,
            `INSERT INTO accounts VALUES ('${dc}${i}'); INSERT INTO orders VALUES ('${dc}${i}', '${dc}${i}')`,
          );
      }),
    );
    const orders = (dc: string) => at<{ id: string }>(dc, 'SELECT id FROM orders ORDER BY id');
    await expect.poll(async () => (await orders('la')).length, { timeout: 20_000 }).toBe(40);
    await expect.poll(() => orders('ny'), { timeout: 20_000 }).toEqual(await orders('la'));
    for (const [dc, other] of [
      ['ny', 'la'],
      ['la', 'ny'],
    ] as const)
      await expect(at(other, `UPDATE orders SET note = 'x' WHERE id = '${dc}0'`)).rejects.toMatchObject({
        code: 'LK001',
        dataType: dc,
      });
  });

  test('3: what is published, and what the feeder writes freely, is written nowhere else', async () => {
    await publish(pair.dc('ny'), "INSERT INTO products VALUES ('cup', 'Cup')");
    await at('ny', "INSERT INTO rates VALUES ('EUR', 110)");
    for (const table of ['products', 'rates'])
      await expect(at('la', `DELETE FROM ${table}`)).rejects.toMatchObject({ code: 'LK007', dataType: 'ny' });
    await expect(at('ny', 'DELETE FROM products')).rejects.toMatchObject({ code: 'LK007' });
    for (const table of ['products', 'rates'])
      await expect.poll(async () => (await at('la', `SELECT FROM ${table}`)).length, { timeout: 20_000 }).toBe(1);
  });

  test('3: of two writes at once the feeder has the last word, everywhere; a correction made later stands until he writes', async () => {
    await at('ny', "INSERT INTO prices VALUES ('cup', 900), ('pot', 2000)");
    await mergedEqually(all, 'prices');
    await merging(all, false);
    await at('ny', "UPDATE prices SET cents = 950 WHERE sku = 'cup'");
    // Later, and lighter.
    await at('la', "UPDATE prices SET cents = 1 WHERE sku = 'cup'");
    await merging(all, true);
    expect(await mergedEqually(all, 'prices')).toContainEqual({ sku: 'cup', cents: 950 });
    for (const dc of pair.names)
      expect(
        await runSql(all[dc] ?? '', 'SELECT winner_dc, loser_dc, loser FROM lanekeeper.conflict ORDER BY id'),
      ).toEqual([{ winner_dc: 'ny', loser_dc: 'la', loser: ['cup', '1'] }]);

    await at('la', "UPDATE prices SET cents = 1900 WHERE sku = 'pot'");
    expect(await mergedEqually(all, 'prices')).toContainEqual({ sku: 'pot', cents: 1900 });
    await at('ny', "UPDATE prices SET cents = 2100 WHERE sku = 'pot'");
    expect(await mergedEqually(all, 'prices')).toContainEqual({ sku: 'pot', cents: 2100 });
    expect(await runSql(all.ny ?? '', 'SELECT FROM lanekeeper.conflict')).toHaveLength(1);
  });
});

describe('one master, many readers', () => {
  let pair: TestPair;
  let agents: TestAgents;
  const at = <Row>(dc: string, sql: string) => runSql<Row>(pair.dc(dc).urls.application, sql);
  const notes = async (dc: string) =>
    (await at<{ note: string }>(dc, 'SELECT note FROM orders ORDER BY id')).map(({ note }) => note);
  const note = (dc: string, text: string) => at(dc, `UPDATE orders SET note = '${text}'`);
  const refusedIn = (dc: string, home: string) =>
    expect(note(dc, 'refused')).rejects.toMatchObject({ code: 'LK001', dataType: home });

  beforeAll(async () => {
    pair = await testPair({ schema: schema + grants, configuration: pattern(2) });
    await applyPair(pair);
    agents = await testAgents(pair, {
      change: (written) => ({
        ...written,
        leases: { ...written.leases, ttl: '2s', renewEvery: '500ms', skew: '500ms' },
      }),
    });
  });
  afterAll(async () => {
    await agents?.stop();
    await pair?.stop();
  });

  test('2: the reader reads where it is; it is promoted by a switchover, and by itself when the master dies', async () => {
    await agents.start('ny');
    const la = await agents.start('la');
    await agents.untilReady('ny', 'la');
    await at('ny', "INSERT INTO accounts VALUES ('a'); INSERT INTO orders VALUES ('1', 'a', 'first')");
    await expect.poll(() => notes('la'), { timeout: 20_000 }).toEqual(['first']);
    await refusedIn('la', 'ny');
    await expect(at('la', "INSERT INTO accounts VALUES ('b')")).rejects.toMatchObject({ code: 'LK001' });

    await eventually(agents, 'promoted', async () =>
      expect(await agents.command('ny', 'switchover', '--to', 'la')).toMatchObject({ exitCode: 0 }),
    );
    await eventually(agents, 'la writes', () => note('la', 'second'));
    await expect.poll(() => notes('ny'), { timeout: 20_000 }).toEqual(['second']);
    await refusedIn('ny', 'la');

    await eventually(agents, 'in sync', async () => expect((await agents.status('la')).sync.recorded).toEqual(['ny']));
    await pair.dc('la').cluster.kill();
    await Promise.race([la.close(), new Promise((resolve) => setTimeout(resolve, 100))]);
    await eventually(agents, 'ny has taken over', () => note('ny', 'third'));
    expect(await notes('ny')).toEqual(['third']);
  }, 90_000);
});
