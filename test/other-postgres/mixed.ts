/**
 * Two data centers with two versions of PostgreSQL, as while one after the other is replaced: `npm run test:postgres` gives `ny` the
 * older one, and `la`, which joins it, has the one that the lab brings.
 */
import { locateNative } from '@lanekeeper/lab';
import { applyChanges, ensureStreams } from '@lanekeeper/server/postgres';
import type { WrittenConfiguration } from 'lanekeeper/config';
import { escapeIdentifier } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { connectAs } from '../support/applied.ts';
import { awkwardTypes, awkwardValues, createAwkwardTypes } from '../support/awkward-values.ts';
import { runSql } from '../support/clusters.ts';
import { onlyThese, type TestPair, testPair } from '../support/pair.ts';

const until = { timeout: 30_000, interval: 100 };

let pair: TestPair;
let agents: TestAgents;

beforeAll(async () => {
  pair = await testPair({
    schema: `CREATE TABLE accounts (id text PRIMARY KEY); CREATE TABLE things (id int PRIMARY KEY, account text NOT NULL);
      GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, things TO lanekeeper_application; ${createAwkwardTypes}`,
    configuration: {
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        things: { class: 'system-of-record', account: 'account' },
      },
      failover: { mode: 'manual' },
    },
    natives: { la: await locateNative({ ...process.env, LANEKEEPER_LAB_POSTGRES: '' }) },
  });
  const types = await Promise.all(pair.names.map((name) => awkwardTypes(pair.dc(name).urls.superuser)));
  const both = (types[0] ?? []).filter((type) => types[1]?.includes(type));
  const columns = both.map((type) => `ADD ${escapeIdentifier(type)} ${type}`).join();
  for (const name of pair.names) await runSql(pair.dc(name).urls.owner, `ALTER TABLE things ${columns}`);
  const { owner } = pair.dc('ny').urls;
  await runSql(owner, "INSERT INTO accounts VALUES ('a1')");
  const most = Math.max(...both.map((type) => awkwardValues[type]?.length ?? 0));
  for (let number = 0; number < most; number += 1) {
    const given = both.filter((type) => awkwardValues[type]?.[number] !== undefined);
    const names = given.map((type) => escapeIdentifier(type)).join();
    const values = given.map((type, index) => `CAST($${index + 2} AS ${type})`).join();
    await runSql(owner, `INSERT INTO things (id, account, ${names}) VALUES ($1, 'a1', ${values})`, [
      number,
      ...given.map((type) => awkwardValues[type]?.[number]),
    ]);
  }

  // Until la joins, ny is the only one.
  await apply(onlyThese(['ny']));
  const alone = await testAgents({ ...pair, names: ['ny'] }, { change: onlyThese(['ny']) });
  const first = await alone.start('ny');
  await alone.untilReady('ny');
  await apply((written) => written);
  await first.close();
  agents = await testAgents(pair);
  await agents.start('ny');
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

async function apply(change: (written: WrittenConfiguration) => WrittenConfiguration): Promise<void> {
  const ny = pair.dc('ny');
  const configuration = pair.configure('ny', change);
  expect(await applyChanges(connectAs(ny, 'owner'), configuration)).toMatchObject({ kind: 'applied', postponed: [] });
  await ensureStreams({ connect: connectAs(ny, 'agent'), configuration, env: ny.env });
}

/** Everything in `things`, as text. */
const things = (dc: string) => runSql(pair.dc(dc).urls.superuser, 'SELECT t::text AS row FROM things t ORDER BY id');

test('the two are not of one version', async () => {
  const version = `SELECT current_setting('server_version_num')::int / 10000 AS major`;
  const [ny, la] = await Promise.all(pair.names.map((name) => runSql(pair.dc(name).urls.agent, version)));
  expect(ny).not.toEqual(la);
});

test('one joins the other, with rows of every type as they were', async () => {
  await expect.poll(async () => (await agents.status('ny').catch(() => null))?.lease.kind, until).toBe('held');
  const joined = await agents.command('la', 'join', 'la', '--from', 'ny', '--yes');
  expect(joined, joined.stdout + joined.stderr).toMatchObject({ exitCode: 0 });
  await agents.start('la');
  await agents.untilReady('ny', 'la');
  const there = await things('la');
  expect(there.length).toBeGreaterThan(3);
  expect(there).toEqual(await things('ny'));
});

test('rows of every type arrive as they were, and the account moves there and back', async () => {
  // Whoever is given an account compares a digest of its rows with that of who gave it.
  expect(await agents.move('la', 'a1')).toMatchObject({ kind: 'moved' });
  const { application } = pair.dc('la').urls;
  await runSql(application, 'UPDATE things SET id = id + 100');
  await expect.poll(() => things('ny'), until).toEqual(await things('la'));
  expect(await agents.move('ny', 'a1')).toMatchObject({ kind: 'moved' });
  expect(await agents.command('ny', 'verify')).toMatchObject({ exitCode: 0 });
});

test('neither has anything against the other', async () => {
  for (const name of pair.names) {
    const { stdout } = await agents.command(name, 'doctor', '--json');
    const { findings } = JSON.parse(stdout) as { findings: { severity: string }[] };
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([]);
  }
});

test('each takes the other over, with a switchover and back', async () => {
  await expect.poll(async () => (await agents.status('ny')).sync.recorded, until).toEqual(['la']);
  const homeOf = (dc: string) => runSql(pair.dc(dc).urls.agent, `SELECT home FROM lanekeeper.where_is('a1')`);
  for (const [from, to] of [
    ['ny', 'la'],
    ['la', 'ny'],
  ] as const) {
    const switched = async () => (await agents.command(to, 'switchover', '--from', from, '--to', to)).stdout;
    await expect.poll(switched, until).toMatch(/✓/);
    await expect.poll(() => homeOf(to), until).toEqual([{ home: to }]);
    await runSql(pair.dc(to).urls.application, 'UPDATE things SET id = id + 100');
    await expect.poll(() => things(from), until).toEqual(await things(to));
  }
  expect(await agents.command('la', 'verify')).toMatchObject({ exitCode: 0 });
});
