/** Copies as of a moment: what is in them, what is waited for, and what they say of themselves, in both data centers. */

import { createLanekeeper } from 'lanekeeper';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair, lease } from '../support/applied.ts';
import { runSql, testRoleNames } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY);
  CREATE TABLE bookings (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, cents int NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT now());
  CREATE TABLE balances (account_id text PRIMARY KEY, cents bigint NOT NULL);
  CREATE TABLE "Last Booking" (account_id text, "What" json, amount numeric, PRIMARY KEY (account_id));
  CREATE TABLE tallies (what text PRIMARY KEY, n bigint);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;
const daily = { every: '24h', at: '00:00' };
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  bookings: { class: 'system-of-record', account: 'account_id' },
  balances: {
    class: 'system-of-reference',
    feeder: 'ny',
    copy: {
      ...daily,
      query: 'SELECT account_id, sum(cents) AS cents FROM bookings WHERE booked_at < $1 GROUP BY account_id;',
    },
  },
  'public.Last Booking': {
    class: 'system-of-reference',
    feeder: 'ny',
    copy: {
      ...daily,
      query: `SELECT json_build_object('id', id) AS "What", cents / 100.0 AS amount, account_id FROM bookings b
        WHERE NOT EXISTS (SELECT FROM bookings o WHERE o.account_id = b.account_id AND o.id > b.id) -- the last`,
    },
  },
  tallies: {
    class: 'system-of-reference',
    feeder: 'ny',
    copy: { every: '2s', query: "SELECT 'bookings' AS what, count(*) AS n FROM bookings WHERE booked_at < $1" },
  },
} as const;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
let agents: TestAgents;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
  agents = await testAgents(pair);
  for (const dc of [ny, la]) await runSql(dc.urls.application, 'INSERT INTO accounts VALUES ($1)', [dc.name]);
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const book = (dc: TestDataCenter, cents: number) =>
  runSql(dc.urls.application, 'INSERT INTO bookings (account_id, cents) VALUES ($1, $2)', [dc.name, cents]);
const balances = async (dc: TestDataCenter): Promise<Record<string, number>> => {
  const rows = await runSql<{ account_id: string; cents: string }>(dc.urls.application, 'SELECT * FROM balances');
  return Object.fromEntries(rows.map(({ account_id, cents }) => [account_id, Number(cents)]));
};
const refresh = async (...argv: string[]) => {
  const { exitCode, stdout, stderr } = await agents.command('ny', 'copies', 'refresh', ...argv, '--json');
  return { exitCode, stderr, result: stdout === '' ? null : JSON.parse(stdout) };
};
async function clock(dc: TestDataCenter): Promise<Date> {
  return (await runSql<{ at: Date }>(dc.urls.owner, 'SELECT clock_timestamp() AS at'))[0]?.at as Date;
}

test('everything written before the moment, wherever, and nothing written after it', async () => {
  await book(ny, 100);
  await book(la, 1000);
  const moment = await clock(la);
  await book(la, 5);
  const made = await refresh('balances', '--as-of', moment.toISOString());
  expect(made).toMatchObject({
    exitCode: 0,
    result: { kind: 'made', state: { asOf: moment.toISOString(), rows: 2, changed: 2, complete: true, missing: {} } },
  });
  expect(await balances(ny)).toEqual({ ny: 100, la: 1000 });
  // What it says of itself arrives with its rows.
  await eventually(agents, 'the copy in la', async () => {
    const [said] = await runSql<{ at: Date }>(la.urls.application, "SELECT lanekeeper.copy_as_of('balances') AS at");
    expect(said?.at).toEqual(moment);
    expect(await balances(la)).toEqual({ ny: 100, la: 1000 });
  });
});

test('only rows that differ are written, whatever their types, and rows that are no more go', async () => {
  const versions = () => runSql(ny.urls.owner, 'SELECT account_id, xmin FROM "Last Booking" ORDER BY 1');
  expect((await refresh('public.Last Booking')).result).toMatchObject({ state: { rows: 2, changed: 2 } });
  const before = await versions();
  expect((await refresh('public.Last Booking')).result).toMatchObject({ state: { rows: 2, changed: 0 } });
  await book(ny, 50);
  expect((await refresh('public.Last Booking')).result).toMatchObject({ state: { rows: 2, changed: 1 } });
  const after = await versions();
  expect(after[0]).toEqual(before[0]);
  expect(after[1]).not.toEqual(before[1]);
  expect(
    await runSql(
      ny.urls.owner,
      `SELECT "What" ->> 'id' <> '' AS ok, amount::text FROM "Last Booking" WHERE account_id = 'ny'`,
    ),
  ).toEqual([{ ok: true, amount: '0.50000000000000000000' }]);
  // As of before there was anything.
  expect((await refresh('balances', '--as-of', '2020-01-01T00:00:00Z')).result).toMatchObject({
    state: { rows: 0, changed: 2 },
  });
  expect(await balances(ny)).toEqual({});
});

test('a data center whose writes have not arrived: not made, or made and said to be incomplete', async () => {
  await refresh('balances');
  const before = await balances(ny);
  await runSql(ny.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_la_homed DISABLE');
  await book(la, 7);
  const refused = await refresh('balances', '--wait', '500ms');
  expect(refused).toMatchObject({
    exitCode: 1,
    result: { kind: 'incomplete', missing: { la: expect.stringContaining('homed stream has not arrived up to') } },
  });
  expect(await balances(ny)).toEqual(before);
  expect((await refresh('balances', '--wait', '500ms', '--incomplete')).result).toMatchObject({
    state: { complete: false, missing: { la: expect.any(String) } },
  });
  expect((await agents.command('la', 'copies', 'list')).exitCode).toBe(0);
  await eventually(agents, 'said in la as well', async () =>
    expect(await runSql(la.urls.application, "SELECT complete FROM lanekeeper.copy_state('balances')")).toEqual([
      { complete: false },
    ]),
  );
  await runSql(ny.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_la_homed ENABLE');
  expect((await refresh('balances')).result).toMatchObject({ state: { complete: true, missing: {} } });
  expect((await balances(ny)).la).toBe((before.la ?? 0) + 7);
});

test('a transaction that began before the moment is waited for, in whichever data center', async () => {
  for (const dc of [la, ny]) {
    const before = (await balances(ny))[dc.name] ?? 0;
    const writer = new Client({ connectionString: dc.urls.application });
    await writer.connect();
    try {
      await writer.query(`BEGIN; INSERT INTO bookings (account_id, cents) VALUES ('${dc.name}', 10)`);
      const moment = (await clock(dc)).toISOString();
      expect((await refresh('balances', '--as-of', moment, '--wait', '300ms')).result).toMatchObject({
        kind: 'incomplete',
        missing: { [dc.name]: expect.stringContaining('1 transaction that began before the moment is still open') },
      });
      const waiting = refresh('balances', '--as-of', moment);
      await writer.query('COMMIT');
      expect((await waiting).result).toMatchObject({ kind: 'made', state: { complete: true } });
      // Its row says that it was booked before the moment.
      expect((await balances(ny))[dc.name]).toBe(before + 10);
    } finally {
      await writer.end();
    }
  }
});

test('nobody else writes a copy, and what cannot be made leaves it as it was', async () => {
  await refresh('balances');
  const before = await balances(ny);
  const refused = { code: 'LK007', hint: expect.stringContaining('lanekeeper copies refresh public.balances') };
  await expect(runSql(ny.urls.owner, 'DELETE FROM balances')).rejects.toMatchObject(refused);
  await expect(runSql(la.urls.owner, 'DELETE FROM balances')).rejects.toMatchObject({ code: 'LK007' });

  await runSql(ny.urls.owner, 'ALTER TABLE balances ADD CHECK (cents < 1000000)');
  await book(ny, 2_000_000);
  const failed = await refresh('balances');
  expect(failed).toMatchObject({ exitCode: 1, result: { kind: 'failed', error: { code: '23514' } } });
  await runSql(ny.urls.application, "DELETE FROM bookings WHERE cents = 2000000 AND account_id = 'ny'");
  expect(await refresh('balances', '--timeout', '1ms')).toMatchObject({ result: { error: { code: '57014' } } });
  expect(await balances(ny)).toEqual(before);

  expect(await agents.command('la', 'copies', 'refresh', 'balances')).toMatchObject({ exitCode: 2 });
  expect(await agents.command('ny', 'copies', 'refresh', 'accounts')).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining('public.balances'),
  });
  expect(await refresh('balances', '--as-of', '2090-01-01T00:00:00Z')).toMatchObject({ exitCode: 2 });
  expect(await refresh('balances', '--as-of', '2026-01-01')).toMatchObject({ exitCode: 2 });
});

test('the agent makes them when they are due, without whoever is away, and anew when he is back', async () => {
  await agents.start('ny');
  await agents.start('la');
  await agents.untilReady('ny', 'la');
  const env = { ...la.env, DATABASE_URL: la.urls.application, LANEKEEPER_CONTROL_URL: la.urls.application };
  const lanekeeper = await createLanekeeper({ config: agents.configuration('la'), env });
  try {
    const asOf = async () => {
      const state = await lanekeeper.asOf('tallies');
      if (state === null) throw new Error('not made yet');
      return state;
    };
    const first = await eventually(agents, 'the first', asOf);
    expect(first.asOf.getTime() % 2000).toBe(0);
    await book(la, 1);
    const written = await clock(la);
    await eventually(agents, 'a later one', async () => {
      const later = await asOf();
      expect(later.asOf.getTime()).toBeGreaterThan(written.getTime());
      expect(later).toMatchObject({ complete: true, missing: [] });
    });
    const [{ n: counted } = { n: -1 }] = await runSql<{ n: string }>(la.urls.owner, 'SELECT n FROM tallies');
    const [{ n: there } = { n: 0 }] = await runSql<{ n: string }>(la.urls.owner, 'SELECT count(*) AS n FROM bookings');
    expect(counted).toBe(there);
    // Daily ones are made as well: as of the last midnight, in which there was nothing.
    await eventually(agents, 'the daily one', async () => {
      const daily = await lanekeeper.asOf('public.Last Booking');
      expect(daily?.complete).toBe(true);
    });
    await expect
      .poll(async () => (await agents.status('la')).copies.map(({ table }) => table))
      .toEqual(['public.Last Booking', 'public.balances', 'public.tallies']);

    // Somebody who cannot be asked is as good as away.
    await runSql(la.urls.superuser, `ALTER ROLE ${testRoleNames.agent} NOLOGIN`);
    await eventually(agents, 'one without la', async () =>
      expect(await asOf()).toMatchObject({ complete: false, missing: ['la'] }),
    );
    await expect.poll(async () => (await agents.status('ny')).problems.join()).toContain('the copy public.tallies');
    await runSql(la.urls.superuser, `ALTER ROLE ${testRoleNames.agent} LOGIN`);
    await eventually(agents, 'a complete one', async () => expect(await asOf()).toMatchObject({ complete: true }));
  } finally {
    await lanekeeper.close();
  }
}, 60_000);
