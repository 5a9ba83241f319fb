/**
 * Tables that are written in every data center, with agents and the SDK in two of them: direct writes that some have and
 * others not, buffered ones through the log, and processes that are killed in the middle.
 */
import { createLanekeeper, type DirectWrite, type Lanekeeper } from 'lanekeeper';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { missingNats, type TestNats, testNats } from '../support/nats.ts';
import { type TestPair, testPair } from '../support/pair.ts';

/** `told` counts how often a row was really written: what has effect twice is seen there. */
const schema = `
CREATE TABLE notes (id text PRIMARY KEY, body text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE prices (id text PRIMARY KEY, cents bigint NOT NULL);
CREATE TABLE told (id text NOT NULL, body text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.told VALUES (NEW.id, NEW.body);
  RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION tell();
GRANT SELECT, INSERT, UPDATE, DELETE ON notes, prices TO lanekeeper_application;`;

type Note = { id: string; body: string };
const both = ['ny', 'la'] as const;
const missing = missingNats();

describe.skipIf(missing !== null).each(['nats (needs nats-server)'])('%s', () => shared('nats'));
describe('postgres', () => shared('postgres'));

function shared(store: 'postgres' | 'nats'): void {
  let nats: TestNats | null = null;
  let pair: TestPair;
  let agents: TestAgents;
  const sdks = new Map<string, Lanekeeper>();
  const on = (dc: string, sql: string, values?: unknown[]) => runSql(pair.dc(dc).urls.superuser, sql, values);
  const notes = (dc: string) => sdk(dc).everywhere<Note>('notes');
  const prices = (dc: string) => sdk(dc).everywhere<{ id: string; cents: number }>('prices');
  const sdk = (dc: string) => sdks.get(dc) as Lanekeeper;
  const rows = (dc: string, table: string) => on(dc, `SELECT t::text AS row FROM ${table} t ORDER BY 1`);
  const untilEqual = (table: string, withinMs = 30_000) =>
    eventually(
      agents,
      `${table} is the same everywhere`,
      async () => {
        const [ny, la] = await Promise.all(both.map((dc) => rows(dc, table)));
        expect(ny).toEqual(la);
        for (const dc of both) {
          const waiting = await on(dc, 'SELECT * FROM lanekeeper.buffer_lag()');
          expect(waiting).toEqual([]);
          if (store === 'nats')
            expect((await agents.status(dc)).buffer?.drains.every((one) => one.waiting === 0)).toBe(true);
        }
      },
      withinMs,
    );
  const open = async (dc: string) =>
    sdks.set(dc, await createLanekeeper({ config: agents.configuration(dc), env: pair.dc(dc).env }));

  beforeAll(async () => {
    nats = store === 'nats' ? await testNats({ servers: 1 }) : null;
    pair = await testPair({
      schema,
      configuration: {
        approach: 'active-passive',
        tables: { notes: { class: 'cache', writes: 'buffered' }, prices: { class: 'cache', writes: 'direct' } },
        ignore: ['public.told'],
        buffer: nats === null ? { retry: '1s' } : { store: 'nats', urls: [...nats.urls], retry: '1s' },
      },
    });
    await applyPair(pair);
    agents = await testAgents(pair);
    for (const dc of both) await agents.start(dc);
    await agents.untilReady(...both);
    for (const dc of both) await open(dc);
  });
  afterAll(async () => {
    for (const one of sdks.values()) await one.close();
    await agents?.stop();
    await pair?.stop();
    await nats?.stop();
  });
  beforeEach(async () => {
    for (const dc of both)
      await on(
        dc,
        `SET session_replication_role = replica; DELETE FROM notes; DELETE FROM prices; DELETE FROM told; DELETE FROM lanekeeper.spread;
         DELETE FROM lanekeeper.buffer_waiting; DELETE FROM lanekeeper.buffer_log; DELETE FROM lanekeeper.buffer_aside;`,
      );
  });

  test('a buffered write is acknowledged with its durability, and arrives everywhere, once', async () => {
    const put = await notes('ny').put({ id: 'a', body: 'first' });
    expect(put).toEqual({
      kind: 'buffered',
      durability: store === 'nats' ? 'unsynced' : 'local',
      position: expect.stringMatching(/^\d+$/),
    });
    await notes('la').put({ id: 'b', body: 'from la' });
    await untilEqual('notes');
    expect(await on('la', 'SELECT id, body FROM notes ORDER BY id')).toEqual([
      { id: 'a', body: 'first' },
      { id: 'b', body: 'from la' },
    ]);
    await notes('la').remove({ id: 'a' });
    await untilEqual('notes');
    expect(await on('ny', 'SELECT id FROM notes')).toEqual([{ id: 'b' }]);
    expect(await on('ny', 'SELECT id FROM told ORDER BY id')).toEqual([{ id: 'a' }, { id: 'b' }]);
  });

  test('verify compares what is on its way nowhere', async () => {
    const verify = async () => {
      const { stdout, exitCode } = await agents.command('ny', 'verify', '--table', 'public.notes', '--json');
      const { tables } = JSON.parse(stdout) as { tables: { kind: string; differences: number }[] };
      return { exitCode, tables };
    };
    for (let n = 0; n < 20; n++) await notes(n % 2 ? 'ny' : 'la').put({ id: `v${n}`, body: 'x' });
    expect(await verify()).toMatchObject({ exitCode: 0, tables: [{ kind: 'equal' }] });
    // Also what the data center that took it has not drained into itself.
    const holder = new Client({ connectionString: pair.dc('ny').urls.superuser });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE notes IN SHARE MODE');
    await notes('ny').put({ id: 'v20', body: 'x' });
    await eventually(agents, 'la has it', async () =>
      expect(await on('la', "SELECT id FROM notes WHERE id = 'v20'")).toHaveLength(1),
    );
    const verified = verify();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await holder.end();
    expect(await verified).toMatchObject({ exitCode: 0, tables: [{ kind: 'equal' }] });
    await on('la', "SET session_replication_role = replica; UPDATE notes SET body = 'y' WHERE id = 'v3'");
    expect(await verify()).toMatchObject({ exitCode: 1, tables: [{ kind: 'differs', differences: 1 }] });
    const repair = await agents.command('ny', 'verify', '--table', 'public.notes', '--repair');
    expect(repair.stdout).toMatch(/put the row once more/);
    await notes('ny').put({ id: 'v3', body: 'z' });
    expect(await verify()).toMatchObject({ exitCode: 0, tables: [{ kind: 'equal' }] });
  }, 90_000);

  test('a wrong row is refused at once, with PostgreSQL’s own code', async () => {
    await expect(notes('ny').put({ id: 'a' } as Note)).rejects.toMatchObject({ code: '23502' });
    await expect(notes('ny').put({ id: 'a', body: 'x', more: 1 } as Note)).rejects.toMatchObject({ code: '42703' });
    expect(() => sdk('ny').everywhere('told')).toThrow(/not in the configuration/);
    expect(await on('ny', 'SELECT * FROM lanekeeper.buffer_log')).toEqual([]);
  });

  test('writes to the same keys from both data centers at once end alike, the last of each in order', async () => {
    const work = both.map(async (dc) => {
      for (let n = 0; n < 40; n++) await notes(dc).put({ id: `k${n % 3}`, body: `${dc} ${n}` });
    });
    await Promise.all(work);
    await untilEqual('notes');
    for (const { body } of (await on('ny', 'SELECT body FROM notes')) as { body: string }[])
      expect(Number(body.split(' ')[1])).toBeGreaterThanOrEqual(37);
  });

  // The same whatever the log.
  const onPostgres = store === 'postgres' ? test : () => {};
  onPostgres('what a data center refuses is set aside, nobody waits behind it, and a person decides', async () => {
    await on('la', "ALTER TABLE notes ADD CONSTRAINT polite CHECK (body <> 'rude')");
    try {
      await notes('ny').put({ id: 'x', body: 'rude' });
      await notes('ny').put({ id: 'y', body: 'rude' });
      await notes('ny').put({ id: 'z', body: 'rude' });
      for (let n = 0; n < 5; n++) await notes('ny').put({ id: `n${n}`, body: 'fine' });
      await eventually(agents, 'poison', async () => {
        expect(await on('la', 'SELECT count(*)::int AS n FROM notes')).toEqual([{ n: 5 }]);
        expect(await on('ny', 'SELECT count(*)::int AS n FROM notes')).toEqual([{ n: 8 }]);
        expect(await on('ny', "SELECT count(*)::int AS n FROM lanekeeper.buffer_aside WHERE state = 'poison'")).toEqual(
          [{ n: 3 }],
        );
      });
      const listed = await agents.command('ny', 'buffer', 'poison', '--json');
      const { entries } = JSON.parse(listed.stdout) as { entries: { id: string; key: string[] }[] };
      expect(entries).toHaveLength(3);
      expect(entries[0]).toMatchObject({
        target: 'la',
        relation: 'public.notes',
        sqlstate: '23514',
        state: 'poison',
      });
      await expect.poll(async () => (await agents.status('ny')).problems.join()).toMatch(/3 writes set aside/);
      const status = await agents.command('ny', 'buffer', 'status');
      expect(status.exitCode).toBe(1);
      expect(status.stdout).toMatch(/3 writes set aside/);

      // A later write to the same key goes on, and then the older one has nothing to say.
      await notes('ny').put({ id: 'x', body: 'sorry' });
      await eventually(agents, 'the later one', async () =>
        expect(await on('la', "SELECT body FROM notes WHERE id = 'x'")).toEqual([{ body: 'sorry' }]),
      );
      const idOf = (key: string) => entries.find((one) => one.key[0] === key)?.id as string;
      expect((await agents.command('ny', 'buffer', 'retry', idOf('x'))).exitCode).toBe(0);
      await eventually(agents, 'the older one is settled', async () =>
        expect(await on('ny', "SELECT id FROM lanekeeper.buffer_aside WHERE key = '{x}'")).toEqual([]),
      );
      expect(await on('la', "SELECT body FROM notes WHERE id = 'x'")).toEqual([{ body: 'sorry' }]);
      expect((await agents.command('ny', 'buffer', 'discard', idOf('z'), '--reason', 'rude')).exitCode).toBe(0);
    } finally {
      await on('la', 'ALTER TABLE notes DROP CONSTRAINT polite');
    }
    expect((await agents.command('ny', 'buffer', 'retry', '--all')).exitCode).toBe(0);
    await eventually(agents, 'retried', async () =>
      expect(await on('la', "SELECT id FROM notes WHERE body = 'rude'")).toEqual([{ id: 'y' }]),
    );
    expect((await agents.command('ny', 'buffer', 'poison')).stdout).toMatch(/nothing is set aside/);
    expect((await agents.command('ny', 'buffer', 'status')).exitCode).toBe(0);
  });

  describe('crashes', () => {
    /** Puts until `stop`; what was acknowledged must be in the end, each once. */
    const flood = (dc: string) => {
      const acknowledged = new Set<string>();
      let stopped = false;
      const done = (async () => {
        for (let n = 0; !stopped; n++) {
          const id = `${dc}-${n}`;
          await notes(dc)
            .put({ id, body: 'x' })
            .then(
              () => acknowledged.add(id),
              () => new Promise((resolve) => setTimeout(resolve, 50)),
            );
        }
      })();
      return {
        acknowledged,
        stop: async () => {
          stopped = true;
          await done;
        },
      };
    };
    const check = async (acknowledged: ReadonlySet<string>) => {
      expect(acknowledged.size).toBeGreaterThan(10);
      await untilEqual('notes', 60_000);
      for (const dc of both) {
        const ids = new Set(((await on(dc, 'SELECT id FROM notes')) as { id: string }[]).map(({ id }) => id));
        expect([...acknowledged].filter((id) => !ids.has(id))).toEqual([]);
        expect(await on(dc, 'SELECT id, count(*) FROM told GROUP BY id HAVING count(*) > 1')).toEqual([]);
      }
    };
    const during = async (fault: () => Promise<void>) => {
      const writing = flood('ny');
      const some = () => expect.poll(() => writing.acknowledged.size, { timeout: 20_000 });
      await some().toBeGreaterThan(20);
      await fault();
      const before = writing.acknowledged.size;
      await some().toBeGreaterThan(before + 20);
      await writing.stop();
      await check(writing.acknowledged);
    };

    test(
      'the data center that is drained into',
      () =>
        during(async () => {
          await pair.dc('la').cluster.kill();
          await new Promise((resolve) => setTimeout(resolve, 500));
          await pair.dc('la').cluster.start();
        }),
      90_000,
    );

    test(
      'the database here, and with it the log or what leads to it',
      () =>
        during(async () => {
          await pair.dc('ny').cluster.kill();
          await pair.dc('ny').cluster.start();
          // Its port may be another one.
          await agents.untilReady('ny');
        }),
      90_000,
    );

    const onNats = store === 'nats' ? test : () => {};
    onNats(
      'NATS',
      () =>
        during(async () => {
          await nats?.kill(0);
          await new Promise((resolve) => setTimeout(resolve, 500));
          await nats?.start(0);
        }),
      90_000,
    );
  });

  test('the agent that drains is killed', async () => {
    await agents.stop();
    const writes: Promise<unknown>[] = [];
    const child = await agents.spawn('ny');
    await agents.start('la');
    await agents.untilReady('ny', 'la');
    for (let n = 0; n < 400; n++) {
      writes.push(notes('ny').put({ id: `k${n}`, body: 'x' }));
      if (n % 20 === 0) await Promise.allSettled(writes);
      if (n === 300) child.signal('SIGKILL');
    }
    const done = (await Promise.allSettled(writes)).filter(({ status }) => status === 'fulfilled').length;
    expect(done).toBeGreaterThan(100);
    await child.exited;
    await agents.start('ny');
    await agents.untilReady('ny');
    await untilEqual('notes', 60_000);
    const [count] = (await on('la', 'SELECT count(*)::int AS n FROM notes')) as [{ n: number }];
    expect(count.n).toBeGreaterThanOrEqual(done);
    for (const dc of both)
      expect(await on(dc, 'SELECT id, count(*) FROM told GROUP BY id HAVING count(*) > 1')).toEqual([]);
  }, 90_000);

  if (store === 'nats') return;

  test('a buffered write commits or not with the caller’s transaction', async () => {
    const pool = sdk('ny').pool({ max: 1 });
    const client = await pool.connect();
    try {
      for (const end of ['ROLLBACK', 'COMMIT']) {
        await client.query('BEGIN');
        const put = await notes('ny').put({ id: end, body: 'x' }, { client });
        expect(put).toMatchObject({ durability: 'transaction' });
        await client.query(end);
      }
    } finally {
      client.release();
      await pool.end();
    }
    await untilEqual('notes');
    expect(await on('la', 'SELECT id FROM notes')).toEqual([{ id: 'COMMIT' }]);
  });

  test('what a data center lacks altogether is sent again, with the versions it had', async () => {
    for (let n = 0; n < 5; n++) await notes(n % 2 ? 'ny' : 'la').put({ id: `r${n}`, body: 'old' });
    await notes('ny').remove({ id: 'r4' });
    await prices('ny').put({ id: 'p', cents: 3 });
    await untilEqual('notes');
    await on('ny', "SET session_replication_role = replica; INSERT INTO notes VALUES ('before', 'x', '2026-01-01')");
    // As in a database that got the tables later, but for one row and an older copy of another.
    await on(
      'la',
      `SET session_replication_role = replica; DELETE FROM prices; DELETE FROM notes WHERE id <> 'r0'; DELETE FROM told;
       DELETE FROM lanekeeper.spread; INSERT INTO notes VALUES ('r4', 'gone', '2026-01-01')`,
    );
    await notes('la').put({ id: 'r1', body: 'new' });
    const sent = await agents.command('ny', 'buffer', 'resend', '--to', 'la', '--json');
    expect(JSON.parse(sent.stdout).tables).toEqual([
      { table: 'public.notes', rows: 6 },
      { table: 'public.prices', rows: 1 },
    ]);
    await untilEqual('notes');
    await untilEqual('prices');
    expect(await on('la', 'SELECT id, body FROM notes ORDER BY id')).toEqual([
      { id: 'before', body: 'x' },
      { id: 'r0', body: 'old' },
      { id: 'r1', body: 'new' },
      { id: 'r2', body: 'old' },
      { id: 'r3', body: 'old' },
    ]);
    expect((await agents.command('ny', 'buffer', 'resend', '--to', 'ny')).exitCode).toBe(2);
    expect((await agents.command('ny', 'buffer', 'resend', '--to', 'la', '--table', 'told')).exitCode).toBe(2);
  });

  test('a direct write is everywhere when it is acknowledged', async () => {
    expect(await prices('ny').put({ id: 'a', cents: 1 })).toEqual({
      kind: 'written',
      dataCenters: { ny: { kind: 'written' }, la: { kind: 'written' } },
      recordedIn: 'ny',
    });
    expect(await on('la', 'SELECT * FROM prices')).toEqual([{ id: 'a', cents: '1' }]);
    await prices('la').put({ id: 'a', cents: 2 });
    await prices('ny').remove({ id: 'b' });
    expect(await on('ny', 'SELECT * FROM prices')).toEqual([{ id: 'a', cents: '2' }]);
    await untilEqual('prices');
    await expect(prices('ny').put({ id: 'a' } as never)).rejects.toMatchObject({ code: '23502' });
  });

  test('one data center refuses: the others have it, it is known, and repaired', async () => {
    await on('la', 'ALTER TABLE prices ADD CONSTRAINT cheap CHECK (cents < 100)');
    const put = (await prices('ny').put({ id: 'a', cents: 500 })) as DirectWrite;
    expect(put).toMatchObject({ kind: 'incomplete', recordedIn: 'ny', dataCenters: { ny: { kind: 'written' } } });
    expect(put.dataCenters.la).toMatchObject({ kind: 'refused', sqlstate: '23514' });
    const here = (await prices('la').put({ id: 'b', cents: 500 })) as DirectWrite;
    expect(here.dataCenters).toMatchObject({ ny: { kind: 'written' }, la: { kind: 'refused' } });
    await eventually(agents, 'poison', async () => {
      for (const dc of both)
        expect(await on(dc, 'SELECT target, state FROM lanekeeper.buffer_aside')).toEqual([
          { target: 'la', state: 'poison' },
        ]);
    });
    await on('la', 'ALTER TABLE prices DROP CONSTRAINT cheap');
    for (const dc of both) await agents.command(dc, 'buffer', 'retry', '--all');
    await untilEqual('prices');
    expect(await on('la', 'SELECT count(*)::int AS n FROM prices')).toEqual([{ n: 2 }]);
  });

  test('all refuse: it is written nowhere, and nothing is left to repair', async () => {
    for (const dc of both) await on(dc, 'ALTER TABLE prices ADD CONSTRAINT cheap CHECK (cents < 100)');
    expect(await prices('ny').put({ id: 'a', cents: 500 })).toMatchObject({ kind: 'refused', recordedIn: null });
    for (const dc of both) {
      expect(await on(dc, 'SELECT * FROM lanekeeper.buffer_log')).toEqual([]);
      await on(dc, 'ALTER TABLE prices DROP CONSTRAINT cheap');
    }
  });

  test('one data center is down: the others have it, in order per key it is brought there later', async () => {
    await pair.dc('la').cluster.kill();
    const put = (await prices('ny').put({ id: 'a', cents: 1 })) as DirectWrite;
    expect(put).toMatchObject({ kind: 'incomplete', dataCenters: { ny: { kind: 'written' } } });
    expect(['unavailable', 'unknown']).toContain(put.dataCenters.la?.kind);
    for (let cents = 2; cents <= 5; cents++) await prices('ny').put({ id: 'a', cents });
    await prices('ny').put({ id: 'b', cents: 1 });
    await prices('ny').remove({ id: 'b' });
    await eventually(agents, 'seen by the agent', async () => {
      const status = await agents.command('ny', 'buffer', 'status', '--json');
      const { drains } = JSON.parse(status.stdout) as {
        drains: { target: string; waiting: number; problem: string }[];
      };
      const la = drains.find(({ target }) => target === 'la');
      expect(la?.waiting).toBe(7);
      expect(la?.problem).toBeTruthy();
      expect(status.exitCode).toBe(1);
    });
    await pair.dc('la').cluster.start();
    await untilEqual('prices', 60_000);
    expect(await on('la', 'SELECT * FROM prices')).toEqual([{ id: 'a', cents: '5' }]);
    await agents.untilReady('la');
  }, 90_000);

  test('the database here is down: another data center takes note, and repairs this one', async () => {
    await pair.dc('ny').cluster.kill();
    try {
      const put = (await prices('ny').put({ id: 'a', cents: 7 })) as DirectWrite;
      expect(put).toMatchObject({ kind: 'incomplete', recordedIn: 'la', dataCenters: { la: { kind: 'written' } } });
      expect(['unavailable', 'unknown']).toContain(put.dataCenters.ny?.kind);
    } finally {
      await pair.dc('ny').cluster.start();
    }
    await agents.untilReady('ny');
    await untilEqual('prices', 60_000);
    expect(await on('ny', 'SELECT * FROM prices')).toEqual([{ id: 'a', cents: '7' }]);
  }, 90_000);

  test('the application dies half-way: what it began is finished', async () => {
    await runSql(
      pair.dc('ny').urls.application,
      `SELECT lanekeeper.direct_begin('public.prices', '{"id": "half", "cents": 1}', false, interval '1 second')`,
    );
    expect(await on('la', 'SELECT * FROM prices')).toEqual([]);
    await untilEqual('prices');
    expect(await on('la', 'SELECT * FROM prices')).toEqual([{ id: 'half', cents: '1' }]);
  });
}
