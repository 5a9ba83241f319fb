/**
 * What may not overtake what in a third data center, without agents: streams into `fra` are stopped one by one, so that the marks of
 * the present home arrive before what they go by.
 */
import { connect, recordSuccessions, verifyTables } from '@lanekeeper/server/postgres';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { using } from '../support/taken-over.ts';
import { type Trio, testTrio } from '../support/trio.ts';

let trio: Trio;
const patience = { timeout: 40_000, interval: 50 };

beforeAll(async () => {
  trio = await testTrio({
    schema: `CREATE TABLE accounts (id text PRIMARY KEY, name text);
      CREATE TABLE orders (id text PRIMARY KEY, account text NOT NULL, note text);`,
    approach: 'full-active-active',
    tables: {
      accounts: { class: 'system-of-record', account: 'id', root: true },
      orders: { class: 'system-of-record', account: 'account' },
    },
  });
  for (const name of trio.names)
    await runSql(urls(name).agent, 'SELECT lanekeeper.set_lease(wall_ms + 600000) FROM lanekeeper.clock()');
});
afterAll(() => trio?.stop());

const urls = (name: string) => trio.dc(name).urls;
const write = (name: string, sql: string) => runSql(urls(name).application, sql);
const agent = <T extends Record<string, unknown>>(name: string, sql: string) => runSql<T>(urls(name).agent, sql);
/** The stream of homed rows from one into fra. */
const stream = (from: string, how: 'ENABLE' | 'DISABLE') =>
  runSql(urls('fra').superuser, `ALTER SUBSCRIPTION lanekeeper_${from}_homed ${how}`);
const orders = async (name: string, account: string) =>
  (
    await runSql<{ note: string }>(urls(name).superuser, 'SELECT note FROM orders WHERE account = $1 ORDER BY id', [
      account,
    ])
  ).map(({ note }) => note);
/** What was passed over in fra while rows were applied, where PostgreSQL counts that: from 18 on. */
const conflicts = async () =>
  (
    await runSql<{ n: number }>(
      urls('fra').superuser,
      `SELECT coalesce(sum(c.value::int), 0)::int AS n FROM pg_stat_subscription_stats s, jsonb_each_text(to_jsonb(s)) c
        WHERE c.key IN ('confl_update_missing', 'confl_delete_missing', 'confl_insert_exists')`,
    )
  )[0]?.n;

async function born(name: string, account: string): Promise<void> {
  await write(
    name,
    `INSERT INTO accounts VALUES ('${account}', ''); INSERT INTO orders VALUES ('${account}-1', '${account}', 'first')`,
  );
  for (const other of trio.names)
    await vi.waitFor(async () => expect(await orders(other, account)).toEqual(['first']), patience);
}

test('what a new home writes waits for what the former one wrote, however slow that is', async () => {
  await born('ny', 'a1');
  await stream('ny', 'DISABLE');
  await write(
    'ny',
    "UPDATE orders SET note = 'late' WHERE id = 'a1-1'; INSERT INTO orders VALUES ('a1-2', 'a1', 'late')",
  );
  expect(await agent('ny', "SELECT kind FROM lanekeeper.give('a1', 'la', 1, 0)")).toEqual([{ kind: 'given' }]);
  await vi.waitFor(
    async () =>
      expect(await agent('la', "SELECT kind FROM lanekeeper.accept('a1', 1, 1)")).toEqual([{ kind: 'accepted' }]),
    patience,
  );
  await write('la', "UPDATE orders SET note = note || ', then la' WHERE account = 'a1'");
  // Longer than a worker waits at a mark before it is started again.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(await orders('fra', 'a1')).toEqual(['first']);
  await stream('ny', 'ENABLE');
  await vi.waitFor(async () => expect(await orders('fra', 'a1')).toEqual(['late, then la', 'late, then la']), patience);
  expect(await conflicts()).toBe(0);
});

test('an account that is given back is told of in its order, to a third as well', async () => {
  await born('ny', 'a2');
  await stream('ny', 'DISABLE');
  expect(await agent('ny', "SELECT kind FROM lanekeeper.give('a2', 'la', 1, 0)")).toEqual([{ kind: 'given' }]);
  await vi.waitFor(
    async () =>
      expect(await agent('la', "SELECT kind FROM lanekeeper.decline('a2', 1, 1)")).toEqual([{ kind: 'declined' }]),
    patience,
  );
  await vi.waitFor(
    async () =>
      expect(await agent('ny', "SELECT kind FROM lanekeeper.accept('a2', 1, 2)")).toEqual([{ kind: 'accepted' }]),
    patience,
  );
  await write('ny', "UPDATE orders SET note = 'again' WHERE account = 'a2'");
  await stream('ny', 'ENABLE');
  await vi.waitFor(async () => expect(await orders('fra', 'a2')).toEqual(['again']), patience);
  expect(await agent('fra', "SELECT home, counter::int FROM lanekeeper.deed WHERE account = 'a2'")).toEqual([
    { home: 'ny', counter: 2 },
  ]);
  const incidents = await agent('fra', 'SELECT kind FROM lanekeeper.incident');
  expect(incidents).toEqual([]);
  for (const name of trio.names)
    await vi.waitFor(
      async () =>
        expect(await agent(name, "SELECT counter::int, dc FROM lanekeeper.acceptance WHERE account = 'a2'")).toEqual([
          { counter: 2, dc: 'ny' },
        ]),
      patience,
    );
  expect(await conflicts()).toBe(0);
});

test('after a switchover nobody writes before the mark is in the stream, and a third waits at it', async () => {
  await born('ny', 'a3');
  await stream('ny', 'DISABLE');
  await write('ny', "UPDATE orders SET note = 'last in ny' WHERE account = 'a3'");
  await using(urls('ny').agent, async (client) =>
    recordSuccessions(client, [{ term: 2, kind: 'switch', from: 'ny', to: 'la', undoes: null }], {}),
  );
  await vi.waitFor(
    async () => expect(await agent('la', 'SELECT term::int FROM lanekeeper.succession')).toEqual([{ term: 2 }]),
    patience,
  );
  await expect(write('la', "UPDATE orders SET note = 'too early' WHERE account = 'a3'")).rejects.toMatchObject({
    code: 'LK004',
  });
  expect(await agent('la', 'SELECT lanekeeper.land() AS n')).toEqual([{ n: 1 }]);
  await write('la', "UPDATE orders SET note = note || ', then la' WHERE account = 'a3'");
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await orders('fra', 'a3')).toEqual(['first']);
  await stream('ny', 'ENABLE');
  await vi.waitFor(async () => expect(await orders('fra', 'a3')).toEqual(['last in ny, then la']), patience);
  expect(await conflicts()).toBe(0);
});

test('a move in flight when its destination gives everything away: a third applies what was written since once its deed is there', async () => {
  // la is the home of all that ny held; fra gives to ny, which the switch of term 2 does not touch, since the deed says term 2.
  await born('la', 'a4');
  await stream('la', 'DISABLE');
  await write('la', "INSERT INTO orders VALUES ('a4-2', 'a4', 'second')");
  expect(await agent('la', "SELECT kind FROM lanekeeper.give('a4', 'ny', 1, 0)")).toEqual([{ kind: 'given' }]);
  const arrived = () => agent<{ home: string }>('ny', "SELECT home FROM lanekeeper.deed WHERE account = 'a4'");
  await vi.waitFor(async () => expect(await arrived()).toEqual([{ home: 'ny' }]), patience);
  // ny is taken over before it has accepted: its successor is la, and fra has neither deed nor rows.
  await using(urls('ny').agent, async (client) =>
    recordSuccessions(client, [{ term: 3, kind: 'switch', from: 'ny', to: 'fra', undoes: null }], {}),
  );
  await vi.waitFor(
    async () =>
      expect(await agent('fra', 'SELECT max(term)::int AS term FROM lanekeeper.succession')).toEqual([{ term: 3 }]),
    patience,
  );
  await stream('la', 'ENABLE');
  await vi.waitFor(async () => expect(await orders('fra', 'a4')).toEqual(['first', 'second']), patience);
  await agent('fra', 'SELECT lanekeeper.land()');
  await write('fra', "UPDATE orders SET note = note || ', then fra' WHERE account = 'a4'");
  for (const name of trio.names)
    await vi.waitFor(
      async () => expect(await orders(name, 'a4')).toEqual(['first, then fra', 'second, then fra']),
      patience,
    );
  expect(await conflicts()).toBe(0);
});

test('what was given on by a successor that never wrote it waits until the deed before is there', async () => {
  await born('la', 'a5');
  await stream('la', 'DISABLE');
  expect(await agent('la', "SELECT kind FROM lanekeeper.give('a5', 'fra', 1, 0)")).toEqual([{ kind: 'given' }]);
  const deedIn = (name: string) =>
    agent<{ home: string }>(name, "SELECT home, counter::int FROM lanekeeper.deed WHERE account = 'a5'");
  await vi.waitFor(async () => expect(await deedIn('ny')).toEqual([{ home: 'fra', counter: 1 }]), patience);
  await using(urls('fra').agent, async (client) =>
    recordSuccessions(client, [{ term: 4, kind: 'switch', from: 'fra', to: 'ny', undoes: null }], {}),
  );
  await vi.waitFor(
    async () =>
      expect(await agent('ny', 'SELECT max(term)::int AS term FROM lanekeeper.succession')).toEqual([{ term: 4 }]),
    patience,
  );
  await agent('ny', 'SELECT lanekeeper.land()');
  expect(await agent('ny', "SELECT kind FROM lanekeeper.give('a5', 'la', 4, 1)")).toEqual([{ kind: 'given' }]);
  await vi.waitFor(async () => expect(await deedIn('la')).toEqual([{ home: 'la', counter: 2 }]), patience);
  expect(await deedIn('fra')).toEqual([{ home: 'la', counter: 0 }]);
  await stream('la', 'ENABLE');
  await vi.waitFor(async () => expect(await deedIn('fra')).toEqual([{ home: 'la', counter: 2 }]), patience);
  expect(await agent('fra', 'SELECT kind FROM lanekeeper.incident')).toEqual([]);
});

test('what is on its way from a third one, to one of two that are compared, is no difference between them', async () => {
  await born('la', 'a9');
  const compare = (how: { readonly unreachable?: string; readonly settleMs?: number } = {}) =>
    verifyTables({
      configuration: trio.dc('ny').configuration,
      here: 'ny',
      there: 'fra',
      tables: ['public.orders'],
      connect: (dc) => (applicationName) =>
        connect(dc === how.unreachable ? 'postgres://127.0.0.1:1/none' : urls(dc).agent, { applicationName }),
      ...how,
    });
  await stream('la', 'DISABLE');
  await write('la', "UPDATE orders SET note = 'on its way' WHERE account = 'a9'");
  await vi.waitFor(async () => expect(await orders('ny', 'a9')).toEqual(['on its way']), patience);
  // Nobody sends it: then it is one.
  expect(await compare()).toMatchObject({ clean: false, tables: [{ kind: 'differs', differences: 1 }] });
  const held = await holding('fra', 'orders');
  await stream('la', 'ENABLE');
  expect(await compare({ settleMs: 300 })).toMatchObject({
    clean: false,
    tables: [{ kind: 'unsettled', unsettled: 1, reason: 'the homed stream from la to fra does not come on' }],
  });
  expect(await compare({ unreachable: 'la' })).toMatchObject({
    clean: false,
    tables: [{ kind: 'unsettled', reason: expect.stringMatching(/^la cannot be asked what is on its way: /) }],
  });
  const compared = compare();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await held.release();
  expect(await compared).toMatchObject({ clean: true, tables: [{ kind: 'equal' }] });
});

/** Nothing is applied to the table until it is released. */
async function holding(name: string, table: string): Promise<{ release(): Promise<void> }> {
  const client = new Client({ connectionString: urls(name).superuser });
  await client.connect();
  await client.query(`BEGIN; LOCK TABLE ${table} IN SHARE MODE`);
  return { release: () => client.end() };
}
