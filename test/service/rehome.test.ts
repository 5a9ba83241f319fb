/** Accounts moved between two real data centers by two real agents. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { deedsOf, type TestAgents, testAgents, testInstance } from '../support/agents.ts';
import { applyPair } from '../support/applied.ts';
import { runSql } from '../support/clusters.ts';
import { type TestPair, testPair } from '../support/pair.ts';

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY, name text);
CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, total integer);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO lanekeeper_application;`;
const tables = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
} as const;

let pair: TestPair;
let agents: TestAgents;
let accounts = 0;

beforeAll(async () => {
  pair = await testPair({ schema, configuration: { tables, moves: { dwell: '30s' } } });
  await applyPair(pair);
  agents = await testAgents(pair);
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await agents.untilReady('ny', 'la');
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const app = (dc: string, sql: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls.application, sql, values);

async function newAccount(dc: string): Promise<string> {
  const id = `${dc}_${++accounts}`;
  await app(dc, 'INSERT INTO accounts VALUES ($1, $2)', [id, 'Ann']);
  await app(dc, 'INSERT INTO orders VALUES ($1, $2, 1)', [`${id}_o1`, id]);
  return id;
}

async function arrived(dc: string, account: string): Promise<void> {
  await expect.poll(() => app(dc, 'SELECT FROM orders WHERE account_id = $1', [account])).toHaveLength(1);
}

describe('a move', () => {
  test('takes the account to where it is written from then on', async () => {
    const account = await newAccount('ny');
    await arrived('la', account);
    await expect(app('la', 'UPDATE accounts SET name = $2 WHERE id = $1', [account, 'x'])).rejects.toMatchObject({
      code: 'LK001',
    });
    const answer = await agents.move('la', account);
    console.log(answer);
    expect(answer).toMatchObject({ kind: 'moved', home: 'la', epoch: { term: 1, counter: 1 } });
    await app('la', 'UPDATE accounts SET name = $2 WHERE id = $1', [account, 'Bea']);
    await expect(app('ny', 'UPDATE accounts SET name = $2 WHERE id = $1', [account, 'x'])).rejects.toMatchObject({
      code: 'LK001',
    });
  });
});
