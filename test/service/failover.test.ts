/** Whole data centers that fail, switch and hand back, with real agents on real clusters. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, note text);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;

let pair: TestPair;
let agents: TestAgents;

async function setUp(): Promise<void> {
  pair = await testPair({
    schema,
    configuration: { tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } },
  });
  await applyPair(pair);
  agents = await testAgents(pair, {
    change: (written) => ({
      ...written,
      leases: { ...written.leases, ttl: '2s', renewEvery: '500ms', skew: '500ms' },
    }),
  });
}

const sql = (role: 'application' | 'agent' | 'superuser', dc: string, text: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls[role], text, values);
const write = (dc: string, account: string, note: string) =>
  sql('application', dc, 'UPDATE accounts SET note = $2 WHERE id = $1', [account, note]);
const born = (dc: string, account: string) => sql('application', dc, 'INSERT INTO accounts (id) VALUES ($1)', [account]);

async function eventually<T>(what: string, look: () => Promise<T>, withinMs = 15_000): Promise<T> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > endMs) {
        const log = agents.log.slice(-30).map((entry) => JSON.stringify(entry));
        throw new Error(`${what}: ${String(error)}\n${log.join('\n')}`);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const inSync = (dc: string) =>
  eventually(`${dc} in sync`, async () => expect((await agents.status(dc)).sync.recorded).toHaveLength(1));

describe('a data center is killed', () => {
  beforeAll(setUp);
  afterEach(() => agents.stop());
  afterAll(() => pair?.stop());

  test('the other one takes over what it held, once its lease has run out', async () => {
    const [ny] = [await agents.start('ny'), await agents.start('la')];
    await agents.untilReady('ny', 'la');
    await inSync('ny');
    await born('ny', 'ny_1');
    await born('la', 'la_1');
    await eventually('arrival', async () => expect(await sql('agent', 'la', `SELECT FROM lanekeeper.deed WHERE account = 'ny_1'`)).toHaveLength(1));
    await expect(write('la', 'ny_1', 'too early')).rejects.toMatchObject({ code: 'LK001' });

    const killedMs = performance.now();
    await pair.dc('ny').cluster.kill();
    await Promise.race([ny.close(), new Promise((resolve) => setTimeout(resolve, 100))]);
    await eventually('la writes what ny held', () => write('la', 'ny_1', 'taken'));
    console.log('took', performance.now() - killedMs);
    await write('la', 'la_1', 'mine');
    const [row] = await sql('agent', 'la', 'SELECT * FROM lanekeeper.succession');
    expect(row).toMatchObject({ term: '2', kind: 'take', from_dc: 'ny', to_dc: 'la' });
    expect(await sql('agent', 'la', 'SELECT account FROM lanekeeper.adoption')).toEqual([{ account: 'ny_1' }]);

    await pair.dc('ny').cluster.start();
    await agents.start('ny');
    await eventually('ny knows', async () => expect((await agents.status('ny')).rejoin).not.toBeNull());
    await expect(write('ny', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK003' });
  });
});

describe('a planned switchover', () => {
  beforeAll(setUp);
  afterEach(() => agents.stop());
  afterAll(() => pair?.stop());

  test('moves everything with one row, and back', async () => {
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await agents.untilReady('ny', 'la');
    await born('ny', 'ny_1');
    await born('la', 'la_1');
    const answer = await agents.call('ny', 'ny', { method: 'POST', path: '/v1/switchovers', body: { to: 'la' } });
    expect(answer.body).toMatchObject({ kind: 'switched', term: 2 });
    console.log(answer.body);
    await eventually('la writes', () => write('la', 'ny_1', 'switched'));
    await expect(write('ny', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
    await born('ny', 'ny_2');
    await born('la', 'la_2');
    const back = await eventually('handed back', async () => {
      const { body } = await agents.call('la', 'la', { method: 'POST', path: '/v1/switchovers', body: { to: 'ny', undoes: 2 } });
      expect(body).toMatchObject({ kind: 'switched', term: 3 });
      return body;
    });
    console.log(back);
    await eventually('ny writes', () => write('ny', 'ny_1', 'back'));
    await write('la', 'la_1', 'still here');
    await expect(write('la', 'ny_1', 'old')).rejects.toMatchObject({ code: 'LK001' });
    await expect(write('ny', 'la_2', 'never there')).rejects.toMatchObject({ code: 'LK001' });
  });
});
