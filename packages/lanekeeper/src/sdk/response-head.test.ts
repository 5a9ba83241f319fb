import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { beforeHead } from './response-head.ts';

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function respond(write: (response: ServerResponse) => void): Promise<Response> {
  const server = createServer((_request, response) => {
    let calls = 0;
    beforeHead(response, (status) => {
      calls += 1;
      return { cookies: ['ours=1'], set: { 'x-status': String(status), 'x-calls': String(calls), 'x-kept': 'ours' } };
    });
    write(response);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

const cases: Record<string, (response: ServerResponse) => void> = {
  'implicitly, by end': (response) => {
    response.statusCode = 201;
    response.setHeader('set-cookie', 'theirs=1');
    response.end('x');
  },
  'implicitly, by a stream': (response) => {
    response.statusCode = 201;
    response.setHeader('set-cookie', ['theirs=1']);
    response.write('x');
    setTimeout(() => response.end('y'), 5);
  },
  'by writeHead with an object': (response) => {
    response.setHeader('set-cookie', 'replaced=1');
    response.writeHead(201, { 'Set-Cookie': 'theirs=1' });
    response.end('x');
  },
  'by writeHead with a reason and an object': (response) => {
    response.writeHead(201, 'Fine', { 'set-cookie': ['theirs=1'] }).end('x');
  },
  'by writeHead with a flat list': (response) => {
    response.writeHead(201, ['Set-Cookie', 'theirs=1', 'x-other', '2']);
    response.end('x');
  },
  'by flushHeaders': (response) => {
    response.statusCode = 201;
    response.appendHeader('set-cookie', 'theirs=1');
    response.flushHeaders();
    response.end('x');
  },
};

for (const [how, write] of Object.entries(cases)) {
  test(`headers are added once, ${how}`, async () => {
    const response = await respond(write);
    expect(response.status).toBe(201);
    expect(response.headers.getSetCookie()).toEqual(['theirs=1', 'ours=1']);
    expect(response.headers.get('x-status')).toBe('201');
    expect(response.headers.get('x-calls')).toBe('1');
    expect((await response.text()).startsWith('x')).toBe(true);
  });
}

test('a header that is there already stays', async () => {
  const response = await respond((res) => res.setHeader('x-kept', 'theirs').end());
  expect(response.headers.get('x-kept')).toBe('theirs');
});
