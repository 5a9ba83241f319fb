/** From one data center to two: a database that was alone, with an agent and a lease, is joined by a second one while it sells. */
import { applyChanges, ensureStreams, verifyTables } from '@lanekeeper/server/postgres';
import type { WrittenConfiguration } from 'lanekeeper/config';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { connectAs } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { onlyThese, type TestPair, testPair } from '../support/pair.ts';
import { connectTo } from '../support/taken-over.ts';

const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true, durability: 'local' },
  orders: { class: 'system-of-record', account: 'account_id', durability: 'local' },
} as const;
const claims = { email: { table: 'accounts', column: 'email' } } as const;
/** The shop was there before. */
const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text, note text);
  CREATE TABLE orders (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;
const quick = (written: WrittenConfiguration): WrittenConfiguration => ({
  ...written,
  leases: { ...written.leases, ttl: '3s', renewEvery: '500ms', skew: '500ms' },
});

let pair: TestPair;
let alone: TestAgents | null = null;
let both: TestAgents | null = null;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, claims } });
  await runSql(
    pair.dc('ny').urls.owner,
    `INSERT INTO accounts SELECT 'a' || g, 'a' || g || '@shop' FROM generate_series(1, 500) g;
    INSERT INTO orders (account_id, note) SELECT 'a' || (g % 500 + 1), 'before' FROM generate_series(1, 2000) g`,
  );
}, 60_000);
afterAll(async () => {
  await both?.stop();
  await alone?.stop();
  await pair?.stop();
});

async function apply(here: string, change: (written: WrittenConfiguration) => WrittenConfiguration) {
  const dc = pair.dc(here);
  const configuration = pair.configure(here, change);
  const applied = await applyChanges(connectAs(dc, 'owner'), configuration);
  expect(applied).toMatchObject({ kind: 'applied', postponed: [] });
  return ensureStreams({ connect: connectAs(dc, 'agent'), configuration, env: dc.env });
}

test('a cluster of one sells, is joined by a second data center, and goes on', async () => {
  const [ny, la] = [pair.dc('ny'), pair.dc('la')];
  expect(await apply('ny', onlyThese(['ny']))).toMatchObject({ kind: 'ensured', ready: true, streams: [] });
  alone = await testAgents({ ...pair, names: ['ny'] }, { change: (written) => quick(onlyThese(['ny'])(written)) });
  const first = await alone.start('ny');
  await alone.untilReady('ny');
  await expect.poll(async () => (await alone?.status('ny'))?.problems).toEqual([]);
  await runSql(ny.urls.application, "UPDATE accounts SET note = 'alone' WHERE id = 'a1'");
  const left = await alone.command('ny', 'leave', 'ny', '--yes');
  expect(left).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('ny is the only data center') });

  // The second one is configured: nothing is red, and writing goes on.
  expect(await apply('ny', (written) => written)).toMatchObject({
    ready: true,
    streams: [{ publisher: 'la', kind: 'absent' }, { kind: 'absent' }],
  });
  await first.close();
  both = await testAgents(pair, { change: quick });
  await both.start('ny');
  await expect
    .poll(async () => (await both?.status('ny').catch(() => null))?.lease.kind, { timeout: 20_000, interval: 100 })
    .toBe('held');
  await expect.poll(async () => (await both?.status('ny'))?.problems).toEqual([]);
  const status = await both.command('la', 'status');
  expect(status).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('not joined yet') });

  const examined = JSON.parse((await both.command('ny', 'doctor', '--json')).stdout);
  const ofLa = examined.findings.filter(({ dataCenter }: { dataCenter: string }) => dataCenter === 'la');
  expect(ofLa).toContainEqual(expect.objectContaining({ code: 'not-joined', severity: 'advice' }));
  expect(ofLa.filter(({ severity }: { severity: string }) => severity !== 'advice')).toEqual([]);

  let on = true;
  const writing = (async () => {
    let n = 0;
    for (; on; n += 1)
      await runSql(ny.urls.application, `INSERT INTO orders (account_id, note) VALUES ('a${(n % 500) + 1}', 'during')`);
    return n;
  })();
  const joined = await both.command('la', 'join', 'la', '--from', 'ny', '--yes');
  on = false;
  expect(await writing).toBeGreaterThan(0);
  expect(joined, joined.stdout + joined.stderr).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('(generation 1)'),
  });
  expect(joined.stdout).not.toContain('stood still');
  const uncounted = "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public' AND last_analyze IS NULL";
  expect(await runSql(la.urls.superuser, uncounted)).toEqual([]);
  await both.start('la');
  await both.untilReady('ny', 'la');
  await runSql(
    la.urls.application,
    "INSERT INTO accounts (id) VALUES ('b1'); INSERT INTO orders (account_id) VALUES ('b1')",
  );
  await expect(runSql(la.urls.application, "UPDATE accounts SET note = 'x' WHERE id = 'a1'")).rejects.toMatchObject({
    code: 'LK001',
  });
  expect(await both.move('la', 'a1')).toMatchObject({ kind: 'moved' });
  const options = { configuration: ny.configuration, here: 'ny', there: 'la', connect: connectTo(pair) };
  expect(await verifyTables(options)).toMatchObject({ kind: 'verified', clean: true });
  const [row] = await runSql<{ n: number }>(
    la.urls.agent,
    "SELECT count(*)::int AS n FROM lanekeeper.claim WHERE name = 'email'",
  );
  expect(row).toEqual({ n: 500 });
}, 120_000);
