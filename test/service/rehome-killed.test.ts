/**
 * The agents of either side killed (SIGKILL) at every moment of a move: whatever was begun comes to an end, every account
 * has one home that accepts writes, nothing is lost, and no drain is left behind.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deedsOf, type TestAgents, testAgents, testInstance } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, version integer NOT NULL DEFAULT 0);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;
const tables = { accounts: { class: 'system-of-record', account: 'id', root: true } } as const;
/** When to kill, in parts of what a move takes; the later ones only until moves have ended in different ways. */
const moments = [0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.1];
const more = [1.5, 2, 0, 2.5, 3, 0.5, 4, 6];
/** Nobody begins with a move that was asked for so long ago. */
const waitMs = 2000;

let pair: TestPair;
let agents: TestAgents;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, moves: { drain: '1s' } } });
  await applyPair(pair);
  agents = await testAgents(pair);
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const as = (role: 'application' | 'agent', dc: string, text: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls[role], text, values);

describe.each(['ny', 'la'])('the agent of %s', (victim) => {
  test('killed at any moment of a move leaves every account with one home', async () => {
    const other = victim === 'ny' ? 'la' : 'ny';
    await agents.start(other);
    let process = await agents.spawn(victim);
    const instances: Awaited<ReturnType<typeof testInstance>>[] = [];
    const ends = new Map<string, number>();
    try {
      await agents.untilReady('ny', 'la');
      for (const dc of pair.names) instances.push(await testInstance(pair.dc(dc).urls.application, `${dc}-app`));
      const account = `${victim}_a`;
      await as('application', 'ny', 'INSERT INTO accounts (id) VALUES ($1)', [account]);
      await expect.poll(() => as('agent', 'la', 'SELECT FROM accounts WHERE id = $1', [account])).toHaveLength(1);
      const beganMs = performance.now();
      for (const to of ['la', 'ny', 'la', 'ny'])
        expect(await agents.move(to, account)).toMatchObject({ kind: 'moved' });
      const moveMs = (performance.now() - beganMs) / 4;
      let home = 'ny';
      let version = 0;
      for (const [index, moment] of [...moments, ...more].entries()) {
        if (index >= moments.length && ends.size > 1) break;
        const to = home === 'ny' ? 'la' : 'ny';
        const over = new Promise((resolve) => setTimeout(resolve, waitMs));
        const asked = agents.move(to, account, { waitMs }).catch(() => ({ kind: 'no answer' }));
        await new Promise((resolve) => setTimeout(resolve, moment * moveMs));
        process.signal('SIGKILL');
        await process.exited;
        const { kind } = await asked;
        ends.set(String(kind), (ends.get(String(kind)) ?? 0) + 1);
        process = await agents.spawn(victim);

        // Whoever survived may go on with it until then.
        await over;
        for (const dc of pair.names)
          await expect
            .poll(() => as('agent', dc, 'SELECT account FROM lanekeeper.drain'), { timeout: 20_000 })
            .toEqual([]);
        const deeds = async () => {
          const [ny, la] = await deedsOf(pair, account);
          return ny?.accepted && la?.accepted && ny.home === la.home && ny.counter === la.counter
            ? 'settled'
            : [ny, la];
        };
        await expect.poll(deeds, { timeout: 20_000 }).toBe('settled');
        // The home takes writes as soon as its lease is there again, and has all that was written before; the other does not.
        const write = async () => {
          home = String((await deedsOf(pair, account))[0]?.home);
          const text = 'UPDATE accounts SET version = version + 1 WHERE id = $1 RETURNING version';
          return as('application', home, text, [account]).then(
            ([row]) => row?.version,
            (error: { code: string }) => error.code,
          );
        };
        version++;
        await expect.poll(write, { timeout: 20_000, interval: 200 }).toBe(version);
        const away = home === 'ny' ? 'la' : 'ny';
        await expect(
          as('application', away, 'UPDATE accounts SET version = 0 WHERE id = $1', [account]),
        ).rejects.toMatchObject({ code: expect.stringMatching(/^LK00[13]$/) });
        await agents.untilReady('ny', 'la');
      }
    } finally {
      process.signal('SIGKILL');
      await process.exited;
      await Promise.all(instances.map((instance) => instance.close()));
      await agents.stop();
    }
    // Worth something only if some of the moves had got somewhere when they were cut short.
    expect(ends.size).toBeGreaterThan(1);
  }, 240_000);
});
