/**
 * What PostgreSQL does with rows that are applied elsewhere, as far as Lanekeeper rests on it; the others are in
 * `postgres-facts.test.ts`. Not repeated here:
 * - rows that came by replication are not sent on with `origin = none`, and carry the position at their origin:
 *   `decode.test.ts`, "only what was written here; with `any` the others too, and where they come from"
 * - a value stored out of line and not changed is not in the log: `decode.test.ts`
 */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type TestCluster, testCluster } from '../support/clusters.ts';
import { type RawStream, rawStream, subscriptionOf } from '../support/raw-stream.ts';
import { type Sessions, sessions, waitOf } from '../support/sessions.ts';

const schema = `
  CREATE TABLE account (id text PRIMARY KEY, email text UNIQUE, big text);
  CREATE TABLE item (id text PRIMARY KEY, account text REFERENCES account);
  ALTER TABLE account ALTER big SET STORAGE EXTERNAL;
`;
const wait = { timeout: 25_000, interval: 50 };

let clusters: [TestCluster, TestCluster];
let stream: RawStream | null = null;
let open: Sessions = sessions();

beforeAll(async () => {
  clusters = await Promise.all([
    testCluster(),
    // A worker that failed comes back soon.
    testCluster({ settings: { wal_retrieve_retry_interval: '100ms' } }),
  ]);
});
afterAll(async () => {
  for (const cluster of clusters ?? []) await cluster.stop();
});
afterEach(async () => {
  await open.end();
  open = sessions();
  await stream?.drop();
  stream = null;
});

async function streaming(options: Parameters<typeof rawStream>[2] = {}): Promise<RawStream> {
  stream = await rawStream(clusters, schema, options);
  return stream;
}

const ids = async (run: RawStream['atTo'], table = 'account') =>
  (await run<{ id: string }>(`SELECT id FROM ${table} ORDER BY id COLLATE "C"`)).map((row) => row.id).join(' ');

/** With their owner: PostgreSQL runs as another user when the tests run as root. */
const copyFiles = (from: string, to: string) => promisify(execFile)('cp', ['-a', from, to]);

/** A trigger that runs while rows are applied, and so on this side only. */
const atApply = (name: string, when: string, body: string) => `
  CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$;
  CREATE TRIGGER ${name} ${when} EXECUTE FUNCTION ${name}();
`;

describe('a change that does not fit', () => {
  test('an update or delete of a row that is not there is passed over: no error, no trigger, only a count', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO account VALUES ('1'), ('2')`);
    await s.settled();
    await s.atTo(`DELETE FROM account; CREATE TABLE seen (what text);
      ${atApply('see', 'BEFORE UPDATE OR DELETE ON account FOR EACH ROW', `INSERT INTO public.seen VALUES (TG_OP); RETURN NULL;`)}
      ALTER TABLE account ENABLE ALWAYS TRIGGER see`);
    await s.atFrom(`UPDATE account SET email = 'e' WHERE id = '1'`);
    await s.atFrom(`DELETE FROM account WHERE id = '2'`);
    await s.settled();
    expect(await s.errors()).toBe(0);
    expect(await s.atTo('SELECT FROM seen')).toEqual([]);
    expect(await ids(s.atTo)).toBe('');
    const [row] = await s.atTo<{ version: number }>(`SELECT current_setting('server_version_num')::int AS version`);
    if ((row?.version ?? 0) < 180_000) return;
    await expect
      .poll(
        () =>
          s.atTo(`SELECT confl_update_missing::int AS u, confl_delete_missing::int AS d FROM pg_stat_subscription_stats
            WHERE subname = '${subscriptionOf(s)}'`),
        wait,
      )
      .toEqual([{ u: 1, d: 1 }]);
  });

  test('a value that is not unique here stops the whole stream, which fails again and again until it fits', async () => {
    const s = await streaming();
    await s.atTo(`INSERT INTO account VALUES ('here', 'same@example.org')`);
    await s.atFrom(`INSERT INTO account VALUES ('there', 'same@example.org')`);
    await s.atFrom(`INSERT INTO account VALUES ('unrelated')`);
    await expect.poll(() => s.errors(), wait).toBeGreaterThanOrEqual(2);
    expect(await ids(s.atTo)).toBe('here');
    await s.atTo('DELETE FROM account');
    await s.settled();
    expect(await ids(s.atTo)).toBe('there unrelated');
  });

  test('a column that is missing here stops the stream until it is there', async () => {
    const s = await streaming();
    await s.atFrom(`ALTER TABLE account ADD more text`);
    await s.atFrom(`INSERT INTO account (id, more) VALUES ('1', 'more')`);
    await expect.poll(() => s.errors(), wait).toBeGreaterThanOrEqual(1);
    await s.atTo(`ALTER TABLE account ADD more text`);
    await s.settled();
    expect(await s.atTo('SELECT more FROM account')).toEqual([{ more: 'more' }]);
  });

  test('a table that the subscription does not know is left out without a word; the worker is well', async () => {
    const s = await streaming();
    await Promise.all([
      s.atFrom('CREATE TABLE new (id text PRIMARY KEY)'),
      s.atTo('CREATE TABLE new (id text PRIMARY KEY)'),
    ]);
    await s.atFrom(`BEGIN; INSERT INTO new VALUES ('1'); INSERT INTO account VALUES ('1'); COMMIT`);
    await s.settled();
    expect(await ids(s.atTo)).toBe('1');
    expect(await ids(s.atTo, 'new')).toBe('');
    expect(await s.errors()).toBe(0);
  });

  test('a table that is not there at all stops the stream', async () => {
    const s = await streaming();
    await s.atFrom(`CREATE TABLE new (id text PRIMARY KEY); INSERT INTO new VALUES ('1')`);
    await expect.poll(() => s.errors(), wait).toBeGreaterThanOrEqual(1);
    await s.atTo('CREATE TABLE new (id text PRIMARY KEY)');
    await s.settled();
  });

  test('foreign keys are not checked: a child may arrive without its parent', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO account VALUES ('a')`);
    await s.settled();
    await s.atTo(`DELETE FROM account`);
    await s.atFrom(`INSERT INTO item VALUES ('i', 'a')`);
    await s.settled();
    expect(await ids(s.atTo, 'item')).toBe('i');
    expect(await s.errors()).toBe(0);
  });

  test('rows that differ without touching each other stay different, and nothing says so', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO account VALUES ('1', 'a'), ('2', 'b')`);
    await s.settled();
    // What was never sent from here, as after a takeover.
    await s.atTo(
      `UPDATE account SET email = 'stranded' WHERE id = '1'; INSERT INTO account VALUES ('3', 'stranded too')`,
    );
    await s.atFrom(`UPDATE account SET email = 'c' WHERE id = '2'`);
    await s.settled();
    expect(await s.errors()).toBe(0);
    expect(await s.atTo('SELECT id, email FROM account ORDER BY id')).toEqual([
      { id: '1', email: 'stranded' },
      { id: '2', email: 'c' },
      { id: '3', email: 'stranded too' },
    ]);
    // And where they do touch, the stream stops.
    await s.atFrom(`INSERT INTO account VALUES ('3', 'd')`);
    await expect.poll(() => s.errors(), wait).toBeGreaterThanOrEqual(1);
    await s.atTo(`DELETE FROM account WHERE id = '3'`);
    await s.settled();
  });
});

describe('triggers at apply', () => {
  test('an ordinary one is silent; an ALWAYS one that returns NULL leaves the row out, and the stream goes on', async () => {
    const s = await streaming();
    await s.atTo(`CREATE TABLE seen (what text);
      ${atApply('ordinary', 'AFTER INSERT ON account FOR EACH ROW', `INSERT INTO public.seen VALUES ('ordinary'); RETURN NULL;`)}
      ${atApply('drop_some', 'BEFORE INSERT ON account FOR EACH ROW', `IF NEW.id = 'older' THEN RETURN NULL; END IF; RETURN NEW;`)}
      ALTER TABLE account ENABLE ALWAYS TRIGGER drop_some`);
    await s.atFrom(`INSERT INTO account VALUES ('newer'), ('older'), ('other')`);
    await s.settled();
    expect(await ids(s.atTo)).toBe('newer other');
    expect(await s.atTo('SELECT FROM seen')).toEqual([]);
    expect(await s.errors()).toBe(0);
  });

  test('one that raises holds the stream at its row; what was before is there, what is behind waits; then all follows', async () => {
    const s = await streaming();
    await s.atTo(`CREATE TABLE released (); 
      ${atApply('hold', 'BEFORE INSERT ON account FOR EACH ROW', `IF NEW.id = 'held' AND NOT EXISTS (SELECT FROM pg_class WHERE relname = 'go') THEN RAISE 'held'; END IF; RETURN NEW;`)}
      ALTER TABLE account ENABLE REPLICA TRIGGER hold`);
    await s.atFrom(`INSERT INTO account VALUES ('before')`);
    await s.atFrom(`BEGIN; INSERT INTO account VALUES ('with it'); INSERT INTO account VALUES ('held'); COMMIT`);
    await s.atFrom(`INSERT INTO account VALUES ('behind')`);
    await expect.poll(() => s.errors(), wait).toBeGreaterThanOrEqual(2);
    expect(await ids(s.atTo)).toBe('before');
    await s.atTo('CREATE TABLE go ()');
    await s.settled();
    expect(await ids(s.atTo)).toBe('before behind held with it');
  });

  test('they run with an empty search_path', async () => {
    const s = await streaming();
    await s.atTo(`CREATE TABLE seen (path text);
      ${atApply('see', 'AFTER INSERT ON item FOR EACH ROW', `INSERT INTO public.seen VALUES (current_setting('search_path')); RETURN NULL;`)}
      ALTER TABLE item ENABLE REPLICA TRIGGER see`);
    await s.atFrom(`INSERT INTO item VALUES ('1', NULL)`);
    await s.settled();
    expect(await s.atTo('SELECT path FROM seen')).toEqual([{ path: '' }]);
  });

  test('NOTIFY from one is heard by those who listen', async () => {
    const s = await streaming();
    await s.atTo(`${atApply('tell', 'AFTER INSERT ON account FOR EACH ROW', `PERFORM pg_notify('arrived', NEW.id); RETURN NULL;`)}
      ALTER TABLE account ENABLE REPLICA TRIGGER tell`);
    const listener = await open.open(s.to.urls.application);
    const heard: (string | undefined)[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload));
    await listener.query('LISTEN arrived');
    await s.atFrom(`INSERT INTO account VALUES ('1')`);
    await expect.poll(() => heard, wait).toEqual(['1']);
  });

  test('of a value stored out of line and not sent, one sees what is stored here', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO account VALUES ('1', NULL, repeat('x', 5000))`);
    await s.settled();
    await s.atTo(`CREATE TABLE seen (email text, big text); UPDATE account SET big = 'of here';
      ${atApply('see', 'BEFORE UPDATE ON account FOR EACH ROW', `INSERT INTO public.seen VALUES (NEW.email, NEW.big); RETURN NEW;`)}
      ALTER TABLE account ENABLE REPLICA TRIGGER see`);
    await s.atFrom(`UPDATE account SET email = 'e'`);
    await s.settled();
    expect(await s.atTo('SELECT email, big FROM seen')).toEqual([{ email: 'e', big: 'of here' }]);
  });

  test('TRUNCATE is applied like a change, with the ALWAYS triggers of TRUNCATE', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO item VALUES ('1', NULL)`);
    await s.settled();
    await s.atTo(`CREATE TABLE seen (what text);
      ${atApply('see', 'BEFORE TRUNCATE ON item', `INSERT INTO public.seen VALUES (TG_OP); RETURN NULL;`)}
      ALTER TABLE item ENABLE ALWAYS TRIGGER see`);
    await s.atFrom('TRUNCATE item');
    await s.settled();
    expect(await s.atTo('SELECT what FROM seen')).toEqual([{ what: 'TRUNCATE' }]);
    expect(await ids(s.atTo, 'item')).toBe('');
  });

  test('a publication without TRUNCATE does not send it', async () => {
    const s = await streaming({ publication: `FOR ALL TABLES WITH (publish = 'insert, update, delete')` });
    await s.atFrom(`INSERT INTO item VALUES ('1', NULL)`);
    await s.atFrom('TRUNCATE item');
    await s.settled();
    expect(await ids(s.atTo, 'item')).toBe('1');
  });

  test('a row inserted and deleted again at once, where only inserts are published, arrives as one insert', async () => {
    const s = await streaming({ publication: `FOR ALL TABLES WITH (publish = 'insert')` });
    await s.atTo(`CREATE TABLE seen (id text);
      ${atApply('carry', 'BEFORE INSERT ON item FOR EACH ROW', `INSERT INTO public.seen VALUES (NEW.id); RETURN NULL;`)}
      ALTER TABLE item ENABLE REPLICA TRIGGER carry`);
    await s.atFrom(`BEGIN; INSERT INTO item VALUES ('1', NULL); DELETE FROM item; COMMIT`);
    await s.settled();
    expect(await ids(s.atTo, 'seen')).toBe('1');
    expect(await ids(s.atFrom, 'item')).toBe('');
    expect(await ids(s.atTo, 'item')).toBe('');
  });
});

describe('the worker', () => {
  test('a lock held here keeps back all rows behind it, of whomever', async () => {
    const s = await streaming();
    await s.atFrom(`INSERT INTO account VALUES ('1')`);
    await s.settled();
    const holder = await open.open(s.to.urls.superuser);
    await holder.query(`BEGIN; SELECT FROM account WHERE id = '1' FOR UPDATE`);
    await s.atFrom(`UPDATE account SET email = 'e'`);
    await s.atFrom(`INSERT INTO account VALUES ('unrelated')`);
    const pid = await s.worker();
    await expect.poll(async () => (await waitOf(s.to.urls.superuser, pid ?? 0)) ?? '', wait).toContain('Lock');
    expect(await ids(s.atTo)).toBe('1');
    await holder.query('COMMIT');
    await s.settled();
    expect(await ids(s.atTo)).toBe('1 unrelated');
  });

  test('disabled while it waits for a lock, it still applies and acknowledges afterwards', async () => {
    const s = await streaming();
    const { before, holder } = await blockedWorker(s);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
    await holder.query('COMMIT');
    await expect.poll(() => s.atTo('SELECT email FROM account'), wait).toEqual([{ email: 'late' }]);
    await expect.poll(async () => (await s.positions()).progress, wait).not.toBe(before.progress);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
  });

  test('disabled and terminated, it applies nothing more', async () => {
    const s = await streaming();
    const { before, holder, pid } = await blockedWorker(s);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
    await s.atTo('SELECT pg_terminate_backend($1)', [pid]);
    await expect.poll(() => s.worker(), wait).toBeNull();
    await holder.query('COMMIT');
    expect(await s.atTo('SELECT email FROM account')).toEqual([{ email: null }]);
    expect(await s.positions()).toEqual(before);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
    await s.settled();
    expect(await s.atTo('SELECT email FROM account')).toEqual([{ email: 'late' }]);
  });

  /** A row is held here, and the worker has an update for it. */
  async function blockedWorker(s: RawStream) {
    await s.atFrom(`INSERT INTO account VALUES ('1')`);
    await s.settled();
    const before = await s.positions();
    const holder = await open.open(s.to.urls.superuser);
    await holder.query(`BEGIN; SELECT FROM account FOR UPDATE`);
    await s.atFrom(`UPDATE account SET email = 'late'`);
    const pid = (await s.worker()) ?? 0;
    await expect.poll(async () => (await waitOf(s.to.urls.superuser, pid)) ?? '', wait).toContain('Lock');
    return { before: { ...before, confirmed: (await s.positions()).confirmed }, holder, pid };
  }
});

describe('positions', () => {
  const isBefore = async (s: RawStream, a: string | null, b: string) =>
    (await s.atFrom<{ is: boolean }>('SELECT $1::pg_lsn < $2::pg_lsn AS is', [a, b]))[0]?.is;

  test('progress is where the last applied commit ended at its origin; what is confirmed runs ahead of it', async () => {
    const s = await streaming({ publication: 'FOR TABLE account' });
    await s.atFrom(`INSERT INTO account VALUES ('1')`);
    await s.settled();
    const first = await s.positions();
    // Nothing of this is published.
    await s.atFrom(`INSERT INTO item VALUES ('1', NULL)`);
    await s.settled();
    const second = await s.positions();
    expect(second.progress).toBe(first.progress);
    expect(await isBefore(s, second.progress, second.confirmed)).toBe(true);
  });

  test('a slot goes back when its server crashes; what is sent again is not applied again', async () => {
    const s = await streaming();
    await s.atTo(`CREATE TABLE seen (id text);
      ${atApply('note_arrival', 'AFTER INSERT ON item FOR EACH ROW', `INSERT INTO public.seen VALUES (NEW.id); RETURN NULL;`)}
      ALTER TABLE item ENABLE REPLICA TRIGGER note_arrival`);
    await s.atFrom('CHECKPOINT');
    for (const id of ['1', '2', '3']) await s.atFrom('INSERT INTO item VALUES ($1, NULL)', [id]);
    await s.settled();
    const before = await s.positions();
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
    await expect.poll(() => s.worker(), wait).toBeNull();
    await s.from.cluster.kill();
    await s.from.cluster.start();
    const after = await s.positions();
    expect(await isBefore(s, after.confirmed, before.confirmed)).toBe(true);
    expect(after.progress).toBe(before.progress);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} CONNECTION '${s.from.urls.superuser}'`);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
    await s.atFrom(`INSERT INTO item VALUES ('4', NULL)`);
    await s.settled();
    expect(await ids(s.atTo, 'seen')).toBe('1 2 3 4');
  });

  test('a reader begins where its origin was advanced to', async () => {
    const s = await streaming();
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
    await expect.poll(() => s.worker(), wait).toBeNull();
    await s.atFrom(`INSERT INTO item VALUES ('passed over', NULL)`);
    const [at] = await s.atFrom<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
    await s.atFrom(`INSERT INTO item VALUES ('read', NULL)`);
    await s.atTo(`SELECT pg_replication_origin_advance('pg_' || oid, $2) FROM pg_subscription WHERE subname = $1`, [
      subscriptionOf(s),
      at?.lsn,
    ]);
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
    await s.settled();
    expect(await ids(s.atTo, 'item')).toBe('read');
  });

  test('a slot that lost its log makes an error without end', async () => {
    const s = await streaming();
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
    await expect.poll(() => s.worker(), wait).toBeNull();
    const status = async () =>
      (await s.atFrom<{ wal_status: string }>('SELECT wal_status FROM pg_replication_slots'))[0]?.wal_status;
    await s.atFrom(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
    await s.atFrom('SELECT pg_reload_conf()');
    try {
      for (let i = 0; i < 4; i += 1) await s.atFrom(`INSERT INTO item VALUES (${i}, NULL); SELECT pg_switch_wal()`);
      await s.atFrom('CHECKPOINT');
      await expect.poll(status, wait).toBe('lost');
    } finally {
      await s.atFrom('ALTER SYSTEM RESET max_slot_wal_keep_size');
      await s.atFrom('SELECT pg_reload_conf()');
    }
    await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
    // It is no error of applying: what comes and goes is the worker.
    const workers = new Set<number>();
    await expect
      .poll(
        async () => {
          const pid = await s.worker();
          if (pid !== null) workers.add(pid);
          return workers.size;
        },
        { timeout: 15_000, interval: 5 },
      )
      .toBeGreaterThanOrEqual(2);
    expect(await status()).toBe('lost');
    expect(await ids(s.atTo, 'item')).toBe('');
  });

  test('a database restored from an older copy of its files has a gap that never arrives, and nobody says so', {
    timeout: 120_000,
  }, async () => {
    // Of its own, as its files are copied whole.
    const small = await testCluster();
    onTestFinished(() => small.stop());
    stream = await rawStream([small, clusters[1]], schema);
    const s = stream;
    const { cluster } = s.from;
    const [data, copy] = [join(cluster.dir, 'data'), join(cluster.dir, 'copy')];
    /** Stops, does this to the files, starts. */
    const restart = async (between: () => Promise<unknown>) => {
      await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} DISABLE`);
      await expect.poll(() => s.worker(), wait).toBeNull();
      await cluster.stop();
      await between();
      await cluster.start();
      await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} CONNECTION '${s.from.urls.superuser}'`);
      await s.atTo(`ALTER SUBSCRIPTION ${subscriptionOf(s)} ENABLE`);
    };
    await restart(() => copyFiles(data, copy));
    await s.atFrom(`INSERT INTO item SELECT 'lost ' || i, NULL FROM generate_series(1, 200) i`);
    await s.settled();
    await restart(async () => {
      await rm(data, { recursive: true });
      await copyFiles(copy, data);
    });
    expect(await ids(s.atFrom, 'item')).toBe('');
    await s.atFrom(`INSERT INTO item VALUES ('in the gap', NULL)`);
    // More log than there was before the restore.
    await s.atFrom(`SELECT pg_logical_emit_message(true, 'filler', repeat('x', 100000)) FROM generate_series(1, 10)`);
    await s.atFrom(`INSERT INTO item VALUES ('after it', NULL)`);
    await s.settled();
    const arrived = (await ids(s.atTo, 'item')).split(/ (?=lost|in|after)/);
    expect(arrived).toContain('after it');
    expect(arrived).not.toContain('in the gap');
    expect(await s.errors()).toBe(0);
  });
});
