import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from './journal.ts';
import { createPaymentService } from './server.ts';

let folder: string;
let stop: () => Promise<void> = async () => {};
let url: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lanekeeper-journal-'));
});
afterEach(async () => {
  await stop();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  const journal = await Journal.open(join(folder, 'journal'));
  const server = createPaymentService({ journal, limit: 10_000, answerDelayMs: 0 });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  stop = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await journal.close();
    stop = async () => {};
  };
}

async function move(kind: 'charges' | 'refunds', key: string, amount: unknown, order = 'o1') {
  const response = await fetch(`${url}/${kind}`, {
    method: 'POST',
    headers: { 'idempotency-key': key },
    body: JSON.stringify({ order, account: 'a', amount, currency: 'USD' }),
  });
  return { status: response.status, body: (await response.json()) as { receipt?: string; message?: string } };
}

async function movements(): Promise<unknown[]> {
  return ((await (await fetch(`${url}/movements`)).json()) as { movements: unknown[] }).movements;
}

test('one key, one movement: repeated, at once, and after a restart', async () => {
  await start();
  const first = await move('charges', 'k1', 500);
  expect(first.status).toBe(201);
  const more = await Promise.all([1, 2, 3].map(() => move('charges', 'k1', 500)));
  for (const one of more) expect(one).toEqual({ status: 200, body: first.body });
  const race = await Promise.all([1, 2, 3].map(() => move('charges', 'k2', 700, 'o2')));
  expect(race.map((one) => one.status).sort()).toEqual([200, 200, 201]);
  await stop();
  await start();
  expect(await move('charges', 'k1', 500)).toEqual({ status: 200, body: first.body });
  expect(await movements()).toHaveLength(2);
});

test('a line that a crash tore was answered to nobody, and is gone', async () => {
  await start();
  await move('charges', 'k1', 500);
  await stop();
  await appendFile(join(folder, 'journal'), '{"key":"k2","kind":"char');
  await start();
  expect(await movements()).toHaveLength(1);
  expect((await move('charges', 'k2', 500)).status).toBe(201);
  await stop();
  const lines = (await readFile(join(folder, 'journal'), 'utf8')).trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).key)).toEqual(['k1', 'k2']);
});

test('what cannot be is refused, and moves nothing', async () => {
  await start();
  await move('charges', 'k1', 500);
  expect((await move('charges', 'k1', 501)).status).toBe(409);
  expect((await move('refunds', 'k1', 500)).status).toBe(409);
  expect((await move('charges', 'k3', 10_001)).status).toBe(402);
  expect((await move('refunds', 'k4', 501)).status).toBe(422);
  expect((await move('refunds', 'k4', 500)).status).toBe(201);
  expect((await move('refunds', 'k5', 1)).status).toBe(422);
  for (const amount of [0, -1, 1.5, '5', null]) expect((await move('charges', 'k6', amount)).status).toBe(400);
  expect((await move('charges', ' ', 5)).status).toBe(400);
  expect((await fetch(`${url}/charges`, { method: 'POST', body: 'no' })).status).toBe(400);
  expect(await movements()).toHaveLength(2);
});

test('closed, it moves nothing, but answers what it has done', async () => {
  await start();
  const close = (open: boolean) => fetch(`${url}/open`, { method: 'PUT', body: JSON.stringify({ open }) });
  expect((await close(false)).status).toBe(200);
  expect((await move('charges', 'k1', 500)).status).toBe(503);
  expect((await fetch(`${url}/health`)).status).toBe(503);
  expect(await movements()).toEqual([]);
  await close(true);
  expect((await move('charges', 'k1', 500)).status).toBe(201);
});
