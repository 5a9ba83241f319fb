/**
 * What `remote` means in PostgreSQL itself: two data centers with streams both ways, no agents; the test says whom `ny` waits
 * for, as its agent would, and takes `la` away by stopping its subscriptions.
 */
import {
  proveThatCommitsWait,
  readReplication,
  setStandbyNames,
  waitUntilSynchronous,
} from '@lanekeeper/server/postgres';
import { Client, type DatabaseError } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { applyPair, lease } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';
import { type SyncSet, syncSet } from '../support/sync-set.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
CREATE TABLE payments (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
CREATE TABLE clicks (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;
`;
const homed = { class: 'system-of-record', account: 'account_id' } as const;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { ...homed, durability: 'remote' },
  payments: { ...homed, durability: 'remote', whenAlone: 'refuse' },
  clicks: { ...homed, durability: 'local' },
} as const;

type Notice = Pick<DatabaseError, 'code' | 'message' | 'detail' | 'severity' | 'routine'>;

let pair: TestPair;
let ny: TestDataCenter;
let la: TestDataCenter;
let set: SyncSet;
let agent: Client;
let app: Client;
let watcher: Client;
let notices: Notice[] = [];
const open: Client[] = [];

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  open.push(client);
  return client;
}

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables } });
  [ny, la] = [pair.dc('ny'), pair.dc('la')];
  await applyPair(pair);
  agent = await connect(ny.urls.agent);
  watcher = await connect(ny.urls.superuser);
  set = await syncSet(pair, 'ny', 'la');
  await lease(ny, 600_000);
  await runSql(ny.urls.application, "INSERT INTO accounts VALUES ('a1')");
});
beforeEach(async () => {
  app = await connect(ny.urls.application);
  notices = [];
  app.on('notice', (notice) => notices.push(notice as Notice));
});
afterEach(async () => {
  await set.peerReads(true);
  await set.shrink();
});
afterAll(async () => {
  await Promise.all(open.map((client) => client.end().catch(() => {})));
  await set?.close();
  await pair?.stop();
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 1_000; attempt += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it never came to be');
}

const isWaiting = async (client: Client): Promise<boolean> =>
  (
    await watcher.query("SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'", [
      (client as unknown as { processID: number }).processID,
    ])
  ).rows.length === 1;

let number = 0;
function insert(table: string): string {
  number += 1;
  return `INSERT INTO ${table} VALUES ('${table}-${number}', 'a1')`;
}
const decided = () => notices.filter(({ code }) => code === '01LK1').map(({ detail }) => JSON.parse(detail ?? ''));

async function exists(table: string, id: string, url = ny.urls.superuser): Promise<boolean> {
  return (await runSql(url, `SELECT FROM ${table} WHERE id = $1`, [id])).length === 1;
}

/** What the client was promised; its commit is known to wait. */
async function begunToWait(client: Client, sql: string): Promise<{ readonly commit: Promise<unknown> }> {
  const commit = client.query(sql);
  commit.catch(() => {});
  await until(() => isWaiting(client));
  return { commit };
}

describe('a commit waits by the strictest table that it wrote', () => {
  test('what is raised in the check at commit governs that very commit', async () => {
    await set.grow();
    await set.peerReads(false);
    expect((await app.query('SHOW synchronous_commit')).rows).toEqual([{ synchronous_commit: 'local' }]);
    const { commit } = await begunToWait(app, insert('orders'));
    // It is committed here and nobody sees it: the wait comes before the transaction is let out.
    expect(await exists('orders', `orders-${number}`)).toBe(false);
    await set.peerReads(true);
    await await commit;
    expect(await exists('orders', `orders-${number}`, la.urls.superuser)).toBe(true);
    expect(decided()).toEqual([{ waitsFor: 1, view: expect.any(Number), refusesAlone: false }]);
  });

  test('a local table is not delayed by a peer that is gone', async () => {
    await set.grow();
    await set.peerReads(false);
    await app.query(insert('clicks'));
    expect(notices).toEqual([]);
  });

  test('local first and remote later ends remote, also across savepoints', async () => {
    await set.grow();
    await set.peerReads(false);
    for (const between of ['', 'SAVEPOINT s;', `SAVEPOINT s; ${insert('orders')}; ROLLBACK TO s;`]) {
      const client = await connect(ny.urls.application);
      await begunToWait(
        client,
        `BEGIN; ${insert('clicks')}; ${between} ${insert('orders')}; ${insert('clicks')}; COMMIT`,
      );
    }
    // What was rolled back asks for nothing.
    await app.query(`BEGIN; ${insert('clicks')}; SAVEPOINT s; ${insert('orders')}; ROLLBACK TO s; COMMIT`);
    expect(decided()).toEqual([]);
  });

  test('a session cannot lower it, neither in words nor by what it tells the fence', async () => {
    await set.grow();
    await set.peerReads(false);
    for (const lowered of [
      'SET synchronous_commit = off',
      'SET synchronous_commit = local',
      "SET lanekeeper.tick = ''",
    ]) {
      const client = await connect(ny.urls.application);
      await client.query(lowered);
      await begunToWait(client, `BEGIN; ${insert('orders')}; ${lowered.replace('SET', 'SET LOCAL')}; COMMIT`);
    }
  });

  test('a session that asks for more gets more', async () => {
    await set.grow();
    await set.peerReads(false);
    await app.query('SET synchronous_commit = on');
    await begunToWait(app, insert('clicks'));
    const other = await connect(ny.urls.application);
    await other.query('SET synchronous_commit = remote_apply');
    await begunToWait(other, insert('orders'));
  });
});

describe('alone', () => {
  test('remote tables are accepted and wait for nobody, whatever the session asks for', async () => {
    await app.query(insert('orders'));
    await app.query('SET synchronous_commit = on');
    await app.query(insert('orders'));
    expect(decided()).toEqual([]);
  });

  test('a table that refuses is refused at commit, and nothing of the transaction stays', async () => {
    const error = await app.query(`BEGIN; ${insert('clicks')}; ${insert('payments')}; COMMIT`).then(
      () => null,
      (thrown: DatabaseError) => thrown,
    );
    expect(error?.code).toBe('LK010');
    await app.query('ROLLBACK');
    expect(await exists('clicks', `clicks-${number - 1}`)).toBe(false);
    await set.grow();
    await app.query(insert('payments'));
    expect(decided()).toEqual([{ waitsFor: 1, view: expect.any(Number), refusesAlone: true }]);
  });

  test('who waits when the last peer leaves is let go with a WARNING, and his write is committed', async () => {
    await set.grow();
    await set.peerReads(false);
    const { commit } = await begunToWait(app, insert('orders'));
    await set.shrink();
    await commit;
    expect(notices.map(({ severity, routine }) => `${severity} ${routine}`)).toContain('WARNING SyncRepWaitForLSN');
    expect(await exists('orders', `orders-${number}`)).toBe(true);
  });

  test('a list that somebody has emptied makes nothing remote', async () => {
    await set.grow();
    const before = await runSql<{ guarded: boolean }>(ny.urls.agent, 'SELECT guarded FROM lanekeeper.sync_state()');
    await runSql(ny.urls.superuser, 'ALTER SYSTEM RESET synchronous_standby_names');
    await runSql(ny.urls.superuser, 'SELECT pg_reload_conf()');
    await until(
      async () => (await app.query('SHOW synchronous_standby_names')).rows[0].synchronous_standby_names === '',
    );
    await app.query(insert('orders'));
    expect(decided()).toEqual([]);
    await expect(app.query(insert('payments'))).rejects.toMatchObject({ code: 'LK010' });
    const after = await runSql<{ guarded: boolean }>(ny.urls.agent, 'SELECT guarded FROM lanekeeper.sync_state()');
    expect([before, after]).toEqual([[{ guarded: true }], [{ guarded: false }]]);
    expect(await setStandbyNames(agent, [])).toMatchObject({ kind: 'set', before: 'foreign' });
    expect(await proveThatCommitsWait(agent, await connect(ny.urls.agent), 10_000)).toBe(true);
  });
});

describe('whom a commit waits for', () => {
  test('no commit is called remote that the peer does not hold, however often the set grows and shrinks', async () => {
    let stop = false;
    const claimed: string[] = [];
    const writers = [0, 1, 2].map(async (writer) => {
      const client = await connect(ny.urls.application);
      const heard: Notice[] = [];
      client.on('notice', (notice) => heard.push(notice as Notice));
      for (let at = 0; !stop; at += 1) {
        heard.length = 0;
        const id = `grown-${writer}-${at}`;
        await client.query('INSERT INTO orders VALUES ($1, $2)', [id, 'a1']);
        const said = heard.find(({ code }) => code === '01LK1');
        if (said === undefined || heard.some(({ routine }) => routine === 'SyncRepWaitForLSN')) continue;
        const { view } = JSON.parse(said.detail ?? '') as { view: number };
        const { rows } = await client.query('SELECT view::float8 AS view FROM lanekeeper.sync_state()');
        if (rows[0].view !== view) continue;
        claimed.push(id);
        // At this very moment, not later.
        if (!(await exists('orders', id, la.urls.superuser))) throw new Error(`${id} is not in la`);
      }
    });
    for (let round = 0; round < 8; round += 1) {
      await set.grow();
      await new Promise((resolve) => setTimeout(resolve, 60));
      if (round % 2 === 1) await set.peerReads(false);
      await set.shrink();
      if (round % 2 === 1) await set.peerReads(true);
    }
    stop = true;
    await Promise.all(writers);
    expect(claimed.length).toBeGreaterThan(20);
  });

  test('a peer is synchronous only once its walsender goes by the present list', async () => {
    const pid = (await watcher.query("SELECT pid FROM pg_stat_replication WHERE application_name LIKE '%_homed'"))
      .rows[0].pid;
    process.kill(pid, 'SIGSTOP');
    try {
      await setStandbyNames(agent, ['la']);
      expect(await waitUntilSynchronous(agent, ['la'], ['la'], 200)).toMatchObject({ kind: 'late', peer: 'la' });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await waitUntilSynchronous(agent, ['la'], ['la'], 10_000)).toEqual({ kind: 'synchronous' });
  });

  test('how far peers have come, and how long they are silent, is read without trusting their clock', async () => {
    const memory = new Map();
    await set.grow();
    const first = await readReplication(agent, ['la'], memory, 1_000);
    expect(first.members).toBe(1);
    expect(first.peers.la).toMatchObject({ state: 'streaming', syncState: 'sync', listRead: true, replyAgeMs: 0 });
    await set.peerReads(false);
    await readReplication(agent, ['la'], memory, 1_500);
    const later = await readReplication(agent, ['la'], memory, 4_000);
    expect(later.peers.la).toMatchObject({ state: 'absent', replyAgeMs: expect.any(Number), flushedLsn: null });
    expect(later.peers.la?.replyAgeMs).toBeGreaterThanOrEqual(2_500);
  });

  test('a role that may not change the list is told so, and can still read', async () => {
    await expect(setStandbyNames(app, ['la'])).resolves.toMatchObject({ kind: 'refused', message: expect.any(String) });
  });
});

test('a crash during the wait leaves the row committed, the client with an error, and nobody who is waited for', async () => {
  await set.grow();
  await set.peerReads(false);
  const id = `orders-${number + 1}`;
  const { commit } = await begunToWait(app, insert('orders'));
  process.kill((app as unknown as { processID: number }).processID, 'SIGKILL');
  await expect(commit).rejects.toThrow();
  await until(() =>
    runSql(ny.urls.superuser, 'SELECT 1').then(
      () => true,
      () => false,
    ),
  );
  expect(await exists('orders', id)).toBe(true);
  agent = await connect(ny.urls.agent);
  const { members, standbyNames } = await readReplication(agent, ['la'], new Map(), 0);
  expect(members).toBe(0);
  expect(standbyNames).toContain('lanekeeper_la_homed');
  await set.close();
  set = await syncSet(pair, 'ny', 'la');
});
