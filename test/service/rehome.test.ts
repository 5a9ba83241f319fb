/** Accounts moved between two real data centers by two real agents. */

import { readDeedLocked } from '@lanekeeper/server/postgres';
import { createKeyRing, generateKeyPair, mintAgentToken, parseSigningKey } from 'lanekeeper/session';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
  pair = await testPair({ schema, configuration: { tables, moves: { dwell: '1s', perHour: 3, drain: '1s' } } });
  await applyPair(pair);
  agents = await testAgents(pair);
  await Promise.all([agents.start('ny'), agents.start('la')]);
  await agents.untilReady('ny', 'la');
});
afterAll(async () => {
  await agents?.stop();
  await pair?.stop();
});

const as = (role: 'application' | 'agent' | 'superuser', dc: string, sql: string, values: unknown[] = []) =>
  runSql<Record<string, unknown>>(pair.dc(dc).urls[role], sql, values);
const app = (dc: string, sql: string, values: unknown[] = []) => as('application', dc, sql, values);
const rename = (dc: string, account: string, name = 'x') =>
  app(dc, 'UPDATE accounts SET name = $2 WHERE id = $1 RETURNING id', [account, name]);

/** An account with one order, known in both data centers. */
async function newAccount(dc = 'ny'): Promise<string> {
  const id = `${dc}_${++accounts}`;
  await app(dc, 'INSERT INTO accounts VALUES ($1, $2)', [id, 'Ann']);
  await app(dc, 'INSERT INTO orders VALUES ($1, $2, 1)', [`${id}_o1`, id]);
  for (const there of pair.names)
    await expect.poll(() => app(there, 'SELECT FROM orders WHERE account_id = $1', [id])).toHaveLength(1);
  return id;
}

async function settledIn(home: string, account: string, counter: number): Promise<void> {
  const deed = { home, counter, accepted: true };
  await expect.poll(() => deedsOf(pair, account), { timeout: 10_000 }).toEqual([deed, deed]);
}

/** Changes a row in one data center only, as replication that went wrong would. */
async function damage(dc: string, account: string): Promise<void> {
  const origin = `damage_${account}`;
  await as(
    'superuser',
    dc,
    `SELECT pg_replication_origin_create('${origin}'); SELECT pg_replication_origin_session_setup('${origin}');
     SET session_replication_role = replica; UPDATE orders SET total = 2 WHERE account_id = '${account}'`,
  );
}

describe('a move', () => {
  test('takes the account to where it is written from then on, and nowhere else', async () => {
    const account = await newAccount();
    await expect(rename('la', account)).rejects.toMatchObject({ code: 'LK001' });
    const answer = await agents.move('la', account);
    expect(answer).toMatchObject({ kind: 'moved', home: 'la', epoch: { term: 1, counter: 1 } });
    await rename('la', account, 'Bea');
    await expect(rename('ny', account)).rejects.toMatchObject({ code: 'LK001' });
    await settledIn('la', account, 1);
    await expect.poll(() => app('ny', 'SELECT name FROM accounts WHERE id = $1', [account])).toEqual([{ name: 'Bea' }]);
    expect(await agents.move('la', account)).toMatchObject({ kind: 'already-there', home: 'la' });
    const recent = await Promise.all(pair.names.map((dc) => agents.status(dc)));
    expect(
      recent.map(({ moves }) => moves.recent.filter((move) => move.account === account).map(({ what }) => what)),
    ).toEqual([['given'], ['accepted']]);
  });

  test('can be asked for at any agent', async () => {
    const account = await newAccount();
    const body = { account, to: 'la' };
    const { body: answer } = await agents.call('ny', 'ny', { method: 'POST', path: '/v1/moves', body });
    expect(answer).toMatchObject({ kind: 'moved', home: 'la' });
    const { body: seen } = await agents.call('ny', 'la', { method: 'GET', path: `/v1/accounts/${account}` });
    expect(seen).toEqual({
      kind: 'account',
      account,
      home: 'la',
      epoch: { term: 1, counter: 1 },
      accepted: true,
      draining: false,
      inUse: false,
    });
  });

  test('asked for many times at once is made once, and everybody is told', async () => {
    const account = await newAccount();
    // It is not given before all have asked.
    const writer = new Client({ connectionString: pair.dc('ny').urls.application });
    await writer.connect();
    await writer.query(`BEGIN; UPDATE accounts SET name = 'busy' WHERE id = '${account}'`);
    const asked = Array.from({ length: 5 }, () => agents.move('la', account));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await writer.query('COMMIT');
    await writer.end();
    const answers = await Promise.all(asked);
    expect(answers.map(({ kind }) => kind)).toEqual(Array(5).fill('moved'));
    await settledIn('la', account, 1);
  });

  test('of an account that nobody knows is refused', async () => {
    expect(await agents.move('la', 'nobody')).toMatchObject({ kind: 'refused', home: null, epoch: null });
  });

  test('back to where it is being given away from waits until that is decided', async () => {
    const account = await newAccount();
    const giver = new Client({ connectionString: pair.dc('ny').urls.agent });
    const reader = new Client({ connectionString: pair.dc('ny').urls.agent });
    await Promise.all([giver.connect(), reader.connect()]);
    try {
      await giver.query('BEGIN');
      await giver.query("SELECT lanekeeper.give($1, 'la', 1, 0)", [account]);
      expect(await agents.move('ny', account, { waitMs: 300 })).toMatchObject({ kind: 'pending', home: 'ny' });
      const asked = agents.move('ny', account);
      const read = readDeedLocked(reader, account, 'FOR UPDATE', 20_000);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await giver.query('COMMIT');
      expect(await read).toMatchObject({ home: 'la', epoch: { term: 1, counter: 1 } });
      // Refused, for it has only just come there, or made.
      expect((await asked).kind).not.toBe('already-there');
    } finally {
      await Promise.all([giver.end(), reader.end()]);
    }
  });

  test('bound to an epoch is not made when the account has moved since', async () => {
    const account = await newAccount();
    expect(await agents.move('la', account, { epoch: { term: 1, counter: 7 } })).toMatchObject({
      kind: 'refused',
      reasons: [{ code: 'epoch-changed' }],
    });
    expect(await agents.move('la', account, { epoch: { term: 1, counter: 0 } })).toMatchObject({ kind: 'moved' });
  });

  test('back and forth, 16 accounts at a time, loses no write and doubles none', async () => {
    const ids = await Promise.all(Array.from({ length: 16 }, () => newAccount()));
    let stop = false;
    const written = new Map<string, number>(ids.map((id) => [id, 0]));
    const writers = pair.names.map(async (dc) => {
      for (let n = 0; !stop; n++) {
        const id = ids[n % ids.length] as string;
        const order = `${id}_${dc}_${n}`;
        await app(dc, 'INSERT INTO orders VALUES ($1, $2, 1)', [order, id]).then(
          () => written.set(id, (written.get(id) ?? 0) + 1),
          (error: { code: string }) => expect(['LK001', 'LK004', 'LK009', '40001']).toContain(error.code),
        );
      }
    });
    try {
      for (let round = 0; round < 6; round++) {
        const answers = await Promise.all(ids.map((id) => agents.move(round % 2 === 0 ? 'la' : 'ny', id)));
        expect(new Set(answers.map(({ kind }) => kind))).toEqual(new Set(['moved']));
      }
    } finally {
      stop = true;
      await Promise.all(writers);
    }
    for (const id of ids) await settledIn('ny', id, 6);
    for (const dc of pair.names)
      for (const id of ids)
        await expect
          .poll(() => app(dc, 'SELECT count(*)::int AS n FROM orders WHERE account_id = $1', [id]))
          .toEqual([{ n: (written.get(id) ?? 0) + 1 }]);
  });
});

describe('before it is given', () => {
  test('every instance is asked to let requests in flight finish', async () => {
    const account = await newAccount();
    const instances = await Promise.all([1, 2].map((n) => testInstance(pair.dc('ny').urls.application, `ny-app-${n}`)));
    try {
      expect(await agents.move('la', account)).toMatchObject({ kind: 'moved' });
      for (const { drains } of instances) expect(drains.map((drain) => drain.account)).toEqual([account]);
    } finally {
      await Promise.all(instances.map((instance) => instance.close()));
    }
  });

  test('it is kept, and the instances are told, when one does not finish in time', async () => {
    const account = await newAccount();
    const instance = await testInstance(pair.dc('ny').urls.application, 'ny-app-1');
    try {
      instance.stuck = true;
      expect(await agents.move('la', account)).toMatchObject({
        kind: 'refused',
        home: 'ny',
        reasons: [{ code: 'not-drained', about: 'ny-app-1' }],
      });
      await expect.poll(() => instance.undrains.map((undrain) => undrain.account)).toEqual([account]);
      await rename('ny', account);
      instance.stuck = false;
      expect(await agents.move('la', account)).toMatchObject({ kind: 'moved' });
    } finally {
      await instance.close();
    }
  });

  test('an instance that dies is not waited for', async () => {
    const account = await newAccount();
    const instance = await testInstance(pair.dc('ny').urls.application, 'ny-app-1');
    instance.stuck = true;
    const moving = agents.move('la', account);
    try {
      await expect.poll(() => instance.drains).toHaveLength(1);
    } finally {
      await instance.close();
    }
    expect(await moving).toMatchObject({ kind: 'moved' });
  });

  test('a transaction that writes the account is waited for, but not for ever', async () => {
    const account = await newAccount();
    const writer = new Client({ connectionString: pair.dc('ny').urls.application });
    await writer.connect();
    try {
      const write = () => writer.query(`BEGIN; UPDATE accounts SET name = $$busy$$ WHERE id = $$${account}$$`);
      await write();
      expect(await agents.move('la', account)).toMatchObject({ kind: 'refused', reasons: [{ code: 'busy' }] });
      await writer.query('COMMIT');
      await write();
      const moving = agents.move('la', account);
      await new Promise((resolve) => setTimeout(resolve, 200));
      await writer.query('COMMIT');
      expect(await moving).toMatchObject({ kind: 'moved' });
      expect(await app('la', 'SELECT name FROM accounts WHERE id = $1', [account])).toEqual([{ name: 'busy' }]);
    } finally {
      await writer.end();
    }
  });

  test('one who asks for idle accounts gets none that is in use, has just come, or moved too often', async () => {
    const account = await newAccount();
    const ifIdle = { ifIdle: true };
    await app('ny', 'SELECT lanekeeper.touch($1)', [account]);
    expect(await agents.move('la', account, ifIdle)).toMatchObject({ kind: 'in-use', home: 'ny' });
    await as('agent', 'ny', 'DELETE FROM lanekeeper.activity');
    expect(await agents.move('la', account, ifIdle)).toMatchObject({ kind: 'moved' });
    const back = await agents.move('ny', account, ifIdle);
    expect(back).toMatchObject({ kind: 'dwelling', home: 'la' });
    expect(back.retryAfterMs).toBeLessThanOrEqual(1000);
    for (const to of ['ny', 'la']) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      expect(await agents.move(to, account, ifIdle)).toMatchObject({ kind: 'moved' });
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await agents.move('ny', account, ifIdle)).toMatchObject({ kind: 'over-budget', home: 'la' });
    expect(await agents.move('ny', account)).toMatchObject({ kind: 'moved' });
  });

  test('nothing is begun while a stream does not run', async () => {
    const account = await newAccount();
    const subscription = 'lanekeeper_ny_homed';
    await as('agent', 'la', `ALTER SUBSCRIPTION ${subscription} DISABLE`);
    try {
      await expect.poll(async () => (await agents.status('la')).peers.ny?.open, { timeout: 10_000 }).toBe(false);
      expect(await agents.move('la', account)).toMatchObject({
        kind: 'refused',
        reasons: expect.arrayContaining([expect.objectContaining({ code: 'not-streaming' })]),
      });
      await expect.poll(async () => (await agents.status('la')).problems.join()).toContain('does not run');
    } finally {
      await as('agent', 'la', `ALTER SUBSCRIPTION ${subscription} ENABLE`);
    }
    await agents.untilReady('ny', 'la');
    expect(await agents.move('la', account)).toMatchObject({ kind: 'moved' });
  });

  test('nothing is begun while a table differs', async () => {
    const account = await newAccount();
    await runSql(pair.dc('la').urls.owner, 'ALTER TABLE orders ADD COLUMN note text');
    try {
      const open = async () => [(await agents.status('la')).peers.ny?.open, (await agents.status('ny')).peers.la?.open];
      await expect.poll(open, { timeout: 10_000 }).toEqual([false, false]);
      expect(await agents.move('la', account)).toMatchObject({
        kind: 'refused',
        reasons: expect.arrayContaining([expect.objectContaining({ code: 'schema-differs' })]),
      });
    } finally {
      await runSql(pair.dc('la').urls.owner, 'ALTER TABLE orders DROP COLUMN note');
    }
    await agents.untilReady('ny', 'la');
  });
});

describe('after it is given', () => {
  test('an account whose rows did not arrive as they were goes back, and can be written where it was', async () => {
    const account = await newAccount();
    await damage('la', account);
    expect(await agents.move('la', account)).toMatchObject({
      kind: 'declined',
      home: 'ny',
      reasons: [{ code: 'digest-differs' }],
    });
    await settledIn('ny', account, 2);
    await rename('ny', account);
    await expect(rename('la', account)).rejects.toMatchObject({ code: 'LK001' });
    await expect.poll(async () => (await agents.status('la')).problems.join()).toContain('digest-differs');
    expect((await agents.status('la')).moves.recent.filter((move) => move.account === account)).toMatchObject([
      { what: 'declined', peer: 'ny' },
    ]);
  });

  test('an agent that was away accepts what was given to its data center meanwhile', async () => {
    const account = await newAccount();
    const other = await newAccount();
    const { la } = Object.fromEntries(await Promise.all(pair.names.map(async (dc) => [dc, await agents.status(dc)])));
    expect(la.lease.kind).toBe('held');
    await agents.stop();
    await runSql(pair.dc('ny').urls.agent, 'SELECT lanekeeper.set_lease(wall_ms + 5000) FROM lanekeeper.clock()');
    for (const id of [account, other]) await as('agent', 'ny', `SELECT lanekeeper.give($1, 'la', 1, 0)`, [id]);
    await damage('la', other);
    await Promise.all([agents.start('ny'), agents.start('la')]);
    await settledIn('la', account, 1);
    await settledIn('ny', other, 2);
    await rename('la', account);
    await rename('ny', other);
    await agents.untilReady('ny', 'la');
  });
});

describe('who may ask', () => {
  const call = async (token: string | null, path: string, body?: object) => {
    const [url] = agents.configuration('ny').dataCenters.ny?.agents ?? [];
    const response = await fetch(new URL(path, url), {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const tokenOf = (dc: string, atMs = Date.now()) =>
    mintAgentToken(createKeyRing(agents.configuration(dc), { env: pair.dc(dc).env }), atMs);
  const move = { account: 'a', to: 'la' };

  test('nobody without a token, with an old one, or with one that another key signed', async () => {
    const forged = (() => {
      const { privateJwk } = generateKeyPair('ny');
      const ring = createKeyRing(agents.configuration('ny'), { env: pair.dc('ny').env });
      return mintAgentToken({ ...ring, signingKey: parseSigningKey(JSON.stringify(privateJwk), 'forged') }, Date.now());
    })();
    const whole = tokenOf('ny');
    const tampered = `${whole.slice(0, -4)}AAAA`;
    for (const token of [
      null,
      forged,
      tampered,
      tokenOf('ny', Date.now() - 60_000),
      tokenOf('ny', Date.now() + 60_000),
    ])
      for (const path of ['/v1/moves', '/v1/gives', '/v1/claims'])
        expect(await call(token, path, move)).toMatchObject({ status: 401, body: { kind: 'unauthorized' } });
    expect((await call(forged, '/status')).status).toBe(401);
    expect((await call(whole, '/status')).status).toBe(200);
    expect((await call(null, '/health')).body).toMatchObject({ status: 'PASS', dataCenter: 'ny' });
  });

  test('a data center asks for accounts for itself only', async () => {
    const account = await newAccount();
    const give = { account, to: 'la', ifIdle: false, withinMs: 1000, expected: null };
    expect((await call(tokenOf('ny'), '/v1/gives', give)).status).toBe(403);
    await settledIn('ny', account, 0);
  });

  test('what makes no sense is refused before anything is done', async () => {
    for (const body of [
      {},
      { account: 'a' },
      { ...move, to: 'fra' },
      { ...move, waitMs: -1 },
      { ...move, more: 1 },
      { ...move, account: '' },
    ])
      expect(await call(tokenOf('ny'), '/v1/moves', body)).toMatchObject({ status: 400, body: { kind: 'invalid' } });
    expect((await call(tokenOf('ny'), '/v1/moves', { ...move, account: 'x'.repeat(20_000) })).status).toBe(413);
  });
});
