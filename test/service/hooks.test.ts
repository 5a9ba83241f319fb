/** Hooks: told until they are heard, signed, surviving whoever tells them. A real queue and a real server that misbehaves. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { verifyHook } from 'lanekeeper/session';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fateOf, Hooks } from '../../packages/server/src/agent/hooks.ts';
import { type HookReport, readHooks, tellHook } from '../../packages/server/src/postgres/hooks/queue.ts';
import { runSql } from '../support/clusters.ts';
import { type FencedDatabase, fencedDatabase, twoDataCenters } from '../support/fenced.ts';

type Heard = { readonly signature: string | undefined; readonly body: string };

const secret = 'a secret of the shop';
let database: FencedDatabase;
let pool: Pool;
let server: Server;
const heard: Heard[] = [];
let answer: (request: IncomingMessage, body: string) => number | null = () => 204;
const opened: Hooks[] = [];
const log: { level: string; event: string }[] = [];

beforeAll(async () => {
  database = await fencedDatabase('CREATE TABLE accounts (id text PRIMARY KEY)', configuration('http://127.0.0.1:1/'));
  pool = new Pool({ connectionString: database.urls.agent });
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts).toString();
      const status = answer(request, body);
      if (status === null) return void request.socket.destroy();
      heard.push({ signature: request.headers['lanekeeper-signature'] as string | undefined, body });
      response.writeHead(status).end('whatever');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await pool?.end();
  await database?.stop();
  await new Promise((resolve) => server?.close(resolve));
});
beforeEach(async () => {
  heard.length = 0;
  log.length = 0;
  answer = () => 204;
  await runSql(database.urls.owner, 'TRUNCATE lanekeeper.hook');
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((hooks) => hooks.close()));
});

function configuration(url: string) {
  return twoDataCenters({
    tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
    extra: { hooks: { onTakeover: url } },
  });
}

function hooks(
  given: { readonly secret?: string | null; readonly leads?: boolean; readonly port?: number } = {},
): Hooks {
  const port = given.port ?? (server.address() as AddressInfo).port;
  const made = new Hooks({
    configuration: configuration(`http://127.0.0.1:${port}/hook?of=shop`),
    database: { run: async (work) => withClient(work) },
    secret: given.secret === undefined ? secret : given.secret,
    log: (level, event) => log.push({ level, event }),
    leads: () => given.leads ?? true,
  });
  opened.push(made);
  return made;
}

async function withClient<T>(work: (client: import('pg').PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    return await work(client);
  } finally {
    client.release();
  }
}

async function report(): Promise<HookReport | undefined> {
  return (await readHooks(pool))[0];
}

const soon = { timeout: 20_000, interval: 50 };

describe('a hook', () => {
  it('is told once, signed, with what happened', async () => {
    const telling = hooks();
    const at = new Date('2026-11-22T10:00:00Z');
    expect(await telling.tell(pool, 'takeover', '7', { from: 'la', term: 7 }, at)).toBe(true);
    expect(await telling.tell(pool, 'takeover', '7', { from: 'la', term: 7 }, at)).toBe(false);
    telling.start();
    await expect.poll(report, soon).toMatchObject({ waiting: 0, givenUp: 0 });
    await hooks().tell(pool, 'takeover', '7', { from: 'la', term: 7 }, at);
    expect(heard).toHaveLength(1);
    const [{ signature, body }] = heard as [Heard];
    expect(verifyHook(secret, signature, body)).toEqual({ kind: 'genuine' });
    expect(JSON.parse(body)).toEqual({
      id: 'shop/ny/takeover/7',
      kind: 'takeover',
      cluster: 'shop',
      dataCenter: 'ny',
      at: '2026-11-22T10:00:00.000Z',
      from: 'la',
      term: 7,
    });
  });

  it('carries no signature without a secret', async () => {
    const telling = hooks({ secret: null });
    await telling.tell(pool, 'takeover', '1', {});
    telling.start();
    await expect.poll(() => heard.length, soon).toBe(1);
    expect(heard[0]?.signature).toBeUndefined();
  });

  it('is told again until the answer is 2xx, and one that is refused holds up no other', async () => {
    let refusals = 0;
    answer = (_, body) => (body.includes('"key":"bad"') && ++refusals < 3 ? 302 : 200);
    const telling = hooks();
    await telling.tell(pool, 'takeover', 'bad', { key: 'bad' });
    await telling.tell(pool, 'takeover', 'good', { key: 'good' });
    telling.start();
    await expect.poll(report, soon).toMatchObject({ waiting: 0, givenUp: 0 });
    const keys = heard.map(({ body }) => (JSON.parse(body) as { key: string }).key);
    expect(keys.filter((key) => key === 'bad')).toHaveLength(3);
    expect(keys.filter((key) => key === 'good')).toHaveLength(1);
    expect(log).toEqual([{ level: 'warn', event: 'a hook was not heard' }]);
  });

  it('survives whoever was telling it, and an address where nobody listens', async () => {
    const deaf = hooks({ port: 1 });
    for (let number = 0; number < 30; number++) await deaf.tell(pool, 'takeover', String(number), { number });
    deaf.start();
    await expect.poll(() => log.length, soon).toBeGreaterThan(0);
    await deaf.close();
    expect((await report())?.waiting).toBe(30);
    expect(await deaf.problems(pool)).toEqual([]);
    await runSql(database.urls.agent, `UPDATE lanekeeper.hook SET at = at - interval '5 minutes'`);
    expect(await deaf.problems(pool)).toEqual([
      '30 of what hooks.onTakeover is to be told waits, the oldest for 5 min',
    ]);
    // An address that does not answer is left alone: not all thirty were tried.
    const [{ tried } = { tried: 30 }] = await runSql<{ tried: number }>(
      database.urls.agent,
      'SELECT count(*) FILTER (WHERE attempts > 0)::int AS tried FROM lanekeeper.hook',
    );
    expect(tried).toBeLessThan(30);
    await runSql(database.urls.agent, 'UPDATE lanekeeper.hook SET next_at = clock_timestamp()');
    hooks().start();
    await expect.poll(report, soon).toMatchObject({ waiting: 0 });
    expect(new Set(heard.map(({ body }) => (JSON.parse(body) as { number: number }).number)).size).toBe(30);
  });

  it('is told by the agent that leads only', async () => {
    const quiet = hooks({ leads: false });
    await quiet.tell(pool, 'takeover', '1', {});
    quiet.start();
    const leading = hooks();
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(heard).toHaveLength(0);
    leading.start();
    await expect.poll(() => heard.length, soon).toBe(1);
  });

  it('is not queued without end, nor for nobody', async () => {
    await runSql(
      database.urls.owner,
      `INSERT INTO lanekeeper.hook (kind, key, body) SELECT 'takeover', 'k' || n, '{}' FROM generate_series(1, 10000) n`,
    );
    expect(await tellHook(pool, { kind: 'takeover', key: 'one more', body: '{}' })).toBe(false);
    expect(await hooks().tell(pool, 'conflict', '1', {})).toBe(false);
  });
});

describe('what becomes of a message', () => {
  const silent = { kind: 'silent', error: 'nobody' } as const;
  const dayMs = 86_400_000;

  it.each([200, 204, 299])('%s: heard', (status) => {
    expect(fateOf({ kind: 'answered', status }, { attempts: 0, ageMs: 0 }, 0.5)).toEqual({ kind: 'heard' });
  });

  it.each([199, 301, 400, 404, 500])('%s: again', (status) => {
    expect(fateOf({ kind: 'answered', status }, { attempts: 0, ageMs: 0 }, 0.5)).toEqual({ kind: 'again', inMs: 1000 });
  });

  it('tries again ever later, at most ten minutes apart, for a day', () => {
    const pauses = [0, 1, 2, 9, 30].map((attempts) => fateOf(silent, { attempts, ageMs: 0 }, 0.5));
    expect(pauses.map((fate) => (fate.kind === 'again' ? fate.inMs : null))).toEqual([
      1000, 2000, 4000, 512_000, 600_000,
    ]);
    expect(fateOf(silent, { attempts: 0, ageMs: 0 }, 0)).toEqual({ kind: 'again', inMs: 750 });
    expect(fateOf(silent, { attempts: 0, ageMs: dayMs - 1000 }, 0.5)).toEqual({ kind: 'again', inMs: 1000 });
    expect(fateOf(silent, { attempts: 0, ageMs: dayMs - 999 }, 0.5)).toEqual({ kind: 'given-up' });
  });
});
