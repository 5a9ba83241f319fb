/**
 * What PostgreSQL does with commits that wait for another server, as far as Lanekeeper rests on it; the others are in
 * `postgres-facts.test.ts`. Not repeated here, as `durability.test.ts` shows it:
 * - what is set in a deferred trigger governs that very commit
 * - a crash during the wait leaves the row committed
 * - a peer is synchronous only once its walsender goes by the present list of names
 */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestCluster, testCluster } from '../support/clusters.ts';
import { type RawStream, rawStream, subscriptionOf } from '../support/raw-stream.ts';
import { begun, pidOf, type Sessions, sessions, waitOf } from '../support/sessions.ts';

const wait = { timeout: 25_000, interval: 50 };
const schema = 'CREATE TABLE item (id text PRIMARY KEY); CREATE TABLE probe (n int)';

let clusters: [TestCluster, TestCluster];
let s: RawStream;
let open: Sessions;
let writer: Client;

beforeAll(async () => {
  clusters = await Promise.all([testCluster(), testCluster({ settings: { wal_writer_delay: '10s' } })]);
});
afterAll(async () => {
  for (const cluster of clusters ?? []) await cluster.stop();
});
beforeEach(async () => {
  open = sessions();
  s = await rawStream(clusters, schema);
  writer = await open.open(s.from.urls.superuser);
  // As a commit that is to be `remote` has it.
  await writer.query('SET synchronous_commit = on');
});
afterEach(async () => {
  await names(null);
  await open.end();
  await s.drop();
});

/** Whom commits at `from` wait for; null: nobody. */
async function names(list: string | null, at: RawStream['atFrom'] = s.atFrom): Promise<void> {
  await at(
    list === null
      ? 'ALTER SYSTEM RESET synchronous_standby_names'
      : `ALTER SYSTEM SET synchronous_standby_names = '${list}'`,
  );
  await at('SELECT pg_reload_conf()');
  await expect
    .poll(
      async () =>
        (await at<{ set: string }>('SHOW synchronous_standby_names').then((rows) => Object.values(rows[0] ?? {})))[0],
      wait,
    )
    .toBe(list ?? '');
}

/** Nobody of this name ever connects. */
const nobody = 'FIRST 1 (pad)';

/** A commit that is known to wait for others. */
const begunToWait = async (sql: string, client = writer) =>
  begun(s.from.urls.superuser, client, 'IPC:SyncRep', () => client.query(sql));

/** Until commits do wait: a new list is published to all of the server by its checkpointer. */
async function untilPublished(): Promise<void> {
  const prober = await open.open(s.from.urls.superuser);
  for (let attempt = 0; attempt < 500; attempt += 1) {
    const commit = prober.query(`SET synchronous_commit = on; INSERT INTO probe VALUES (1)`);
    commit.catch(() => {});
    const waits = await Promise.race([
      commit.then(() => false),
      expect
        .poll(() => waitOf(s.from.urls.superuser, pidOf(prober)), wait)
        .toBe('IPC:SyncRep')
        .then(
          () => true,
          () => false,
        ),
    ]);
    if (waits) {
      await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(prober)]);
      await commit;
      return;
    }
  }
  throw new Error('commits do not wait');
}

const exists = async (id: string, at: RawStream['atFrom'] = s.atFrom) =>
  (await at('SELECT FROM item WHERE id = $1', [id])).length === 1;

describe('a commit that waits', () => {
  test('is ended by no timeout and no check of its client, and nobody sees its row meanwhile', async () => {
    await names(nobody);
    await untilPublished();
    await writer.query(
      `SET statement_timeout = 100; SET idle_in_transaction_session_timeout = 100; SET client_connection_check_interval = 100`,
    );
    const [row] = await s.atFrom<{ version: number }>(`SELECT current_setting('server_version_num')::int AS version`);
    if ((row?.version ?? 0) >= 170_000) await writer.query('SET transaction_timeout = 100');
    const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await waitOf(s.from.urls.superuser, pidOf(writer))).toBe('IPC:SyncRep');
    expect(await exists('1')).toBe(false);
    await names(null);
    await commit.result;
    expect(await exists('1')).toBe(true);
  });

  test('and is cancelled has been committed: a WARNING, and success', async () => {
    await names(nobody);
    await untilPublished();
    const warnings: (string | undefined)[] = [];
    writer.on('notice', ({ severity, code, routine }) => warnings.push(`${severity} ${code} ${routine}`));
    const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
    await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(writer)]);
    expect(await commit.result).toMatchObject({ command: 'INSERT', rowCount: 1 });
    expect(warnings).toEqual(['WARNING 01000 SyncRepWaitForLSN']);
    expect(await exists('1')).toBe(true);
  });

  test('and is terminated has been committed: a WARNING, and the connection is gone', async () => {
    await names(nobody);
    await untilPublished();
    const warnings: (string | undefined)[] = [];
    writer.on('notice', ({ severity, code, routine }) => warnings.push(`${severity} ${code} ${routine}`));
    const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
    await s.atFrom('SELECT pg_terminate_backend($1)', [pidOf(writer)]);
    await expect(commit.result.then(() => writer.query('SELECT 1'))).rejects.toThrow();
    expect(warnings).toEqual(['WARNING 57P01 SyncRepWaitForLSN']);
    await expect.poll(() => exists('1'), wait).toBe(true);
  });

  test('its row is on its way to the others while it waits', async () => {
    await names(nobody);
    await untilPublished();
    const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
    await expect.poll(() => exists('1', s.atTo), wait).toBe(true);
    expect(await exists('1')).toBe(false);
    await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(writer)]);
    await commit.result;
  });

  test('does so by the setting of its session, which any role may lower for itself', async () => {
    await names(nobody);
    await untilPublished();
    await s.atFrom('GRANT INSERT ON item TO lanekeeper_application');
    const application = await open.open(s.from.urls.application);
    await application.query(`SET synchronous_commit = local`);
    await application.query(`INSERT INTO item VALUES ('1')`);
    await application.query(`SET synchronous_commit = on`);
    const commit = await begunToWait(`INSERT INTO item VALUES ('2')`, application);
    await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(application)]);
    await commit.result;
  });
});

describe('the list of names', () => {
  test('from empty to one: while the checkpointer has not seen it, commits do not wait', async () => {
    const [checkpointer] = await s.atFrom<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'`,
    );
    const pid = checkpointer?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      await names(nobody);
      // It has read the list, and yet:
      expect((await writer.query('SHOW synchronous_standby_names')).rows).toEqual([
        { synchronous_standby_names: nobody },
      ]);
      await writer.query(`INSERT INTO item VALUES ('slipped through')`);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await untilPublished();
    const commit = await begunToWait(`INSERT INTO item VALUES ('waits')`);
    await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(writer)]);
    await commit.result;
  });

  test('from one to another: commits wait all the time, whatever the checkpointer does', async () => {
    await names(nobody);
    await untilPublished();
    const [checkpointer] = await s.atFrom<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'`,
    );
    const pid = checkpointer?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      await names('FIRST 1 (other_pad)');
      const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
      await s.atFrom('SELECT pg_cancel_backend($1)', [pidOf(writer)]);
      await commit.result;
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });

  test('emptied: who waits is let go, and his client is told nothing', async () => {
    await names(nobody);
    await untilPublished();
    const warnings: unknown[] = [];
    writer.on('notice', (notice) => warnings.push(notice));
    const commit = await begunToWait(`INSERT INTO item VALUES ('1')`);
    await names(null);
    await commit.result;
    expect(warnings).toEqual([]);
  });

  test('may be changed by a role that was granted just that, without being a superuser', async () => {
    const change = `ALTER SYSTEM SET synchronous_standby_names = '${nobody}'`;
    const agent = await open.open(s.from.urls.agent);
    await s.atFrom('REVOKE ALTER SYSTEM ON PARAMETER synchronous_standby_names FROM lanekeeper_agent');
    await s.atFrom('REVOKE EXECUTE ON FUNCTION pg_reload_conf() FROM lanekeeper_agent');
    await expect(agent.query(change)).rejects.toMatchObject({ code: '42501' });
    await s.atFrom('GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO lanekeeper_agent');
    await agent.query(change);
    await expect(agent.query('SELECT pg_reload_conf()')).rejects.toMatchObject({ code: '42501' });
    await s.atFrom('GRANT EXECUTE ON FUNCTION pg_reload_conf() TO lanekeeper_agent');
    await agent.query('SELECT pg_reload_conf()');
    await untilPublished();
    await s.atFrom('DROP OWNED BY lanekeeper_agent');
  });
});

describe('the subscription that is waited for', () => {
  const peer = () => `FIRST 1 (${subscriptionOf(s)})`;
  /** Its worker looks before every transaction. */
  const setCommit = (value: string, of: RawStream = s) =>
    of.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(of)} SET (synchronous_commit = ${value})`);

  test('with synchronous_commit = local it answers at once; with off when its log happens to be written', async () => {
    await names(peer());
    await untilSynchronous();
    await writer.query(`INSERT INTO item VALUES ('local')`);
    await setCommit('off');
    await untilSynchronous();
    // wal_writer_delay is 10 s there.
    const commit = await begunToWait(`INSERT INTO item VALUES ('off')`);
    await expect.poll(() => exists('off', s.atTo), wait).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await waitOf(s.from.urls.superuser, pidOf(writer))).toBe('IPC:SyncRep');
    await names(null);
    await commit.result;
  });

  test('with synchronous_commit = on in both directions, two wait for each other for ever; with local they do not', async () => {
    const back = await rawStream([clusters[1], clusters[0]], schema);
    try {
      await setCommit('on');
      await setCommit('on', back);
      await names(peer());
      await names(`FIRST 1 (${subscriptionOf(back)})`, back.atFrom);
      await untilSynchronous();
      const both = await applyAtOnce(back, '1');
      const workers = [await s.worker(), await back.worker()] as [number, number];
      const applying = async () => [
        await waitOf(s.to.urls.superuser, workers[0]),
        await waitOf(back.to.urls.superuser, workers[1]),
      ];
      // Each worker waits in its own commit for the other server, whose worker does the same.
      await expect.poll(applying, wait).toEqual(['IPC:SyncRep', 'IPC:SyncRep']);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(await applying()).toEqual(['IPC:SyncRep', 'IPC:SyncRep']);
      await names(null);
      await names(null, back.atFrom);
      await Promise.all(both);

      await setCommit('local');
      await setCommit('local', back);
      await names(peer());
      await names(`FIRST 1 (${subscriptionOf(back)})`, back.atFrom);
      await untilSynchronous();
      await Promise.all(await applyAtOnce(back, '2'));
    } finally {
      await names(null, back.atFrom);
      await names(null);
      await back.drop();
    }
  });

  /** A row each way, so that both workers come to their commits before either can answer. */
  async function applyAtOnce(back: RawStream, id: string): Promise<Promise<unknown>[]> {
    const commits: Promise<unknown>[] = [];
    const holders: Client[] = [];
    for (const stream of [s, back]) {
      const holder = await open.open(stream.to.urls.superuser);
      await holder.query(`BEGIN; INSERT INTO item VALUES ('${id}')`);
      holders.push(holder);
      const there = await open.open(stream.from.urls.superuser);
      await there.query('SET synchronous_commit = on');
      const commit = there.query(`INSERT INTO item VALUES ('${id}')`);
      commit.catch(() => {});
      commits.push(commit);
      await expect
        .poll(async () => (await waitOf(stream.to.urls.superuser, (await stream.worker()) ?? 0)) ?? '', wait)
        .toContain('Lock');
    }
    for (const holder of holders) await holder.query('ROLLBACK');
    return commits;
  }

  /** Until its walsender is synchronous. */
  async function untilSynchronous(): Promise<void> {
    await expect
      .poll(
        async () =>
          (
            await s.atFrom<{ state: string }>(
              'SELECT sync_state AS state FROM pg_stat_replication WHERE application_name = $1',
              [subscriptionOf(s)],
            )
          )[0]?.state,
        wait,
      )
      .toBe('sync');
  }
});
