import type pg from 'pg';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LaneHealth, laneConnectMs } from './lane-health.ts';

let answers: () => Promise<unknown>;
let lost = 0;
let health: LaneHealth;
const broken: object[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'] });
  lost = 0;
  broken.length = 0;
  answers = async () => {};
  health = new LaneHealth(
    'la',
    'ny',
    () => answers(),
    () => {
      lost += 1;
    },
  );
});
afterEach(() => vi.useRealTimers());

function client(): pg.PoolClient & { released: unknown[] } {
  const released: unknown[] = [];
  const made = {
    released,
    release: (how: unknown) => released.push(how),
    connection: { stream: { destroy: () => broken.push(made) } },
  };
  return made as unknown as pg.PoolClient & { released: unknown[] };
}
const refused = () => Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
const unreachable = { code: 'LK_HOME_UNREACHABLE', details: { home: 'ny', dataCenter: 'la' } };

test('after one has failed the others are told at once, those who wait included; then one tries again', async () => {
  const waiting = health.reach(() => new Promise<never>(() => {}));
  const told = expect(waiting).rejects.toMatchObject(unreachable);
  await expect(health.reach(refused)).rejects.toMatchObject(unreachable);
  await told;
  expect(lost).toBe(1);
  const connect = vi.fn(async () => client());
  await expect(health.reach(connect)).rejects.toMatchObject(unreachable);
  expect(connect).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1_001);
  const slow = new Promise<pg.PoolClient>((resolve) => setTimeout(() => resolve(client()), laneConnectMs / 2));
  const trial = health.reach(() => slow);
  await expect(health.reach(connect)).rejects.toMatchObject(unreachable);
  vi.advanceTimersByTime(laneConnectMs);
  await trial;
  await health.reach(connect);
  expect(connect).toHaveBeenCalledOnce();
});

test('what PostgreSQL itself says is no loss, unless it is starting or stopping', async () => {
  const says = (code: string) => () => Promise.reject(Object.assign(new Error('no'), { severity: 'FATAL', code }));
  await expect(health.reach(says('28P01'))).rejects.toMatchObject({ code: '28P01' });
  await expect(health.reach(says('53300'))).rejects.toMatchObject({ code: '53300' });
  expect(lost).toBe(0);
  await expect(health.reach(says('57P03'))).rejects.toMatchObject(unreachable);
});

test('statements without an answer are given up only when nothing else is answered either', async () => {
  const [slow, quick] = [client(), client()];
  health.began(slow);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(broken).toEqual([]);
  answers = refused;
  health.began(quick);
  await vi.advanceTimersByTimeAsync(600);
  expect(broken).toEqual([slow]);
  expect(lost).toBe(1);
  health.ended(quick);
});

test('a connection from before the loss is not used again', async () => {
  const [stale, fresh] = [client(), client()];
  health.made(stale);
  const silent = client();
  health.began(silent);
  answers = refused;
  await vi.advanceTimersByTimeAsync(3_000);
  expect(broken).toEqual([silent]);
  health.made(fresh);
  await vi.advanceTimersByTimeAsync(3_000);
  const offered = [stale, fresh];
  expect(await health.reach(async () => offered.shift() as pg.PoolClient)).toBe(fresh);
  expect(stale.released).toEqual([true]);
});
