/**
 * What `ny` committed beyond the cut at which `la` took it over: into the ledger, undone, sent again, and decided about. On
 * two real clusters, step by step as a rejoin does it, with `la` writing meanwhile.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  discardStranded,
  listStranded,
  mergeAutomatically,
  mergeStranded,
  purgeStranded,
  readStranded,
  resendStranded,
  undoStranded,
  verifyTables,
} from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../packages/server/src/cli/main.ts';
import { applyPair, lease } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';
import { settled } from '../support/settled.ts';
import {
  applied,
  catchUp,
  connectTo,
  cutOff,
  strand,
  type Takeover,
  takeOver,
  undo,
  using,
} from '../support/taken-over.ts';

const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  items: { class: 'system-of-record', account: 'order_id.account_id' },
  carts: { class: 'system-of-record', account: 'account_id', stranded: 'merge' },
  'public.Odd "Names"': { class: 'system-of-record', account: 'account' },
  visits: { class: 'system-of-record', account: 'account_id' },
} as const;

const schema = `
  CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE, n int NOT NULL DEFAULT 0);
  CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, note text,
    amount numeric, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);
  CREATE TABLE items (order_id bigint REFERENCES orders ON DELETE CASCADE, line int, sku text, PRIMARY KEY (order_id, line));
  CREATE TABLE carts (account_id text PRIMARY KEY REFERENCES accounts, body text, counter int NOT NULL DEFAULT 0);
  CREATE TYPE mood AS ENUM ('ok', 'so so');
  CREATE TYPE pair AS (a int, b text);
  CREATE TABLE "Odd ""Names""" ("The Key" char(5), mood mood, account text NOT NULL, x double precision, js json, jb jsonb,
    by bytea, arr text[], at timestamptz, span interval, p pair, money money, "char" "char", pad bpchar,
    PRIMARY KEY ("The Key", mood));
  CREATE TABLE visits (account_id text, day date, hits int, PRIMARY KEY (account_id, day)) PARTITION BY RANGE (day);
  CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
  CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lanekeeper_application;
`;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
let takeover: Takeover;

beforeAll(async () => {
  pair = await testPair({
    schema,
    configuration: {
      tables,
      claims: { email: { table: 'accounts', column: 'email', normalise: 'lower', mode: 'buckets' } },
    },
  });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await runSql(
    la.urls.owner,
    `ALTER DATABASE ${la.database.name} SET DateStyle = 'German'; ALTER DATABASE ${la.database.name} SET IntervalStyle = 'sql_standard'`,
  );
  await applyPair(pair);
  await lease(ny, 600_000);
  await lease(la, 600_000);
  await runSql(
    ny.urls.application,
    `INSERT INTO accounts (id) SELECT 'n' || g FROM generate_series(1, 30) g;
    INSERT INTO carts SELECT 'n' || g, 'cart', 0 FROM generate_series(1, 30) g;
    INSERT INTO orders (account_id, note, amount) SELECT 'n' || g, 'before', g FROM generate_series(1, 30) g;
    INSERT INTO items SELECT id, line, 'sku' FROM orders, generate_series(1, 3) line;
    INSERT INTO visits SELECT 'n' || g, '2025-12-31', 1 FROM generate_series(1, 5) g;
    INSERT INTO "Odd ""Names""" VALUES ('k1', 'so so', 'n1', '-0', '{"a": null}', 'null', '\\x00ff', '[0:1]={a,NULL}',
      '2026-02-03 04:05:06.789+00', '-1 day 02:03:04', ROW(NULL, NULL), '12.34', '\\200', 'x  ')`,
  );
  await runSql(
    ny.urls.owner,
    // A value out of line, and a table whose log shows the whole row.
    `UPDATE orders SET note = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 600) g) WHERE account_id = 'n7';
    ALTER TABLE items REPLICA IDENTITY FULL`,
  );
  await settled({ ny: ny.urls.superuser, la: la.urls.superuser });
}, 60_000);
afterAll(() => pair?.stop());

const equal = async () => {
  const result = await verifyTables({
    configuration: la.configuration,
    here: 'la',
    there: 'ny',
    connect: connectTo(pair),
  });
  if (result.kind !== 'verified') throw new Error(JSON.stringify(result));
  return result.tables.filter(({ kind }) => kind !== 'equal').concat(result.differences as never[]);
};

/** The name of the open transaction that touches this account's row of a table. */
async function nameOf(account: string, relation: string) {
  const all = await using(la.urls.agent, (client) => listStranded(client, { account, state: 'open' }));
  const found = all.find((one) => one.relations.includes(relation));
  if (!found) throw new Error(`no open transaction of ${account} in ${relation}: ${JSON.stringify(all)}`);
  return found;
}
async function lanekeeper(dc: string, ...argv: readonly string[]) {
  const said = { stdout: '', stderr: '' };
  const { cluster, env, written } = pair.dc(dc);
  const file = join(cluster.dir, 'lanekeeper.json');
  await writeFile(file, JSON.stringify(written));
  const exitCode = await run(argv, {
    env: { ...env, NO_COLOR: '1', LANEKEEPER_CONFIG: file },
    directory: cluster.dir,
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

const person = { by: 'tester', reason: 'because' };
const merge = async (account: string, relation: string) => {
  const name = await nameOf(account, relation);
  return using(la.urls.agent, (client) => mergeStranded(client, name, person));
};

test('what was committed beyond the cut is in the ledger, with its accounts and what the rows were', async () => {
  const cut = await cutOff(pair);
  const alone = [
    "INSERT INTO accounts (id) VALUES ('n100')",
    "INSERT INTO accounts (id) VALUES ('n101')",
    "BEGIN; INSERT INTO orders (account_id, note, amount) VALUES ('n1', 'stranded', 7); INSERT INTO items SELECT max(id), 1, 'new' FROM orders; SELECT lanekeeper.record_outcome('r1', 'n1', '{\"ok\": true}'); COMMIT",
    "UPDATE orders SET amount = 99 WHERE account_id = 'n7'",
    "UPDATE orders SET amount = 100 WHERE account_id = 'n7'",
    "DELETE FROM orders WHERE account_id = 'n8'",
    "UPDATE carts SET counter = counter + 1, body = 'mine' WHERE account_id = 'n2'",
    "UPDATE carts SET counter = counter + 1 WHERE account_id = 'n2'",
    "UPDATE carts SET body = 'lost race' WHERE account_id = 'n3'",
    "UPDATE carts SET body = 'adopted' WHERE account_id = 'n4'",
    "UPDATE carts SET body = 'kept' WHERE account_id = 'n5'; ",
    "UPDATE visits SET day = '2026-03-01' WHERE account_id = 'n1'",
    `UPDATE "Odd ""Names""" SET "The Key" = 'k2', x = 1e-300, span = '-2 days -01:00:00', pad = 'y ' WHERE account = 'n1'`,
    "INSERT INTO orders (account_id, note) VALUES ('n9', 'gone at once'); DELETE FROM orders WHERE account_id = 'n9'",
    "BEGIN; SELECT lanekeeper.record_outcome('r2', 'n10', '1'); UPDATE orders SET note = 'paid' WHERE account_id = 'n10'; COMMIT",
    "UPDATE accounts SET n = n + 1 WHERE id IN ('n11', 'n12')",
  ];
  for (const sql of alone) await runSql(ny.urls.application, sql);
  // An account that was on its way to la, and one claimed value.
  await runSql(ny.urls.agent, "SELECT lanekeeper.give('n20', 'la', 1, 0)");
  const claimable = (from: number, to: number) =>
    `FROM generate_series(${from}, ${to}) b WHERE (SELECT home FROM lanekeeper.claim_holder('email', b || '@x')) = 'ny'`;
  await runSql(ny.urls.agent, `SELECT lanekeeper.claim_value('email', b || '@x', 'n30') ${claimable(1, 40)}`);
  const [free] = await runSql<{ value: string }>(
    ny.urls.agent,
    `SELECT b || '@x' AS value ${claimable(41, 80)} LIMIT 1`,
  );
  await runSql(ny.urls.agent, "SELECT lanekeeper.claim_value('email', $1, 'n29')", [free?.value]);
  await runSql(ny.urls.application, "UPDATE accounts SET email = $1 WHERE id = 'n29'", [free?.value]);
  takeover = await takeOver(pair, cut);
  // la goes on.
  for (const sql of [
    "UPDATE carts SET body = 'la was here' WHERE account_id = 'n3'",
    "UPDATE accounts SET n = 50 WHERE id = 'n4'",
    "INSERT INTO accounts (id) VALUES ('n100')",
    "BEGIN; SELECT lanekeeper.record_outcome('r2', 'n10', '2'); UPDATE orders SET note = 'paid in la' WHERE account_id = 'n10'; COMMIT",
    "UPDATE orders SET note = 'la' WHERE account_id = 'n13'",
  ])
    await runSql(la.urls.application, sql);
  await runSql(la.urls.agent, `SELECT lanekeeper.claim_value('email', b || '@x', 'n28') FROM generate_series(1, 40) b`);

  const recorded = await strand(pair, takeover);
  expect(recorded).toBeGreaterThan(25);
  expect(await strand(pair, takeover)).toBe(0);

  const entries = await runSql<Record<string, unknown>>(
    la.urls.agent,
    `SELECT account, relation, kind, base_from, unchanged, unresolved, state FROM lanekeeper.stranded ORDER BY end_lsn, sequence`,
  );
  expect(
    entries.filter(({ account, relation }) => account === null && !String(relation).startsWith('lanekeeper.')),
  ).toEqual([]);
  // A row's base comes from la where nobody has written it, from the change before, or from the log.
  const found = (relation: string, account: string) =>
    entries.filter((e) => e.relation === relation && e.account === account);
  expect(found('public.orders', 'n7')).toMatchObject([
    { kind: 'update', base_from: 'home', unchanged: [] },
    { kind: 'update', base_from: 'chain', unchanged: [] },
  ]);
  expect(found('public.orders', 'n8')).toMatchObject([{ kind: 'delete', base_from: 'home' }]);
  expect(found('public.items', 'n8')).toMatchObject(Array(3).fill({ kind: 'delete', base_from: 'stream' }));
  expect(found('public.carts', 'n3')).toMatchObject([{ base_from: null }]);
  expect(found('lanekeeper.deed', 'n20')).toMatchObject([{ kind: 'update', state: 'discarded' }]);
  const [one] = await using(la.urls.agent, (client) => listStranded(client, { account: 'n12' }));
  expect(one).toMatchObject({
    accounts: ['n11', 'n12'],
    relations: ['public.accounts'],
    open: 2,
    dataCenter: 'ny',
    generation: 1,
  });
});

test('undone, caught up and sent again, both are equal while la goes on writing', async () => {
  let stop = false;
  const writers = [1, 2].map((w) =>
    using(la.urls.application, async (client) => {
      for (let i = 0; !stop; i += 1) {
        await client.query("UPDATE carts SET counter = counter + 1 WHERE account_id = 'n3'");
        await client.query("UPDATE orders SET note = $1 WHERE account_id = 'n7'", [`w${w} ${i}`]);
        await client.query(
          `INSERT INTO visits VALUES ('n1', '2026-03-01', $1) ON CONFLICT (account_id, day) DO UPDATE SET hits = excluded.hits`,
          [i],
        );
        await client.query("DELETE FROM visits WHERE account_id = 'n1' AND day = '2026-03-01'");
      }
    }),
  );
  try {
    const first = await undo(pair, takeover);
    expect(first.rows).toBeGreaterThan(15);
    expect((await undo(pair, takeover)).rows).toBe(0);
    await catchUp(pair, takeover);
    const reports = [];
    for (let round = 0; round < 3; round += 1) {
      const report = await using(la.urls.agent, (client) =>
        resendStranded([{ dataCenter: 'la', client }], [takeover.origin]),
      );
      expect(report.problems).toEqual([]);
      expect(report.sent).toBeGreaterThan(10);
      expect(report.absent).toBeGreaterThan(3);
      reports.push(report);
    }
    await applied(la, 'ny', reports.at(-1)?.upTo.la ?? '');
  } finally {
    stop = true;
    await Promise.all(writers);
  }
  expect(await equal()).toEqual([]);
  expect(await runSql(ny.urls.agent, 'SELECT kind, detail FROM lanekeeper.incident')).toEqual([]);
  // Nothing of the undoing came to la, and the ledger is in both.
  expect(await runSql(la.urls.agent, 'SELECT count(*)::int AS n FROM lanekeeper.repair')).toEqual([{ n: 0 }]);
  expect(await runSql(ny.urls.agent, 'SELECT count(*)::int AS n FROM lanekeeper.stranded')).toEqual(
    await runSql(la.urls.agent, 'SELECT count(*)::int AS n FROM lanekeeper.stranded'),
  );
  const [odd] = await runSql(
    la.urls.owner,
    `SELECT x::text, js::text, jb::text, arr::text, p::text, "The Key" AS k FROM "Odd ""Names"""`,
  );
  expect(odd).toEqual({ x: '-0', js: '{"a": null}', jb: 'null', arr: '[0:1]={a,NULL}', p: '(,)', k: 'k1   ' });
});

test('tables that declare it are merged by themselves, where nobody wrote the account since', async () => {
  const report = await using(la.urls.agent, (client) => mergeAutomatically(client, la.configuration, takeover.origin));
  expect(report.merged).toBe(3);
  expect(
    await runSql(
      la.urls.owner,
      "SELECT body, counter FROM carts WHERE account_id IN ('n2', 'n4', 'n5') ORDER BY account_id",
    ),
  ).toEqual([
    { body: 'mine', counter: 2 },
    { body: 'cart', counter: 0 },
    { body: 'kept', counter: 0 },
  ]);
  // Again: the merge itself is no reason against the merge, and nothing is left for it.
  expect(
    (await using(la.urls.agent, (client) => mergeAutomatically(client, la.configuration, takeover.origin))).merged,
  ).toBe(0);
  const [audit] = await using(la.urls.agent, (client) => listStranded(client, { account: 'n2' }));
  expect(audit).toMatchObject({ state: 'merged', open: 0, decidedBy: null, decidedAt: expect.any(Date) });
});

test('a person merges a whole transaction, or hears why not', async () => {
  expect(await merge('n1', 'public.orders')).toEqual({ kind: 'merged', changes: 3 });
  expect(
    await runSql(
      la.urls.owner,
      "SELECT note, amount, doubled, sku FROM orders JOIN items ON order_id = id WHERE account_id = 'n1' AND note = 'stranded'",
    ),
  ).toEqual([{ note: 'stranded', amount: '7', doubled: '14', sku: 'new' }]);
  expect(await runSql(la.urls.application, "SELECT account, result, dc FROM lanekeeper.outcome_of('r1')")).toEqual([
    { account: 'n1', result: { ok: true }, dc: 'ny' },
  ]);
  const name = (await using(la.urls.agent, (client) => listStranded(client, { account: 'n1', state: 'merged' })))[0];
  if (!name) throw new Error('not listed');
  expect(await using(la.urls.agent, (client) => mergeStranded(client, name, person))).toEqual({
    kind: 'decided',
    state: 'merged',
    by: 'tester',
  });

  expect(await merge('n100', 'public.accounts')).toMatchObject({ kind: 'refused', refusal: { code: 'birth' } });
  expect(await merge('n101', 'public.accounts')).toEqual({ kind: 'merged', changes: 2 });
  expect(await runSql(la.urls.agent, "SELECT home, term FROM lanekeeper.where_is('n101')")).toEqual([
    { home: 'la', term: '2' },
  ]);
  expect(await merge('n10', 'public.orders')).toMatchObject({ kind: 'refused', refusal: { code: 'request' } });
  expect(await merge('n3', 'public.carts')).toMatchObject({ kind: 'refused', refusal: { code: 'newer' } });
  // la wrote the order meanwhile: the first is refused, and the second waits for it.
  expect(await merge('n7', 'public.orders')).toMatchObject({
    kind: 'refused',
    refusal: { code: 'newer', message: expect.stringContaining('note') },
  });
  const [first, second] = await using(la.urls.agent, (client) =>
    listStranded(client, { account: 'n7', state: 'open' }),
  );
  if (!first || !second) throw new Error('not listed');
  expect(await using(la.urls.agent, (client) => mergeStranded(client, second, person))).toMatchObject({
    kind: 'refused',
    refusal: { code: 'earlier-open', message: expect.stringContaining(`ny/1/${first.endLsn}`) },
  });
  expect(await using(la.urls.agent, (client) => discardStranded(client, first, person))).toEqual({
    kind: 'discarded',
    changes: 1,
  });
  expect(await merge('n30', 'lanekeeper.claim')).toMatchObject({ kind: 'refused', refusal: { code: 'claim' } });
  // A registration is two transactions: the claim, and the row that shows it.
  expect(await merge('n29', 'public.accounts')).toMatchObject({ kind: 'refused', refusal: { code: 'claim' } });
  expect(await merge('n29', 'lanekeeper.claim')).toEqual({ kind: 'merged', changes: 1 });
  expect(await merge('n29', 'public.accounts')).toEqual({ kind: 'merged', changes: 1 });
  expect(await merge('n8', 'public.orders')).toEqual({ kind: 'merged', changes: 4 });
  expect(await merge('n1', 'public.Odd "Names"')).toEqual({ kind: 'merged', changes: 1 });
  expect(await merge('n1', 'public.visits')).toMatchObject({ kind: 'merged' });
  await lease(la, -1);
  expect(await merge('n12', 'public.accounts')).toMatchObject({ kind: 'refused', refusal: { code: 'no-lease' } });
  await lease(la, 600_000);
  // In the data center that is not the home: there.
  const both = await nameOf('n12', 'public.accounts');
  expect(await using(ny.urls.agent, (client) => mergeStranded(client, both, person))).toEqual({
    kind: 'elsewhere',
    home: 'la',
  });
  expect(await merge('n12', 'public.accounts')).toEqual({ kind: 'merged', changes: 2 });
  expect(await equal()).toEqual([]);
});

test('base, stranded and current stand side by side; what was decided is purged in time, the decision is not', async () => {
  const name = await nameOf('n3', 'public.carts');
  const [entry] = await using(la.urls.agent, (client) => readStranded(client, name));
  expect(entry).toMatchObject({ account: 'n3', kind: 'update', key: ['n3'], baseFrom: null, state: 'open' });
  expect(entry?.current?.[entry.currentColumns?.indexOf('body') ?? 0]).toBe('la was here');
  expect(await using(la.urls.agent, (client) => purgeStranded(client, 30 * 86_400_000))).toBe(0);
  const purged = await using(la.urls.agent, (client) => purgeStranded(client, 0));
  expect(purged).toBeGreaterThan(10);
  const rows = await runSql(
    la.urls.agent,
    "SELECT DISTINCT key, base, image, reason, decided_by FROM lanekeeper.stranded WHERE state = 'merged' AND account = 'n8'",
  );
  expect(rows).toEqual([{ key: [], base: null, image: null, reason: 'because', decided_by: 'tester' }]);
  expect((await using(la.urls.agent, (client) => readStranded(client, name)))[0]?.image).not.toBeNull();
});

test('the same as a person types it, in either data center', async () => {
  const list = await lanekeeper('ny', 'stranded', 'list', '--account', 'n3');
  expect([list.exitCode, list.stderr]).toEqual([0, '']);
  expect(list.stdout).toMatch(
    /^ny\/1\/0\/[0-9A-F]+ {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}n3 {2}1 change of public.carts {2}open\n$/,
  );
  const name = list.stdout.split(' ', 1)[0] as string;
  const show = await lanekeeper('ny', 'stranded', 'show', name);
  expect(show.stdout).toContain('update public.carts (account_id = n3)');
  expect(show.stdout).toMatch(/body +\? +lost race +la was here/);
  expect(JSON.parse((await lanekeeper('la', 'stranded', 'show', name, '--json')).stdout)).toMatchObject({
    name,
    entries: [{ relation: 'public.carts', state: 'open' }],
  });
  // Asked in ny, decided in la.
  const merged = await lanekeeper('ny', 'stranded', 'merge', '--account', 'n3');
  expect([merged.exitCode, merged.stdout]).toEqual([1, expect.stringContaining('not merged (newer)')]);
  expect((await lanekeeper('ny', 'stranded', 'discard', name)).exitCode).toBe(2);
  expect((await lanekeeper('ny', 'stranded', 'merge')).exitCode).toBe(2);
  expect((await lanekeeper('ny', 'stranded', 'show', 'nonsense')).exitCode).toBe(2);
  const discarded = await lanekeeper('ny', 'stranded', 'discard', name, '--reason', 'the race was lost', '--by', 'ops');
  expect([discarded.exitCode, discarded.stdout]).toEqual([0, `✓ ${name}: discarded, 1 change\n`]);
  const again = JSON.parse((await lanekeeper('la', 'stranded', 'discard', name, '--reason', 'again', '--json')).stdout);
  expect(again).toMatchObject({ results: [{ name, kind: 'decided', state: 'discarded', by: 'ops' }] });
  await expect
    .poll(async () => (await lanekeeper('ny', 'stranded', 'list', '--account', 'n3', '--state', 'all')).stdout)
    .toContain('by ops');
  expect((await lanekeeper('la', 'stranded', 'merge', '--all')).stdout).toMatch(/\d+ of \d+ transactions/);
});

test('rows are undone as replica only, and a missing right is a refusal', async () => {
  await expect(runSql(ny.urls.agent, "SELECT lanekeeper.undo_rows('[]')")).rejects.toMatchObject({ code: '55000' });
  await runSql(ny.urls.superuser, 'REVOKE SET ON PARAMETER session_replication_role FROM lanekeeper_agent');
  const result = await using(ny.urls.agent, (client) =>
    using(la.urls.agent, (home) => undoStranded({ client, home, origin: takeover.origin })),
  );
  expect(result).toMatchObject({ kind: 'refused', error: { code: '42501' } });
});

test('with a single home for everything the one deed stands for every row', async () => {
  const single = await testPair({
    schema: `CREATE TABLE things (id int PRIMARY KEY, note text);
      GRANT SELECT, INSERT, UPDATE, DELETE ON things TO lanekeeper_application`,
    configuration: { approach: 'active-passive', tables: { things: { class: 'system-of-record', stranded: 'merge' } } },
  });
  try {
    const [from, to] = [single.dc('ny'), single.dc('la')];
    await applyPair(single);
    await lease(from, 600_000);
    await runSql(from.urls.application, "INSERT INTO things SELECT g, 'before' FROM generate_series(1, 5) g");
    await settled({ ny: from.urls.superuser, la: to.urls.superuser });
    const cut = await cutOff(single);
    await runSql(from.urls.application, "UPDATE things SET note = 'stranded' WHERE id = 1");
    await runSql(from.urls.application, "INSERT INTO things VALUES (6, 'stranded')");
    const taken = await takeOver(single, cut);
    expect(await strand(single, taken)).toBe(2);
    await undo(single, taken);
    await catchUp(single, taken);
    const report = await using(to.urls.agent, (client) =>
      resendStranded([{ dataCenter: 'la', client }], [taken.origin]),
    );
    expect(report).toMatchObject({ keys: 2, sent: 1, absent: 1, problems: [] });
    expect(await using(to.urls.agent, (client) => mergeAutomatically(client, to.configuration, taken.origin))).toEqual({
      merged: 2,
      left: 0,
    });
    expect(await using(to.urls.agent, (client) => listStranded(client))).toMatchObject(
      Array(2).fill({ accounts: ['*'], state: 'merged' }),
    );
    const [last] = await runSql<{ lsn: string }>(to.urls.superuser, 'SELECT pg_current_wal_lsn()::text AS lsn');
    await applied(to, 'ny', last?.lsn ?? '');
    for (const dc of [from, to]) {
      expect(await runSql(dc.urls.owner, "SELECT id FROM things WHERE note = 'stranded' ORDER BY id")).toEqual([
        { id: 1 },
        { id: 6 },
      ]);
    }
  } finally {
    await single.stop();
  }
});
