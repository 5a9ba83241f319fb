/**
 * From one approach to another, one data center after the other, while both have agents: docs/guides/approaches.md, tried. What is
 * not safe is refused with what to do first, and at no moment do both data centers write one account.
 */
import { type ApplyResult, applyChanges, planChanges } from '@lanekeeper/server/postgres';
import type { ApproachName } from 'lanekeeper/model';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type TestAgents, testAgents } from '../support/agents.ts';
import { applyPair, connectAs } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { eventually } from '../support/eventually.ts';
import { type TestPair, testPair } from '../support/pair.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, email text UNIQUE, name text);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, total integer);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO lanekeeper_application;`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
} as const;

type Side = 'ny' | 'la';
let pair: TestPair;
let agents: TestAgents;

beforeAll(async () => {
  const moves = { dwell: '0s', perHour: 100, drain: '1s' };
  // Nobody takes over because this machine is busy.
  const failover = { mode: 'manual' as const };
  pair = await testPair({ schema, configuration: { tables, moves, failover } });
  await applyPair(pair);
  agents = await testAgents(pair);
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await agents.untilReady('ny', 'la');
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const app = (dc: Side, sql: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls.application, sql, values);
const look = <Row = Record<string, unknown>>(dc: Side, sql: string, values: unknown[] = []) =>
  runSql<Row>(pair.dc(dc).urls.superuser, sql, values);
const register = (dc: Side, id: string) => app(dc, 'INSERT INTO accounts VALUES ($1, $1, $1)', [id]);
const rename = (dc: Side, id: string) =>
  app(dc, 'UPDATE accounts SET name = name || $2 WHERE id = $1 RETURNING id', [id, dc]);
const homeOf = async (id: string, seenFrom: Side = 'ny') =>
  (await look<{ home: string }>(seenFrom, 'SELECT home FROM lanekeeper.where_is($1)', [id]))[0]?.home;

/** Until this account may be written there, as after a move or a succession that has just happened. */
const writable = (dc: Side, id: string) => eventually(agents, `${id} is written in ${dc}`, () => rename(dc, id));

function underApproach(dc: Side, approach: ApproachName) {
  return pair.configure(dc, (written) => ({ ...written, approach }));
}
const apply = (dc: Side, approach: ApproachName): Promise<ApplyResult> =>
  applyChanges(connectAs(pair.dc(dc), 'owner'), underApproach(dc, approach));

/** Why it is refused. */
async function refusal(dc: Side, approach: ApproachName): Promise<string> {
  const result = await apply(dc, approach);
  if (result.kind !== 'refused') throw new Error(`${approach} in ${dc}: ${result.kind}`);
  return result.problems.map(({ message }) => message).join('\n');
}

/** What the other one has said takes a moment to arrive. */
async function applied(dc: Side, approach: ApproachName): Promise<void> {
  await eventually(agents, `${approach} is applied in ${dc}`, async () => {
    const result = await apply(dc, approach);
    if (result.kind !== 'applied') throw new Error(JSON.stringify(result));
    expect(result.postponed).toEqual([]);
  });
  const planned = await planChanges(connectAs(pair.dc(dc), 'owner'), underApproach(dc, approach));
  expect(planned).toMatchObject({ kind: 'planned', plan: { steps: [], problems: [] } });
  expect(await look(dc, 'SELECT * FROM lanekeeper.fence_proof()')).toEqual([]);
}

test('a home for each account → one home for all: everything is brought together first, and the home changes last', async () => {
  await register('ny', 'n1');
  await register('la', 'l1');
  await expect.poll(() => homeOf('l1'), { timeout: 20_000 }).toBe('la');
  await expect.poll(() => homeOf('n1', 'la'), { timeout: 20_000 }).toBe('ny');

  for (const dc of ['ny', 'la'] as const) {
    expect(await refusal(dc, 'active-passive')).toBe(
      'With one home for all, everything would be written in ny, and 1 account is at home elsewhere, for example l1 in la: `lanekeeper switchover --from la --to ny` brings everything there, then apply this again.',
    );
  }
  const switched = await agents.command('ny', 'switchover', '--from', 'la', '--to', 'ny');
  expect(switched, switched.stderr).toMatchObject({ exitCode: 0 });
  await writable('ny', 'l1');

  expect(await refusal('ny', 'active-passive')).toBe(
    'la still goes by a home for each account, so accounts could be born there or move there, and be written in two places: apply this configuration in la first, then here, in ny, where everything is written.',
  );
  // Until then somebody may register in la: that is told as well, and nothing is lost.
  await register('la', 'l2');
  expect(await refusal('la', 'active-passive')).toContain('for example l2 in la');
  expect((await agents.command('ny', 'switchover', '--from', 'la', '--to', 'ny')).exitCode).toBe(0);
  await writable('ny', 'l2');

  await applied('la', 'active-passive');
  await expect(register('la', 'l3')).rejects.toMatchObject({ code: 'LK001' });
  // In between ny goes by accounts, and shops on.
  await register('ny', 'n2');
  await writable('ny', 'l1');
  await applied('ny', 'active-passive');
  // No account has to be known any more.
  await register('ny', 'n3');
  expect(await look('ny', "SELECT FROM lanekeeper.deed WHERE account = 'n3'")).toEqual([]);
  for (const dc of ['ny', 'la'] as const) expect(await homeOf('n3', dc)).toBe('ny');
  await expect(rename('la', 'l1')).rejects.toMatchObject({ code: 'LK001' });
  await agents.untilReady('ny', 'la');
});

test('with one home for all a switchover moves it', async () => {
  expect((await agents.command('ny', 'switchover', '--to', 'la')).exitCode).toBe(0);
  await writable('la', 'n3');
  await expect(rename('ny', 'l1')).rejects.toMatchObject({ code: 'LK001' });
  expect((await agents.command('ny', 'switchover', '--from', 'la', '--to', 'ny')).exitCode).toBe(0);
  await writable('ny', 'n3');
});

test('one home for all → a home for each: the home changes first and gives every account its deed', async () => {
  expect(await refusal('la', 'full-active-active')).toBe(
    'Everything is written in ny, which gives every account its deed when it changes to a home for each: apply this configuration in ny first, then here.',
  );
  await applied('ny', 'full-active-active');
  expect(await homeOf('n3')).toBe('ny');
  await writable('ny', 'n3');
  await register('ny', 'n4');
  // In between la writes nothing.
  await expect(register('la', 'l5')).rejects.toMatchObject({ code: 'LK001' });
  await applied('la', 'full-active-active');
  expect(await homeOf('n3', 'la')).toBe('ny');

  await eventually(agents, 'n3 moves to la', async () => {
    expect(await agents.move('la', 'n3')).toMatchObject({ kind: expect.stringMatching(/^(moved|already-there)$/) });
  });
  await writable('la', 'n3');
  await expect(rename('ny', 'n3')).rejects.toMatchObject({ code: 'LK001' });
  await writable('ny', 'n1');
  await register('la', 'l5');
  await expect.poll(() => homeOf('l5'), { timeout: 20_000 }).toBe('la');
  await eventually(agents, 'both have the same', async () => {
    const verified = await agents.command('ny', 'verify', '--json');
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ exitCode: 0 });
  });
});

test('a switchover in the middle of it: nobody goes by accounts while another one has the home of all', async () => {
  expect((await agents.command('ny', 'switchover', '--from', 'la', '--to', 'ny')).exitCode).toBe(0);
  await writable('ny', 'n3');
  await applied('la', 'active-passive');
  const problem = async () => (await look<{ p: string }>('ny', 'SELECT lanekeeper.homes_problem() AS p'))[0]?.p;
  expect(await problem()).toBeNull();
  expect((await agents.command('ny', 'switchover', '--from', 'ny', '--to', 'la')).exitCode).toBe(0);
  await expect
    .poll(problem, { timeout: 20_000 })
    .toBe('la goes by one home for all accounts, which is la: apply that configuration here as well');
  await expect.poll(async () => (await agents.status('ny')).lease.kind, { timeout: 30_000 }).not.toBe('held');
  await writable('la', 'n3');
  await expect(register('ny', 'n9')).rejects.toMatchObject({ code: expect.stringMatching(/^LK00[13]$/) });
  await applied('ny', 'active-passive');
  await agents.untilReady('ny', 'la');
});
