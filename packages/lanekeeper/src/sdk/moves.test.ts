import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { AgentClient } from './agent-client.ts';
import { toMoveResult } from './moves.ts';

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function agent(answer: (body: string) => string | null): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      requests.push(`${request.method} ${request.url} ${request.headers.authorization} ${body}`);
      const text = answer(body);
      if (text !== null) response.end(text);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

const call = { method: 'POST', path: '/v1/moves', body: { account: 'a1' }, timeoutMs: 500 } as const;

test('the next agent is asked when one is away, and first from then on', async () => {
  const up = await agent(() => '{"kind":"moved"}');
  const client = new AgentClient(['http://127.0.0.1:1', up.url], () => 'token');
  expect(await client.call(call)).toEqual({ kind: 'moved' });
  expect(await client.call(call)).toEqual({ kind: 'moved' });
  expect(up.requests[0]).toBe('POST /v1/moves Bearer token {"account":"a1"}');
});

test('none, one that says nothing, one that talks nonsense: unavailable, within the time given', async () => {
  const silent = await agent(() => null);
  const nonsense = await agent(() => '<html>');
  for (const urls of [[], [silent.url], [nonsense.url], ['http://127.0.0.1:1']]) {
    const startedMs = performance.now();
    await expect(new AgentClient(urls, () => '').call({ ...call, timeoutMs: 99.5 })).rejects.toMatchObject({
      code: 'LK_AGENT_UNAVAILABLE',
    });
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  }
});

test('what an agent leaves out is null', () => {
  const epoch = { term: 1, counter: 2 };
  expect(toMoveResult({ kind: 'moved', home: 'la', epoch })).toEqual({
    kind: 'moved',
    home: 'la',
    epoch,
    reason: null,
  });
  expect(toMoveResult({ kind: 'in-use' })).toEqual({ kind: 'in-use', home: null, epoch: null, reason: null });
  expect(toMoveResult({ kind: 'postponed', epoch: [1, 2] })).toEqual({
    kind: 'refused',
    home: null,
    epoch: null,
    reason: 'postponed',
  });
});
