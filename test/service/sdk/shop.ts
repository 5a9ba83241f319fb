/** A small shop in two data centers, without agents: the test moves accounts itself, step by step, as an agent would. */
import type { WrittenConfiguration } from 'lanekeeper/config';
import { Client } from 'pg';
import { applyPair, lease } from '../../support/applied.ts';
import { runSql } from '../../support/clusters.ts';
import { type TestPair, testPair } from '../../support/pair.ts';

export const shopSchema = `
  CREATE TABLE accounts (id text PRIMARY KEY, name text NOT NULL);
  CREATE TABLE orders (id text PRIMARY KEY, account_id text NOT NULL REFERENCES accounts, total integer NOT NULL DEFAULT 0);
  CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, page text NOT NULL);
  GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON accounts, orders, visits TO lanekeeper_application;
`;

export const shopTables: WrittenConfiguration['tables'] = {
  accounts: { class: 'system-of-record', account: 'id', root: true },
  orders: { class: 'system-of-record', account: 'account_id' },
  visits: { class: 'session-state' },
};

export type Shop = {
  readonly pair: TestPair;
  /** The environment of an application's process in that data center. */
  env(dc: string): NodeJS.ProcessEnv;
  /** Creates accounts at a data center and waits until the other one has them. */
  register(dc: string, ...accounts: string[]): Promise<void>;
  /** Rehome: drain, wait for the instances, give, wait for the deed, accept. */
  move(account: string, to: string, options?: MoveByHand): Promise<void>;
  stop(): Promise<void>;
};

export type MoveByHand = {
  /** How long instances get to finish what is in flight. Default 5000. */
  readonly drainMs?: number;
  /** Go on when they have not: then only the database keeps order. Default: give up. */
  readonly evenIfBusy?: boolean;
  /** Called at each step. */
  readonly at?: (step: 'draining' | 'drained' | 'given' | 'arrived') => Promise<void> | void;
};

/** Longer than any test, since nobody renews it. */
const leaseMs = 600_000;

/** `configuration`: laid over the shop's own. `more`: tables beside the shop's. */
export async function startShop(
  configuration: Partial<Omit<WrittenConfiguration, 'dataCenters'>> = {},
  more = '',
): Promise<Shop> {
  const pair = await testPair({
    schema: `${shopSchema}${more}`,
    configuration: { tables: shopTables, ...configuration },
  });
  try {
    await applyPair(pair);
    for (const name of pair.names) await lease(pair.dc(name), leaseMs);
  } catch (error) {
    await pair.stop();
    throw error;
  }
  return {
    pair,
    env: (dc) => ({ ...pair.dc(dc).env, DATABASE_URL: pair.dc(dc).urls.application }),
    async register(dc, ...accounts) {
      await runSql(pair.dc(dc).urls.application, 'INSERT INTO accounts SELECT a, a FROM unnest($1::text[]) a', [
        accounts,
      ]);
      for (const name of pair.names) await untilDeeds(pair, name, accounts);
    },
    move: (account, to, options) => move(pair, account, to, options),
    stop: () => pair.stop(),
  };
}

async function untilDeeds(pair: TestPair, dc: string, accounts: readonly string[]): Promise<void> {
  await until(`deeds in ${dc}`, async () => {
    const [row] = await runSql<{ n: number }>(
      pair.dc(dc).urls.superuser,
      'SELECT count(*)::integer AS n FROM lanekeeper.deed WHERE account = ANY ($1)',
      [accounts],
    );
    return row?.n === accounts.length;
  });
}

export async function until(what: string, holds: () => Promise<boolean> | boolean, timeoutMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function move(
  pair: TestPair,
  account: string,
  to: string,
  { drainMs = 5_000, evenIfBusy = false, at }: MoveByHand = {},
): Promise<void> {
  const [where] = await runSql<{ home: string; term: string; counter: string }>(
    pair.dc(to).urls.superuser,
    'SELECT home, term, counter FROM lanekeeper.deed WHERE account = $1',
    [account],
  );
  if (!where || where.home === to) throw new Error(`${account} cannot move to ${to}`);
  const giver = new Client({ connectionString: pair.dc(where.home).urls.agent });
  const receiver = new Client({ connectionString: pair.dc(to).urls.agent });
  await Promise.all([giver.connect(), receiver.connect()]);
  try {
    const pending = await drain(giver, account, to, drainMs, at);
    if (pending > 0 && !evenIfBusy) {
      await giver.query('SELECT lanekeeper.end_drain(move) FROM lanekeeper.drain WHERE account = $1', [account]);
      throw new Error(`${pending} instances had not drained ${account} in ${drainMs} ms`);
    }
    await at?.('drained');
    await giver.query('BEGIN; SET LOCAL lock_timeout = 5000');
    const given = await giver.query('SELECT * FROM lanekeeper.give($1, $2, $3, $4)', [
      account,
      to,
      where.term,
      where.counter,
    ]);
    await giver.query('COMMIT');
    const { kind, term, counter } = given.rows[0];
    if (kind !== 'given') throw new Error(`${where.home} did not give ${account}: ${kind}`);
    await at?.('given');
    await until(`the deed of ${account} in ${to}`, async () => {
      const { rows } = await receiver.query('SELECT counter FROM lanekeeper.deed WHERE account = $1', [account]);
      return Number(rows[0].counter) >= Number(counter);
    });
    await at?.('arrived');
    const accepted = await receiver.query('SELECT * FROM lanekeeper.accept($1, $2, $3)', [account, term, counter]);
    if (accepted.rows[0].kind !== 'accepted') throw new Error(`${to} did not accept: ${JSON.stringify(accepted.rows)}`);
  } finally {
    await Promise.all([giver.end(), receiver.end()]);
  }
}

/** Returns how many instances had not reported when the time was up. */
async function drain(
  giver: Client,
  account: string,
  to: string,
  drainMs: number,
  at: MoveByHand['at'],
): Promise<number> {
  const heard: { move: number; instance: string }[] = [];
  giver.on('notification', ({ payload }) => {
    const message = JSON.parse(payload ?? '{}');
    if (message.kind === 'drained') heard.push(message);
  });
  await giver.query('LISTEN lanekeeper_agent');
  const begun = await giver.query('SELECT lanekeeper.begin_drain($1, $2, $3) AS move', [
    account,
    to,
    Date.now() + drainMs,
  ]);
  const number = Number(begun.rows[0].move);
  const { rows } = await giver.query('SELECT instance FROM lanekeeper.instances() AS instance');
  const waiting = new Set(rows.map((row) => row.instance as string));
  await at?.('draining');
  const deadlineMs = performance.now() + drainMs;
  while (waiting.size > 0 && performance.now() < deadlineMs) {
    for (const { move, instance } of heard) if (move === number) waiting.delete(instance);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return waiting.size;
}
