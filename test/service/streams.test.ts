/** Publications, slots and subscriptions between two real clusters, as the roles they run as. */
import {
  applyChanges,
  ensureStreams,
  judgeStreams,
  readProof,
  readStreams,
  type StreamsReport,
} from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyPair, connectAs, lease, publish } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';
import { postgresMajor } from '../support/version.ts';

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text);
  CREATE TABLE orders (id bigserial PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text);
  CREATE TABLE products (sku text PRIMARY KEY, name text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  products: { class: 'read-only', feeder: 'ny' },
} as const;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
const wait = { timeout: 15_000, interval: 50 };

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
});
afterAll(() => pair?.stop());

async function report(dc: TestDataCenter): Promise<StreamsReport> {
  const client = new Client({ connectionString: dc.urls.agent });
  await client.connect();
  try {
    return await readStreams(client, dc.configuration);
  } finally {
    await client.end();
  }
}

const ensure = (dc: TestDataCenter, env: Readonly<Record<string, string>> = dc.env) =>
  ensureStreams({ connect: connectAs(dc, 'agent'), configuration: dc.configuration, env });

async function codes(): Promise<string[]> {
  const [here, there] = [await report(ny), await report(la)];
  const options = { lagBytesMax: 1_000_000 };
  return [...judgeStreams(here, there, options), ...judgeStreams(there, here, options)].map((problem) => problem.code);
}

async function notes(dc: TestDataCenter): Promise<string[]> {
  const rows = await runSql<{ note: string }>(dc.urls.owner, 'SELECT note FROM orders ORDER BY note COLLATE "C"');
  return rows.map((row) => row.note);
}

test('what is written in either data center arrives in the other, deeds and feeder tables too, and nothing is wrong', async () => {
  await runSql(
    ny.urls.application,
    "INSERT INTO accounts VALUES ('a'); INSERT INTO orders (account_id, note) VALUES ('a', 'n1')",
  );
  await runSql(
    la.urls.application,
    "INSERT INTO accounts VALUES ('b'); INSERT INTO orders (account_id, note) VALUES ('b', 'l1')",
  );
  await publish(ny, "INSERT INTO products VALUES ('p', 'pen')");
  await expect(runSql(la.urls.application, "INSERT INTO products VALUES ('q', 'quill')")).rejects.toMatchObject({
    code: 'LK007',
  });
  for (const dc of [ny, la]) {
    await expect.poll(() => notes(dc), wait).toEqual(['l1', 'n1']);
    await expect.poll(() => runSql(dc.urls.owner, 'SELECT sku FROM products'), wait).toEqual([{ sku: 'p' }]);
    expect(
      await runSql(dc.urls.owner, "SELECT account, home FROM lanekeeper.deed WHERE account IN ('a', 'b') ORDER BY 1"),
    ).toEqual([
      { account: 'a', home: 'ny' },
      { account: 'b', home: 'la' },
    ]);
  }
  await expect.poll(codes, wait).toEqual([]);
});

test('both data centers draw different numbers', async () => {
  const rows = await runSql<{ id: string }>(ny.urls.owner, 'SELECT id FROM orders ORDER BY note');
  expect(rows.map((row) => Number(row.id) % 8)).toEqual([2, 1]);
});

test('ensuring again changes nothing; a changed option is set back; a changed table list is taken over', async () => {
  const unchanged = await ensure(la);
  expect(unchanged).toMatchObject({ ready: true, streams: [{ kind: 'unchanged' }, { kind: 'unchanged' }] });
  await runSql(
    la.urls.agent,
    'ALTER SUBSCRIPTION lanekeeper_ny_homed SET (synchronous_commit = off); ALTER SUBSCRIPTION lanekeeper_ny_rest DISABLE',
  );
  expect(await codes()).toContain('disabled');
  expect(await ensure(la)).toMatchObject({
    streams: [{ kind: 'changed' }, { kind: 'changed', message: 'enabled it' }],
  });
  await expect.poll(codes, wait).toEqual([]);
});

if (postgresMajor >= 17) {
  test('a slot that standbys would not keep becomes one that they keep, and the stream goes on', async () => {
    const failover = async () =>
      (
        await runSql<{ failover: boolean }>(
          ny.urls.agent,
          "SELECT failover FROM pg_replication_slots WHERE slot_name LIKE 'lanekeeper_la_%' ORDER BY slot_name",
        )
      ).map((row) => row.failover);
    expect(await failover()).toEqual([true, true]);
    // As an earlier version made them.
    await runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_homed DISABLE');
    await expect
      .poll(
        () =>
          runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_homed SET (failover = false)').then(
            () => 'set',
            String,
          ),
        wait,
      )
      .toBe('set');
    await runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_homed ENABLE');
    expect(await failover()).toEqual([false, true]);
    expect(await ensure(la)).toMatchObject({
      ready: true,
      streams: [{ kind: 'changed', message: 'made its slot a failover slot' }, { kind: 'unchanged' }],
    });
    expect(await failover()).toEqual([true, true]);
    await runSql(ny.urls.application, "INSERT INTO orders (account_id, note) VALUES ('a', 'n2')");
    await expect.poll(() => notes(la), wait).toContain('n2');
    await runSql(ny.urls.application, "DELETE FROM orders WHERE note = 'n2'");
    await expect.poll(() => notes(la), wait).not.toContain('n2');
    await expect.poll(codes, wait).toEqual([]);
  });
}

test('two that subscribe at the same moment do not hinder each other, and a half-made stream is finished', async () => {
  await runSql(la.urls.agent, 'DROP SUBSCRIPTION lanekeeper_ny_rest');
  // What a process that died between the two leaves: the slot alone.
  await runSql(ny.urls.replication, "SELECT pg_create_logical_replication_slot('lanekeeper_la_rest', 'pgoutput')");
  await runSql(ny.urls.agent, 'DROP SUBSCRIPTION lanekeeper_la_rest');
  await publish(ny, "INSERT INTO products VALUES ('r', 'rubber')");
  const results = await Promise.all([ensure(ny), ensure(la), ensure(ny), ensure(la)]);
  for (const result of results) expect(result).toMatchObject({ kind: 'ensured', ready: true });
  await expect
    .poll(() => runSql(la.urls.owner, 'SELECT sku FROM products ORDER BY 1'), wait)
    .toEqual([{ sku: 'p' }, { sku: 'r' }]);
  await expect.poll(codes, wait).toEqual([]);
});

test('a lock that keeps rows from being applied is seen, and so is how much a slot may still keep', async () => {
  const holder = new Client({ connectionString: la.urls.superuser });
  await holder.connect();
  const seen = async () => {
    const { incoming } = await report(la);
    return incoming.find(({ stream }) => stream === 'homed')?.blockedMs ?? null;
  };
  try {
    await holder.query('BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE');
    await runSql(ny.urls.application, "INSERT INTO orders (account_id, note) VALUES ('a', 'behind a lock')");
    await expect.poll(seen, wait).toBeGreaterThan(0);
    await holder.query('ROLLBACK');
    await expect.poll(seen, wait).toBeNull();
    await runSql(ny.urls.owner, "DELETE FROM orders WHERE note = 'behind a lock'");
  } finally {
    await holder.end();
  }
  const spare = async () => (await report(ny)).outgoing.map(({ spareBytes }) => spareBytes);
  expect(await spare()).toEqual([null, null]);
  await runSql(ny.urls.superuser, "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'");
  try {
    await runSql(ny.urls.superuser, 'SELECT pg_reload_conf()');
    await expect.poll(async () => (await spare()).every((bytes) => (bytes ?? 0) > 500_000_000), wait).toBe(true);
    expect(await codes()).not.toContain('slot-at-risk');
  } finally {
    await runSql(ny.urls.superuser, 'ALTER SYSTEM RESET max_slot_wal_keep_size');
    await runSql(ny.urls.superuser, 'SELECT pg_reload_conf()');
  }
});

test('a slot that is gone is said and not made anew', async () => {
  await runSql(la.urls.agent, 'ALTER SUBSCRIPTION lanekeeper_ny_rest DISABLE');
  await expect
    .poll(
      () =>
        runSql(ny.urls.replication, "SELECT pg_drop_replication_slot('lanekeeper_la_rest')").then(
          () => true,
          () => false,
        ),
      wait,
    )
    .toBe(true);
  const result = await ensure(la);
  expect(result).toMatchObject({ ready: false, streams: [{ kind: 'unchanged' }, { kind: 'lost' }] });
  expect(await codes()).toContain('no-slot');
  // la has read ny before, so its slot that is gone does not stop ny; a data center that has not yet, does, once it takes part.
  const client = new Client({ connectionString: ny.urls.agent });
  await client.connect();
  expect((await readProof(client, { la: [], fra: [] }, false)).fenceProblems).toEqual([]);
  await client.query("INSERT INTO lanekeeper.member (dc) VALUES ('fra')");
  const { fenceProblems } = await readProof(client, { la: [], fra: [] }, false);
  await client.query("DELETE FROM lanekeeper.member WHERE dc = 'fra'");
  await client.end();
  expect(fenceProblems.map(({ trigger, problem }) => `${trigger} ${problem}`).sort()).toEqual([
    'lanekeeper_fra_homed missing',
    'lanekeeper_fra_rest missing',
  ]);
  await runSql(
    la.urls.agent,
    'ALTER SUBSCRIPTION lanekeeper_ny_rest SET (slot_name = NONE); DROP SUBSCRIPTION lanekeeper_ny_rest',
  );
  expect(await ensure(la)).toMatchObject({ ready: true });
  await expect.poll(codes, wait).toEqual([]);
});

test('a wrong password and an unreachable peer are said without the password', async () => {
  const result = await ensure(la, { ...la.env, LANEKEEPER_REPLICATION_PASSWORD: 'se-cret' });
  expect(result).toMatchObject({ kind: 'ensured', ready: false, streams: [{ kind: 'waiting' }, { kind: 'waiting' }] });
  expect(JSON.stringify(result)).not.toContain('se-cret');
});

test('a table that joins running streams is closed until every data center reads it, and no row of it is lost', async () => {
  const add = (dc: TestDataCenter) =>
    pair.configure(dc.name, (written) => ({
      ...written,
      tables: { ...written.tables, reviews: { class: 'system-of-record', account: 'account_id' } },
    }));
  for (const dc of [ny, la]) {
    await runSql(
      dc.urls.owner,
      `CREATE TABLE reviews (id bigserial PRIMARY KEY, account_id text NOT NULL);
      GRANT SELECT, INSERT, UPDATE, DELETE ON reviews TO lanekeeper_application;
      GRANT USAGE ON SEQUENCE reviews_id_seq TO lanekeeper_application`,
    );
  }
  const apply = async (dc: TestDataCenter) => {
    const result = await applyChanges(connectAs(dc, 'owner'), add(dc));
    if (result.kind !== 'applied') throw new Error(result.kind);
    await ensureStreams({ connect: connectAs(dc, 'agent'), configuration: add(dc), env: dc.env });
    return result.plan.closed;
  };
  const review = (dc: TestDataCenter, account: string) =>
    runSql(dc.urls.application, 'INSERT INTO reviews (account_id) VALUES ($1)', [account]).then(
      () => 'written',
      (error: { code: string }) => error.code,
    );
  expect(await apply(ny)).toEqual(['public.reviews']);
  expect(await review(ny, 'a')).toBe('LK003');
  expect(await apply(la)).toEqual(['public.reviews']);
  // la reads it now, and has said so in the stream; ny does not read la's yet.
  await expect.poll(() => review(ny, 'a'), wait).toBe('written');
  expect(await review(la, 'b')).toBe('LK003');
  expect(await apply(ny)).toEqual([]);
  await expect.poll(() => review(la, 'b'), wait).toBe('written');
  expect(await apply(la)).toEqual([]);
  for (const dc of [ny, la]) {
    const triggers = await runSql(dc.urls.owner, "SELECT FROM pg_trigger WHERE tgname = 'lanekeeper_closed'");
    expect(triggers).toHaveLength(0);
    const accounts = 'SELECT array_agg(DISTINCT account_id ORDER BY account_id) AS a FROM reviews';
    await expect.poll(() => runSql(dc.urls.owner, accounts), wait).toEqual([{ a: ['a', 'b'] }]);
  }
});

test('a table missing from the subscription, or of another shape, is found', async () => {
  await runSql(
    ny.urls.owner,
    'CREATE TABLE extra (id int PRIMARY KEY); ALTER PUBLICATION lanekeeper_rest ADD TABLE extra',
  );
  await runSql(la.urls.owner, 'ALTER TABLE orders ADD COLUMN later text');
  const found = await codes();
  expect(found).toContain('table-not-subscribed');
  expect(found).toContain('schema-differs');
  expect(found).toContain('undeclared-table');
  expect(found).not.toContain('unfenced-table');
  await runSql(la.urls.owner, 'ALTER TABLE orders DISABLE TRIGGER lanekeeper_fence_insert');
  expect(await codes()).toContain('unfenced-table');
});
