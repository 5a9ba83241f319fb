import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { pay } from './client.ts';
import { paymentOf } from './payment.ts';
import { settlementOf } from './worker.ts';

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function asked(answer: RequestListener) {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return pay(url, { id: 'ord_1', order: 'ord_1', account: 'a', amount: 100 }, AbortSignal.timeout(10_000));
}

const says =
  (status: number, body: unknown): RequestListener =>
  (_request, response) =>
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));

test('only an answer to this very question is an answer', async () => {
  const right = { key: 'ord_1', amount: 100, receipt: 'R1' };
  expect(await asked(says(201, right))).toEqual({ kind: 'done', receipt: 'R1' });
  expect(await asked(says(200, right))).toEqual({ kind: 'done', receipt: 'R1' });
  for (const body of [
    { ...right, key: 'ord_2' },
    { ...right, amount: 99 },
    { ...right, receipt: 1 },
    '<html>',
    '[]',
    '',
  ]) {
    expect(await asked(says(200, body)), JSON.stringify(body)).toMatchObject({ kind: 'strange' });
  }
  expect(await asked(says(402, { message: 'no' }))).toEqual({ kind: 'declined', reason: 'no' });
  expect(await asked(says(409, { message: 'other' }))).toEqual({ kind: 'refused', reason: 'other' });
  expect(await asked(says(500, 'oops'))).toEqual({ kind: 'strange', reason: 'status 500' });
  for (const status of [429, 502, 503, 504]) expect((await asked(says(status, {}))).kind).toBe('unavailable');
});

test('silence, a closed door and a line that breaks are the same: nobody knows', async () => {
  expect(await asked((request) => request.socket.destroy())).toMatchObject({ kind: 'unavailable' });
  const torn: RequestListener = (_request, response) => {
    response.writeHead(201, { 'content-length': '100' });
    response.write('{"key"');
    setTimeout(() => response.socket?.destroy(), 20);
  };
  expect(await asked(torn)).toMatchObject({ kind: 'unavailable' });
});

test('an unavailable service is never a row’s fault; answers without sense are, later and later, until it is set aside', () => {
  const silence = { kind: 'unavailable', reason: 'ECONNREFUSED' } as const;
  expect(settlementOf(silence, { failures: 7 }, 'ny')).toMatchObject({ kind: 'later', failed: false });
  const strange = { kind: 'strange', reason: 'status 500' } as const;
  const waits = [0, 1, 2, 3, 4, 5, 6].map((failures) => settlementOf(strange, { failures }, 'ny'));
  expect(waits.map((one) => one.kind === 'later' && one.failed && one.afterMs)).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000,
  ]);
  expect(settlementOf(strange, { failures: 7 }, 'ny')).toEqual({ kind: 'set-aside', problem: 'status 500' });
  expect(settlementOf({ kind: 'refused', reason: 'no' }, { failures: 0 }, 'ny').kind).toBe('set-aside');
  const done = settlementOf({ kind: 'done', receipt: 'R1' }, { failures: 3 }, 'la');
  expect(done).toEqual({ kind: 'done', receipt: 'R1', dataCenter: 'la' });
});

test('nothing is called paid before it is', () => {
  const due = { amount: 100, state: 'due', attempts: 0, problem: null, receipt: null, settled_at: null } as const;
  const done = { ...due, state: 'done', receipt: 'R1' } as const;
  const states = (steps: Parameters<typeof paymentOf>[0]) => {
    const { state, charged, outstanding } = paymentOf(steps);
    return [state, charged, outstanding];
  };
  expect(states([])).toEqual(['none', 0, 0]);
  expect(states([due])).toEqual(['pending', 0, 100]);
  expect(states([done])).toEqual(['paid', 100, 0]);
  expect(states([done, { ...due, amount: -40 }])).toEqual(['pending', 100, -40]);
  expect(states([done, { ...done, amount: -100 }])).toEqual(['returned', 0, 0]);
  expect(states([{ ...due, state: 'declined' }])).toEqual(['declined', 0, 100]);
  expect(states([{ ...due, state: 'set-aside' }])).toEqual(['stuck', 0, 100]);
  expect(states([{ ...due, state: 'withdrawn' }])).toEqual(['none', 0, 0]);
});
