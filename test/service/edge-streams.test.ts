/** Bodies and connections that last: uploads, event streams, WebSockets, slow clients; through two edges in a row. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  ask,
  exchangeBytes,
  parseAnswer,
  startApp,
  startSites,
  type TestApp,
  type TestSites,
} from '../support/edges.ts';

const host = 'ny.shop.localhost';

/** What the application in `la` noticed. */
const noticed = { aborted: 0, written: 0, finished: false };

const listener: http.RequestListener = (request, response) => {
  const url = request.url ?? '';
  request.on('aborted', () => {
    noticed.aborted += 1;
  });
  if (url === '/hash') {
    const hash = createHash('sha256');
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    request.on('end', () => response.end(JSON.stringify({ bytes, sha256: hash.digest('hex') })));
  } else if (url === '/echo') {
    response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
    response.flushHeaders();
    request.pipe(response);
  } else if (url === '/events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    let n = 0;
    const timer = setInterval(() => response.write(`data: ${++n}\n\n`), 50);
    response.on('close', () => clearInterval(timer));
  } else if (url === '/endless') {
    noticed.written = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (!response.destroyed) {
        noticed.written += chunk.length;
        if (!response.write(chunk)) break;
      }
    };
    response.on('drain', more);
    more();
  } else if (url === '/trailers') {
    response.writeHead(200, { Trailer: 'X-Sum, Lanekeeper-Replay' });
    response.write('body');
    response.addTrailers({ 'X-Sum': 'abc', 'Lanekeeper-Replay': 'dc=ny', 'Set-Cookie': 'a=b' });
    response.end();
  } else if (url === '/too-large') {
    response.writeHead(413, { 'Content-Length': '3' });
    response.end('no!');
  } else if (url === '/breaks-off') {
    response.writeHead(200, { 'Content-Length': '1000' });
    response.write('begun');
    setTimeout(() => response.destroy(), 50);
  } else if (url === '/slow') {
    request.resume();
    setTimeout(() => {
      noticed.finished = true;
      response.end('at last');
    }, 700);
  } else {
    response.writeHead(200, { 'Content-Length': '5', ETag: '"x"' });
    response.end('hello');
  }
};

let la: TestApp & { readonly server: http.Server };
let sockets: WebSocketServer;
let sites: TestSites;

beforeAll(async () => {
  la = await startApp(listener);
  sockets = new WebSocketServer({ noServer: true });
  la.server.on('upgrade', (request, socket, head) => {
    if (request.url === '/refused') {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
      return;
    }
    sockets.handleUpgrade(request, socket as Duplex, head, (ws) => {
      ws.send(JSON.stringify({ host: request.headers.host, via: request.headers['lanekeeper-via'] }));
      ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    });
  });
  sites = await startSites({
    ny: [],
    la: [la.url],
    limits: { bodyGraceMs: 1_000, bodyBytesPerSecond: 100_000, stalledMs: 1_000, lingerMs: 500 },
  });
});
afterAll(async () => {
  for (const client of sockets?.clients ?? []) client.terminate();
  await sites?.stop();
  await la?.stop();
});

/** A request by way of both edges: from ny to the customer's home in la. */
function request(path: string, options: http.RequestOptions = {}): http.ClientRequest {
  const { hostname, port } = new URL(sites.ny.edge.url);
  const headers = { host, cookie: sites.cookie('la'), ...(options.headers as http.OutgoingHttpHeaders) };
  return http.request({ hostname, port, path, agent: false, ...options, headers });
}

async function answerTo(client: http.ClientRequest): Promise<http.IncomingMessage> {
  const [response] = (await once(client, 'response')) as [http.IncomingMessage];
  return response;
}

async function text(response: http.IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of response) body += chunk;
  return body;
}

describe('uploads', () => {
  test.each([
    ['of known length', true],
    ['chunked', false],
  ])('30 MB %s arrive whole', async (_what, known) => {
    const chunk = randomBytes(100_000);
    const client = request('/hash', {
      method: 'POST',
      headers: known ? { 'content-length': '30000000' } : { 'transfer-encoding': 'chunked' },
    });
    const hash = createHash('sha256');
    for (let i = 0; i < 300; i += 1) {
      hash.update(chunk);
      if (!client.write(chunk)) await once(client, 'drain');
    }
    client.end();
    const result = JSON.parse(await text(await answerTo(client)));
    expect(result).toEqual({ bytes: 30_000_000, sha256: hash.digest('hex') });
  });

  test('the client is slowed down to the pace of the application', async () => {
    // An application that reads nothing: then nothing may be taken from the client beyond what buffers hold.
    const ears = new Set<net.Socket>();
    const deaf = net.createServer((socket) => ears.add(socket.pause().on('error', () => {})));
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    const own = await startSites({ ny: [`http://127.0.0.1:${(deaf.address() as net.AddressInfo).port}`] });
    const { hostname, port } = new URL(own.ny.edge.url);
    const client = net.connect(Number(port), hostname);
    client.on('error', () => {});
    client.write(`POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n`);
    const chunk = Buffer.alloc(100_000);
    let taken = 0;
    let steady = 0;
    while (steady < 5 && taken < 100_000_000) {
      taken += chunk.length;
      const drained = client.write(chunk) || (await Promise.race([once(client, 'drain'), delay(100)])) !== undefined;
      steady = drained ? 0 : steady + 1;
    }
    // The kernel's buffers on two connections are a few MB each.
    expect(taken).toBeLessThan(40_000_000);
    const metrics = await ask(own.ny.edge.url, '/lanekeeper/metrics');
    expect(metrics.body).toMatch(/^lanekeeper_edge_kept_bytes 0$/m);
    client.destroy();
    await own.stop();
    for (const socket of ears) socket.destroy();
    await new Promise((resolve) => deaf.close(resolve));
  });

  test('both ways at once', async () => {
    const client = request('/echo', { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
    client.write('one');
    const response = await answerTo(client);
    const [first] = await once(response, 'data');
    expect(String(first)).toBe('one');
    client.write('two');
    const [second] = await once(response, 'data');
    expect(String(second)).toBe('two');
    client.end();
    await once(response, 'end');
  });

  test('100 Continue comes when the body is wanted, and not at all when the customer is sent elsewhere', async () => {
    const client = request('/hash', {
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': '200000' },
    });
    client.flushHeaders();
    await once(client, 'continue');
    client.end(Buffer.alloc(200_000));
    expect(JSON.parse(await text(await answerTo(client)))).toMatchObject({ bytes: 200_000 });

    const own = await startSites({ ny: [la.url] });
    await own.toLa.cut();
    await expect.poll(() => own.ny.log.some(({ event }) => event === 'edge-lost')).toBe(true);
    const head = `POST /hash HTTP/1.1\r\nHost: ${host}\r\nCookie: ${own.cookie('la')}\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n`;
    const received = await exchangeBytes(own.ny.edge.url, head);
    expect(parseAnswer(received)).toMatchObject({ status: 307, headers: { connection: ['close'] } });
    await own.stop();
  });

  test('an answer before the end of the body reaches the client, and the rest is not waited for', async () => {
    const client = request('/too-large', { method: 'POST', headers: { 'content-length': '5000000' } });
    client.on('error', () => {});
    client.write(Buffer.alloc(1_000_000));
    const response = await answerTo(client);
    expect([response.statusCode, await text(response)]).toEqual([413, 'no!']);
    // The client never sends the rest; his connection is not kept for ever.
    await once(client.socket as net.Socket, 'close');
  });

  test('a client that breaks off is broken off to the application', async () => {
    noticed.aborted = 0;
    const client = request('/hash', { method: 'POST', headers: { 'content-length': '5000000' } });
    client.on('error', () => {});
    client.write(Buffer.alloc(1_000_000));
    await delay(100);
    client.destroy();
    await expect.poll(() => noticed.aborted).toBe(1);
  });

  test('a client that sends too slowly is cut off; a small body is not even begun', async () => {
    const head = (length: number) =>
      `POST /hash HTTP/1.1\r\nHost: ${host}\r\nCookie: ${sites.cookie('la')}\r\nContent-Length: ${length}\r\n\r\nab`;
    const [small, large] = await Promise.all([
      exchangeBytes(sites.ny.edge.url, head(10), 6_000),
      exchangeBytes(sites.ny.edge.url, head(1_000_000), 6_000),
    ]);
    expect(parseAnswer(small).status).toBe(408);
    expect(large).toBe('');
  });
});

describe('answers', () => {
  test('HEAD has the headers and no body, and the connection lives on', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number>();
    for (let i = 0; i < 3; i += 1) {
      const client = request('/', { method: 'HEAD', agent });
      client.end();
      const response = await answerTo(client);
      expect(response.headers).toMatchObject({ 'content-length': '5', etag: '"x"', 'lanekeeper-data-center': 'la' });
      expect(await text(response)).toBe('');
      ports.add((client.socket as net.Socket).localPort ?? 0);
    }
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test('HTTP/1.0 clients get no chunks', async () => {
    const received = await exchangeBytes(
      sites.ny.edge.url,
      `GET /trailers HTTP/1.0\r\nHost: ${host}\r\nCookie: ${sites.cookie('la')}\r\n\r\n`,
    );
    const answer = parseAnswer(received);
    expect(answer.headers['transfer-encoding']).toBeUndefined();
    expect(answer.body).toBe('body');
  });

  test('trailers come through for those who ask, but not what decides or is ours', async () => {
    const asks = request('/trailers', { headers: { te: 'trailers' } });
    asks.end();
    const response = await answerTo(asks);
    await text(response);
    expect(response.trailers).toEqual({ 'x-sum': 'abc' });
    const other = request('/trailers');
    other.end();
    const plain = await answerTo(other);
    await text(plain);
    expect(plain.trailers).toEqual({});
  });

  test('an event stream begins at once and comes as it comes; the application hears when nobody listens any more', async () => {
    const client = request('/events', { headers: { accept: 'text/event-stream' } });
    client.end();
    const response = await answerTo(client);
    expect(response.headers['content-type']).toBe('text/event-stream');
    const [first] = await once(response, 'data');
    expect(String(first)).toBe('data: 1\n\n');
    await once(response, 'data');
    noticed.aborted = 0;
    client.destroy();
    await expect.poll(() => noticed.aborted).toBe(1);
  });

  test('the application is slowed down to the pace of the client, and one who never reads is cut off', async () => {
    const { hostname, port } = new URL(sites.ny.edge.url);
    noticed.aborted = 0;
    const client = net.connect(Number(port), hostname);
    client.on('error', () => {});
    client.pause();
    client.write(`GET /endless HTTP/1.1\r\nHost: ${host}\r\nCookie: ${sites.cookie('la')}\r\n\r\n`);
    await delay(800);
    const { written } = noticed;
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(40_000_000);
    await expect.poll(() => noticed.aborted, { timeout: 5_000 }).toBe(1);
    client.destroy();
  });

  test('an answer that breaks off is cut, never ended as if it were whole', async () => {
    const client = request('/breaks-off');
    client.end();
    const response = await answerTo(client);
    await expect(text(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });
});

describe('WebSockets', () => {
  const connect = (path: string, cookie = sites.cookie('la')): WebSocket =>
    new WebSocket(`${sites.ny.edge.url.replace('http', 'ws')}${path}`, { headers: { host, cookie } });

  test('go to the home like everything else, both ways, also when large', async () => {
    const socket = connect('/live');
    const [first] = await once(socket, 'message');
    expect(JSON.parse(String(first))).toEqual({ host, via: 'la' });
    const large = randomBytes(3_000_000);
    socket.send(large);
    const [back] = await once(socket, 'message');
    expect(large.equals(back as Buffer)).toBe(true);
    const metrics = await ask(sites.la.edge.url, '/lanekeeper/metrics');
    expect(metrics.body).toMatch(/^lanekeeper_edge_tunnels 1$/m);
    socket.close(1000, 'bye');
    const [code] = await once(socket, 'close');
    expect(code).toBe(1000);
    await expect
      .poll(async () => (await ask(sites.la.edge.url, '/lanekeeper/metrics')).body)
      .toMatch(/^lanekeeper_edge_tunnels 0$/m);
  });

  test('a refusal is a refusal', async () => {
    const socket = connect('/refused');
    socket.on('error', () => {});
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, http.IncomingMessage];
    expect([response.statusCode, await text(response)]).toEqual([401, 'no']);
  });

  test('the application can send one elsewhere', async () => {
    const wrong = await startApp((_request, response) => response.end());
    wrong.server.on('upgrade', (_request, socket) => {
      socket.end('HTTP/1.1 409 Conflict\r\nLanekeeper-Replay: dc=la\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    });
    const own = await startSites({ ny: [wrong.url], la: [la.url] });
    const socket = new WebSocket(own.ny.edge.url.replace('http', 'ws'), {
      headers: { host, cookie: own.cookie('ny') },
    });
    const [first] = await once(socket, 'message');
    expect(JSON.parse(String(first))).toEqual({ host, via: 'la' });
    socket.terminate();
    await own.stop();
    await wrong.stop();
  });

  test('whoever drops the line is dropped on the other side', async () => {
    const socket = connect('/live');
    await once(socket, 'message');
    const closed = once([...sockets.clients].at(-1) as never, 'close');
    socket.terminate();
    await closed;
    const again = connect('/live');
    await once(again, 'message');
    [...sockets.clients].at(-1)?.terminate();
    await once(again, 'close');
  });
});

describe('the end', () => {
  test('requests in flight finish, new ones are not taken, idle connections and tunnels do not hold it up', async () => {
    const own = await startSites({ ny: [la.url], limits: { drainMs: 2_000 } });
    const { hostname, port } = new URL(own.ny.edge.url);
    const agent = new http.Agent({ keepAlive: true });
    const get = (path: string) => http.get({ hostname, port, path, agent, headers: { host } });
    await text(await answerTo(get('/')));
    noticed.finished = false;
    const slow = get('/slow');
    const idle = net.connect(Number(port), hostname);
    await once(idle, 'connect');
    await delay(100);
    const closing = own.ny.edge.close();
    const response = await answerTo(slow);
    expect(response.headers.connection).toBe('close');
    expect(await text(response)).toBe('at last');
    const startedMs = Date.now();
    await expect(ask(own.ny.edge.url, '/', { headers: { host } })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await closing;
    expect(Date.now() - startedMs).toBeLessThan(3_000);
    agent.destroy();
    idle.destroy();
    await own.stop();
  });

  test('what does not finish in time is cut, and counted', async () => {
    const own = await startSites({ ny: [la.url], limits: { drainMs: 300 } });
    const socket = new WebSocket(own.ny.edge.url.replace('http', 'ws'), { headers: { host } });
    await once(socket, 'message');
    const [{ cut }] = await Promise.all([own.ny.edge.close(), once(socket, 'close')]);
    expect(cut).toBe(1);
    await own.stop();
  });
});
