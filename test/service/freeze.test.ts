/** Streams that are ended for a takeover, go on after it, and are not ended again by an agent that wakes up too late. */
import { ensureStreams, freezeStreams, readFrozen, recordSuccessions, thawStreams } from '@lanekeeper/server/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyPair, connectAs } from '../support/applied.ts';
import { type TestDataCenter, type TestPair, testPair } from '../support/pair.ts';
import { using } from '../support/taken-over.ts';

let pair: TestPair;
let la: TestDataCenter;

beforeAll(async () => {
  pair = await testPair({
    schema: `CREATE TABLE accounts (id text PRIMARY KEY);
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lanekeeper_application;`,
    configuration: { tables: { accounts: { class: 'system-of-record', account: 'id', root: true } } },
  });
  la = pair.dc('la');
  await applyPair(pair);
});
afterAll(() => pair?.stop());

const withinMs = 10_000;

async function standing(): Promise<unknown> {
  return using(la.urls.agent, async (client) => {
    const { rows } = await client.query<{ enabled: boolean }>(
      'SELECT subenabled AS enabled FROM pg_subscription ORDER BY subname',
    );
    return { enabled: rows.map(({ enabled }) => enabled), frozen: await readFrozen(client) };
  });
}

test('frozen for a term that is not recorded yet, and nobody but a rejoin lets them go on', async () => {
  await using(la.urls.agent, (client) => freezeStreams(client, 'ny', 2, withinMs));
  const off = { enabled: [false, false], frozen: { ny: 2 } };
  expect(await standing()).toEqual(off);
  const { configuration, env } = la;
  await ensureStreams({ connect: connectAs(la, 'agent'), configuration, env });
  expect(await standing()).toEqual(off);
});

test('once the term is recorded and the streams go on, its takeover ends them no more; the next one does', async () => {
  const take = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null } as const;
  const on = { enabled: [true, true], frozen: {} };
  await using(la.urls.agent, async (client) => {
    const cut = await freezeStreams(client, 'ny', 2, withinMs);
    await recordSuccessions(client, [take], { ny: { generation: 1, ...cut } });
    await thawStreams(client, 'ny');
    expect(await standing()).toEqual(on);
    await freezeStreams(client, 'ny', 2, withinMs);
    expect(await standing()).toEqual(on);
    await freezeStreams(client, 'ny', 3, withinMs);
    expect(await standing()).toEqual({ enabled: [false, false], frozen: { ny: 3 } });
  });
});
