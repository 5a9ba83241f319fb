/** Whole data centers that fail, switch and hand back, with real agents on real clusters. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually as eventuallyOf } from '../support/eventually.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, note text);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;

/** What `hooks.onTakeover` was told. */
const told: Record<string, unknown>[] = [];
const scaler = createServer((request, response) => {
  let body = '';
  request.on('data', (part) => (body += part));
  request.on('end', () => {
    told.push(JSON.parse(body));
    response.end();
  });
});
afterAll(() => scaler.close());

let pair: TestPair;
let agents: TestAgents;

async function setUp(ttl: `${number}s` = '2s'): Promise<void> {
  pair = await testPair({
    schema,
    configuration: { tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } },
  });
  await applyPair(pair);
  if (!scaler.listening) await new Promise<void>((resolve) => scaler.listen(0, '127.0.0.1', resolve));
  agents = await testAgents(pair, {
    change: (written) => ({
      ...written,
      hooks: { onTakeover: `http://127.0.0.1:${(scaler.address() as AddressInfo).port}/` },
      leases: { ...written.leases, ttl, renewEvery: '500ms', skew: '500ms' },
    }),
  });
}

const sql = (role: 'application' | 'agent' | 'superuser', dc: string, text: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls[role], text, values);
const write = (dc: string, account: string, note: string) =>
  sql('application', dc, 'UPDATE accounts SET note = $2 WHERE id = $1', [account, note]);
const born = (dc: string, account: string) =>
  sql('application', dc, 'INSERT INTO accounts (id) VALUES ($1)', [account]);

const eventually = <T>(what: string, look: () => Promise<T>, withinMs?: number) =>
  eventuallyOf(agents, what, look, withinMs);

const inSync = (dc: string) =>
  eventually(`${dc} in sync`, async () => expect((await agents.status(dc)).sync.recorded).toHaveLength(1));

describe('a data center is killed', () => {
  beforeAll(() => setUp());
  afterEach(() => agents.stop());
  afterAll(() => pair?.stop());

  test('the other one takes over what it held, and it comes back', async () => {
    const [ny] = [await agents.start('ny'), await agents.start('la')];
    await agents.untilReady('ny', 'la');
    await inSync('ny');
    await born('ny', 'ny_1');
    await born('la', 'la_1');
    await eventually('arrival', async () =>
      expect(await sql('agent', 'la', `SELECT FROM lanekeeper.deed WHERE account = 'ny_1'`)).toHaveLength(1),
    );
    await expect(write('la', 'ny_1', 'too early')).rejects.toMatchObject({ code: 'LK001' });

    // One that cannot reach la any more: la's stream from ny stops, and ny goes on.
    await born('ny', 'ny_2');
    await write('ny', 'ny_2', 'before');
    await eventually('arrival', async () =>
      expect(await sql('superuser', 'la', `SELECT FROM accounts WHERE note = 'before'`)).toHaveLength(1),
    );
    await sql('superuser', 'la', 'ALTER SUBSCRIPTION lanekeeper_ny_homed DISABLE');
    await write('ny', 'ny_2', 'stranded');
    await pair.dc('ny').cluster.kill();
    await Promise.race([ny.close(), new Promise((resolve) => setTimeout(resolve, 100))]);
    // It was alone when it died: what it acknowledged may be missing here, so a person decides.
    const refused = await agents.command('la', 'failover', '--from', 'ny', '--confirm', 'ny');
    expect(refused).toMatchObject({ exitCode: 1 });
    await eventually('forced', async () =>
      expect(await agents.command('la', 'failover', '--from', 'ny', '--confirm', 'ny', '--force')).toMatchObject({
        exitCode: 0,
        // How much is known although nothing has been received from it for a while.
        stdout: expect.stringMatching(/some \d+ bytes have not arrived here/),
      }),
    );
    await eventually('la writes what ny held', () => write('la', 'ny_1', 'taken'));
    await write('la', 'la_1', 'mine');
    await eventually('the scaler is told', async () =>
      expect(told).toEqual([
        expect.objectContaining({
          kind: 'takeover',
          dataCenter: 'la',
          term: 2,
          from: 'ny',
          to: 'la',
          capacity: null,
          peak: null,
        }),
      ]),
    );
    const [row] = await sql('agent', 'la', 'SELECT * FROM lanekeeper.succession');
    expect(row).toMatchObject({ term: '2', kind: 'take', from_dc: 'ny', to_dc: 'la' });
    expect(await sql('agent', 'la', 'SELECT account FROM lanekeeper.adoption')).toEqual([{ account: 'ny_1' }]);

    await pair.dc('ny').cluster.start();
    await agents.start('ny');
    await eventually(
      'ny is back',
      async () => {
        const { rejoin, lease } = await agents.status('ny');
        expect(rejoin).toBeNull();
        expect(lease.kind).toBe('held');
      },
      40_000,
    );
    // What was written there and never sent is in the ledger, and nowhere else.
    expect(
      await sql('agent', 'la', 'SELECT relation, account, image FROM lanekeeper.stranded ORDER BY sequence'),
    ).toMatchObject([{ relation: 'public.accounts', account: 'ny_2', image: ['ny_2', 'stranded'] }]);
    for (const dc of ['ny', 'la'])
      expect(await sql('superuser', dc, 'SELECT id, note FROM accounts ORDER BY id')).toEqual([
        { id: 'la_1', note: 'mine' },
        { id: 'ny_1', note: 'taken' },
        { id: 'ny_2', note: 'before' },
      ]);
    await expect(write('ny', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
    await write('la', 'ny_1', 'still');
    await Promise.all([inSync('ny'), inSync('la')]);
    const back = await agents.command('la', 'switchover', '--to', 'ny', '--hand-back');
    expect(back).toMatchObject({ exitCode: 0 });
    await eventually('ny writes again', () => write('ny', 'ny_1', 'home again'));
  }, 90_000);
});

describe('a planned switchover', () => {
  beforeAll(() => setUp());
  afterEach(() => agents.stop());
  afterAll(() => pair?.stop());

  test('moves everything with one row, and back', async () => {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    await born('ny', 'ny_1');
    await born('la', 'la_1');
    // Refused until each has seen in the lease store that the other one is there.
    await eventually('switched', async () => {
      const { body } = await agents.call('ny', 'ny', { method: 'POST', path: '/v1/switchovers', body: { to: 'la' } });
      expect(body).toMatchObject({ kind: 'switched', term: 2 });
    });
    await eventually('la writes', () => write('la', 'ny_1', 'switched'));
    await expect(write('ny', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
    await born('ny', 'ny_2');
    await born('la', 'la_2');
    await eventually('handed back', async () => {
      const { body } = await agents.call('la', 'la', {
        method: 'POST',
        path: '/v1/switchovers',
        body: { to: 'ny', undoes: 2 },
      });
      expect(body).toMatchObject({ kind: 'switched', term: 3 });
    });
    await eventually('ny writes', () => write('ny', 'ny_1', 'back'));
    await write('la', 'la_1', 'still here');
    await expect(write('la', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
    await expect(write('ny', 'la_2', 'never there')).rejects.toMatchObject({ code: 'LK001' });
  });
});

describe('a database that breaks while its agent lives', () => {
  beforeAll(() => setUp('60s'));
  afterEach(() => agents.stop());
  afterAll(() => pair?.stop());

  test('yields its lease, so that nobody waits for it to run out; it comes back by itself and stays where it was moved to', async () => {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    await inSync('ny');
    await born('ny', 'ny_1');
    await eventually('arrival', async () =>
      expect(await sql('superuser', 'la', `SELECT FROM accounts WHERE id = 'ny_1'`)).toHaveLength(1),
    );
    await pair.dc('ny').cluster.kill();
    await eventually('la writes what ny held', () => write('la', 'ny_1', 'taken'), 10_000);
    await pair.dc('ny').cluster.start();
    await eventually(
      'ny is back',
      async () => {
        const { rejoin, lease } = await agents.status('ny');
        expect([rejoin, lease.kind]).toEqual([null, 'held']);
      },
      20_000,
    );
    await born('ny', 'ny_2');
    await expect(write('ny', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
  }, 60_000);

  test('does not for a restart that takes a moment', async () => {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    const before = (await agents.status('la')).succession.history.length;
    const [backend] = await sql('superuser', 'ny', `SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'`);
    process.kill(Number(backend?.pid), 'SIGKILL');
    await eventually('ny writes again', () => born('ny', 'ny_3'), 20_000);
    expect((await agents.status('la')).succession.history).toHaveLength(before);
  }, 60_000);
});
