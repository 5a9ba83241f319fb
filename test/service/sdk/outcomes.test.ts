/** Outcome records, ids and claims through the SDK. */
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type HandAgent, startHandAgent } from './hand-agent.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
let agent: HandAgent;
let ny: Lanekeeper;
let la: Lanekeeper;
let pool: pg.Pool;

beforeAll(async () => {
  shop = await startShop();
  agent = await startHandAgent(shop.pair.dc('ny'));
  const configuration = shop.pair.configure('ny', (written) => ({
    ...written,
    claims: { email: { table: 'accounts', column: 'name', normalise: 'lower' } },
    dataCenters: { ...written.dataCenters, ny: { ...written.dataCenters.ny!, agents: [agent.url] } },
  }));
  ny = await createLanekeeper({ config: configuration, env: shop.env('ny') });
  la = await createLanekeeper({ config: shop.pair.dc('la').configuration, env: shop.env('la') });
  pool = ny.pool({ max: 8 });
  await shop.register('ny', 'a1', 'a2');
});
afterAll(async () => {
  await pool?.end();
  await ny?.close();
  await la?.close();
  await agent?.stop();
  await shop?.stop();
});

function checkout(
  account: string,
  requestId: string,
  work: () => Promise<unknown> = async () => ({ order: requestId }),
) {
  return ny.forAccount(account, async () => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      const outcome = await ny.once(requestId, client, async () => {
        const result = await work();
        await client.query('INSERT INTO orders VALUES ($1, $2)', [`${account}:${requestId}`, account]);
        return result;
      });
      await client.query('COMMIT');
      return outcome;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  });
}

test('once is once, however often and at the same time', async () => {
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => checkout('a1', 'r1')));
  expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['done', ...Array(5).fill('repeated')]);
  for (const { result } of outcomes) expect(result).toEqual({ order: 'r1' });
  expect(await checkout('a1', 'r1')).toEqual({ kind: 'repeated', result: { order: 'r1' } });
});

test('work that failed was not done, and may be tried again', async () => {
  await expect(checkout('a1', 'r2', () => Promise.reject(new Error('no stock')))).rejects.toThrow('no stock');
  expect(await ny.outcome('r2')).toEqual({ kind: 'unknown' });
  expect((await checkout('a1', 'r2')).kind).toBe('done');
});

test('any data center can say what became of it', async () => {
  await checkout('a1', 'r3');
  expect(await ny.outcome('r3')).toEqual({ kind: 'done', result: { order: 'r3' }, dataCenter: 'ny' });
  await until('the record in la', async () => (await la.outcome('r3')).kind === 'done');
  expect(await la.outcome('r3')).toEqual({ kind: 'done', result: { order: 'r3' }, dataCenter: 'ny' });
});

test("another account's request of the same id is another request, and its result nobody else's", async () => {
  await checkout('a1', 'r4', async () => ({ secret: 1 }));
  expect(await ny.forAccount('a2', () => ny.outcome('r4'))).toEqual({ kind: 'unknown' });
  expect(await checkout('a2', 'r4')).toMatchObject({ kind: 'done' });
  expect(await ny.forAccount('a1', () => ny.outcome('r4'))).toMatchObject({ kind: 'done', result: { secret: 1 } });
  expect(await ny.outcome('r4')).toEqual({ kind: 'unknown' });
});

test('nothing is a result, too; outside of work for an account there is none', async () => {
  await checkout('a1', 'r5', async () => undefined);
  expect(await ny.outcome('r5')).toMatchObject({ kind: 'done', result: null });
  await expect(ny.once('r6', pool, async () => 1)).rejects.toThrow(TypeError);
});

test('an outcome is written at the home only', async () => {
  await shop.register('la', 'b1');
  const client = await pool.connect();
  await client.query('BEGIN');
  await expect(client.query("SELECT lanekeeper.record_outcome('r7', 'b1', '{}')")).rejects.toMatchObject({
    code: 'LK_WRONG_HOME',
    details: { home: 'la' },
  });
  await client.query('ROLLBACK');
  client.release();
});

test('claims are asked of the agent', async () => {
  agent.answer = ({ body }) => (body.value === 'taken@x.example' ? { kind: 'taken' } : { kind: 'claimed' });
  expect(await ny.claim('email', 'a@x.example', { account: 'a1' })).toEqual({ kind: 'claimed' });
  expect(await ny.claim('email', 'taken@x.example', { account: 'a1' })).toEqual({ kind: 'taken' });
  expect(agent.requests[0]).toEqual({
    method: 'POST',
    path: '/v1/claims',
    body: { name: 'email', value: 'a@x.example', account: 'a1' },
  });
  agent.answer = () => ({ kind: 'unavailable', reason: 'home-unreachable' });
  expect(await ny.claim('email', 'b@x.example', { account: 'a1' })).toEqual({
    kind: 'unavailable',
    reason: 'home-unreachable',
  });
  agent.answer = () => ({ kind: 'released' });
  expect(await ny.releaseClaim('email', 'a@x.example', { account: 'a1' })).toEqual({ kind: 'released' });
  expect(agent.requests.at(-1)).toMatchObject({ method: 'DELETE', path: '/v1/claims' });
  await expect(ny.claim('phone', '1', { account: 'a1' })).rejects.toMatchObject({ code: 'LK_CONFIG' });
});

test('an agent that is away makes a claim unavailable, never free or taken', async () => {
  const [awayConfiguration] = [
    shop.pair.configure('la', (written) => ({
      ...written,
      claims: { email: { table: 'accounts', column: 'name', normalise: 'lower' } },
      dataCenters: { ...written.dataCenters, la: { ...written.dataCenters.la!, agents: ['http://127.0.0.1:1'] } },
    })),
  ];
  const away = await createLanekeeper({ config: awayConfiguration, env: shop.env('la') });
  try {
    expect(await away.claim('email', 'a@x.example', { account: 'a1' })).toMatchObject({ kind: 'unavailable' });
    await expect(away.move('a1', 'la')).rejects.toMatchObject({ code: 'LK_AGENT_UNAVAILABLE' });
  } finally {
    await away.close();
  }
});

test('ids name this data center and sort by birth', () => {
  const ids = Array.from({ length: 1_000 }, () => ny.id('acc'));
  expect(ids.every((id) => id.startsWith('ny_acc_'))).toBe(true);
  expect(ids.toSorted()).toEqual(ids);
});
