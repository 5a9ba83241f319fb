/** What runs once: in a data center, in the cluster; taken over from the dead, the frozen and the former home, and fenced by its number. */
import { setTimeout as delay } from 'node:timers/promises';
import { type LeashedProcess, spawnLeashed } from '@lanekeeper/lab';
import { createLanekeeper, type Lanekeeper, type SingletonRun } from 'lanekeeper';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { lease } from '../../support/applied.ts';
import { runSql } from '../../support/clusters.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
const open: Lanekeeper[] = [];
const processes: LeashedProcess[] = [];
let made = 0;

beforeAll(async () => {
  shop = await startShop({
    fixed: { reports: 'ny', exports: 'ny' },
  });
  await sql(
    'ny',
    `CREATE TABLE turns (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number bigint, instance text);
     GRANT SELECT, INSERT ON turns TO lanekeeper_application`,
  );
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((lanekeeper) => lanekeeper.close()));
  for (const one of processes.splice(0)) one.signal('SIGKILL');
});
afterAll(() => shop?.stop());

const sql = (dc: string, text: string, values: unknown[] = []) =>
  runSql<Record<string, string>>(shop.pair.dc(dc).urls.superuser, text, values);

async function instanceIn(dc: string): Promise<Lanekeeper> {
  const lanekeeper = await createLanekeeper({
    config: shop.pair.dc(dc).configuration,
    env: shop.env(dc),
    instance: `${dc}-${++made}`,
  });
  open.push(lanekeeper);
  return lanekeeper;
}

/** Work that goes on until it is told to stop, and the turns that were begun. */
function endless() {
  const turns: SingletonRun[] = [];
  const work = async (run: SingletonRun) => {
    turns.push(run);
    await new Promise((resolve) => run.signal.addEventListener('abort', resolve));
  };
  return { turns, work };
}

test('one runner in a data center, another one when it stops, with a greater number; each data center has its own', async () => {
  const [one, two, far] = [await instanceIn('ny'), await instanceIn('ny'), await instanceIn('la')];
  const job = endless();
  const elsewhere = endless();
  const first = one.singleton('mail', job.work);
  await until('the first', () => first.running !== null);
  const second = two.singleton('mail', job.work);
  const third = far.singleton('mail', elsewhere.work);
  await until('the far one', () => third.running !== null);
  await delay(1_600);
  expect([job.turns.length, second.running]).toEqual([1, null]);
  expect(() => one.singleton('mail', job.work)).toThrow(/already/);
  await first.stop();
  expect(first.running).toBeNull();
  await until('the second', () => second.running !== null);
  const [before, after] = job.turns.map(({ number }) => number) as [bigint, bigint];
  expect(after > before).toBe(true);
  expect(job.turns[0]?.signal.aborted).toBe(true);
  await expect(job.turns[0]?.guard({ query: async () => ({ rows: [] }) })).rejects.toMatchObject({
    code: 'LK_SINGLETON_LOST',
  });
});

test('what throws is reported and gives its turn away; what returns is called again', async () => {
  const one = await instanceIn('ny');
  const errors: unknown[] = [];
  let calls = 0;
  const singleton = one.singleton(
    'flaky',
    async () => {
      calls += 1;
      if (calls === 2) throw new Error('a mistake');
    },
    { pauseMs: 1, onError: (error) => errors.push(error) },
  );
  await until('calls', () => calls > 4);
  await singleton.stop();
  expect(errors).toEqual([expect.objectContaining({ message: 'a mistake' })]);
});

test('who lost his turn without noticing cannot commit as if he had it; who takes over waits for who is committing', async () => {
  const [one, two] = [await instanceIn('ny'), await instanceIn('ny')];
  const pool = one.pool({ max: 1 });
  const job = endless();
  const first = one.singleton('guarded', job.work);
  await until('the first', () => first.running !== null);
  const run = first.running as SingletonRun;
  const client = await pool.connect();
  await client.query('BEGIN');
  await run.guard(client);
  await client.query("INSERT INTO turns (number, instance) VALUES (1, 'guarded')");
  // His lock goes, and nobody tells him.
  await sql(
    'ny',
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted",
  );
  await until('told', () => run.signal.aborted);
  await first.stop();
  const second = two.singleton('guarded', job.work);
  await delay(1_600);
  expect(second.running).toBeNull();
  await client.query('COMMIT');
  await until('the second', () => second.running !== null);
  await client.query('BEGIN');
  await expect(
    client.query('SELECT lanekeeper.guard_singleton($1, false, $2)', ['guarded', String(run.number)]),
  ).rejects.toMatchObject({ code: 'LK_SINGLETON_LOST' });
  await client.query('ROLLBACK');
  client.release();
  await pool.end();
});

test('kill -9: another process goes on, and numbers only rise', async () => {
  const spawn = async (name: string) => {
    const dc = shop.pair.dc('ny');
    const program = new URL('../../support/singleton-process.js', import.meta.url).pathname;
    const leashed = await spawnLeashed(process.execPath, [program, name], {
      env: { ...process.env, ...shop.env('ny'), TEST_CONFIGURATION: JSON.stringify(dc.configuration) },
      stderr: 2,
    });
    processes.push(leashed);
    return leashed;
  };
  const turns = () => sql('ny', 'SELECT number, instance, id FROM turns WHERE number > 0 ORDER BY id');
  const first = await spawn('killed');
  await until('turns', async () => (await turns()).length > 2, 20_000);
  await spawn('killed');
  const [{ number: before = '' } = {}] = await turns();
  first.signal('SIGKILL');
  await until('a takeover', async () => (await turns()).some(({ number }) => number !== before), 20_000);
  const seen = (await turns()).map(({ number }) => BigInt(number ?? ''));
  expect(seen).toEqual(seen.toSorted((a, b) => Number(a - b)));
});

test('of the cluster: where its home is, which moves; no two data centers share a number', async () => {
  const [ny, la] = [await instanceIn('ny'), await instanceIn('la')];
  expect(() => ny.singleton('nothing', async () => {}, { scope: 'cluster' })).toThrow(/add `nothing` to `fixed`/);
  const job = endless();
  const here = ny.singleton('reports', job.work, { scope: 'cluster' });
  const there = la.singleton('reports', job.work, { scope: 'cluster' });
  await until('ny', () => here.running !== null);
  const pool = ny.pool({ max: 1 });
  const run = here.running as SingletonRun;
  const client = await pool.connect();
  await client.query('BEGIN');
  await run.guard(client);
  await client.query('COMMIT');
  await shop.move('fixed:reports', 'la');
  await client.query('BEGIN');
  const guarded = client.query('SELECT lanekeeper.guard_singleton($1, true, $2)', ['reports', String(run.number)]);
  await expect(guarded).rejects.toMatchObject({ code: 'LK_WRONG_HOME' });
  await client.query('ROLLBACK');
  await until('la', () => there.running !== null && run.signal.aborted);
  expect((there.running as SingletonRun).number > run.number).toBe(true);
  await shop.move('fixed:reports', 'ny');
  await until('ny again', () => here.running !== null);
  expect((here.running as SingletonRun).number > (job.turns[1] as SingletonRun).number).toBe(true);
  client.release();
  await pool.end();
});

test('of the cluster: not without a lease', async () => {
  const ny = await instanceIn('ny');
  const job = endless();
  const singleton = ny.singleton('exports', job.work, { scope: 'cluster' });
  await until('ny', () => singleton.running !== null);
  await lease(shop.pair.dc('ny'), -1);
  await until('none', () => singleton.running === null);
  await delay(1_500);
  expect(job.turns).toHaveLength(1);
  await lease(shop.pair.dc('ny'), 600_000);
  await until('again', () => singleton.running !== null);
});

test('of the cluster: whoever takes its home over runs it, with a greater number, though nothing of the last turn has arrived', async () => {
  const [ny, la] = [await instanceIn('ny'), await instanceIn('la')];
  const job = endless();
  const here = ny.singleton('exports', job.work, { scope: 'cluster' });
  const there = la.singleton('exports', job.work, { scope: 'cluster' });
  await until('ny', () => here.running !== null);
  const { number } = here.running as SingletonRun;
  await lease(shop.pair.dc('ny'), -1);
  await sql(
    'la',
    "INSERT INTO lanekeeper.succession (term, kind, from_dc, to_dc) VALUES (2, 'take', 'ny', 'la'); SELECT setval('lanekeeper.view', 2)",
  );
  await until('la', () => there.running !== null && here.running === null);
  expect((there.running as SingletonRun).number > number).toBe(true);
});
