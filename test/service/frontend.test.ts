/** The routing of calls against real backends: processes that listen, refuse, break off and die. */
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import { createFrontend, type Frontend } from 'lanekeeper/frontend';
import { createKeyRing, generateKeyPair, issueSession, newSessionId } from 'lanekeeper/session';
import { afterEach, beforeEach, expect, test } from 'vitest';

type Backend = {
  readonly origin: string;
  readonly asked: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[];
  /** What it does with a request. */
  serve: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  stop(): Promise<void>;
};

const stops: (() => unknown)[] = [];
let ny: Backend;
let la: Backend;
let frontend: Frontend;
const keys = generateKeyPair('ny');

beforeEach(async () => {
  ny = await startBackend('ny');
  la = await startBackend('la');
  frontend = await startFrontend({ ny: [ny.origin], la: [la.origin] });
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

async function startFrontend(
  backends: { readonly ny: string[]; readonly la: string[] },
  options: { readonly holdMs?: number; readonly answerMs?: number; readonly homes?: 'single' } = {},
): Promise<Frontend> {
  const { homes, ...limits } = options;
  const created = await createFrontend({
    config: createConfiguration(written(backends, homes), { here: 'la' }),
    env: {},
    holdMs: 0,
    ...limits,
  });
  stops.push(() => created.close());
  return created;
}

function written(backends: { ny: string[]; la: string[] }, homes?: 'single'): WrittenConfiguration {
  const dc = (name: 'ny' | 'la') => ({
    place: name,
    faultDomain: name,
    database: `postgres://${name}.example/shop`,
    url: `http://${name}.shop.localhost:8080`,
    backends: backends[name],
  });
  return {
    cluster: 'shop',
    approach: 'stateless-frontends',
    ...(homes ? { homes } : {}),
    dataCenters: { ny: dc('ny'), la: dc('la') },
    leases: { url: 'postgres://witness.example/witness' },
    sessions: { domain: 'shop.localhost', keys: [keys.publicJwk] },
    tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
  };
}

async function startBackend(name: string, port = 0): Promise<Backend> {
  const sockets = new Set<Socket>();
  const backend: Backend = {
    origin: '',
    asked: [],
    serve: (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'lanekeeper-data-center': name });
      response.end(JSON.stringify({ from: name }));
    },
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  const server = http.createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part;
    });
    request.on('end', () => {
      backend.asked.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      backend.serve(request, response);
    });
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  stops.push(() => backend.stop());
  return Object.assign(backend, { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

/** What a customer whose account is written in `home` sends. */
function customer(home: 'ny' | 'la'): http.IncomingHttpHeaders {
  const configuration = createConfiguration(written({ ny: [ny.origin], la: [la.origin] }), { here: 'ny' });
  const ring = createKeyRing(configuration, { env: { LANEKEEPER_SIGNING_KEY: JSON.stringify(keys.privateJwk) } });
  const session = { id: newSessionId(), account: 'a1', guest: null, home, epoch: { term: 1, counter: 0 } };
  const token = issueSession(ring, session, { nowMs: Date.now(), maxAgeMs: 60_000 });
  return { host: 'la.shop.localhost:8080', cookie: `__Secure-lanekeeper=${token}; other=1`, 'x-request-id': 'r-1' };
}

const from = async (response: Response): Promise<string> => ((await response.json()) as { from: string }).from;
const replayTo =
  (dc: string): Backend['serve'] =>
  (_request, response) => {
    response.writeHead(409, { 'lanekeeper-replay': `dc=${dc}; term=1`, 'content-type': 'application/json' });
    response.end('{"error":{}}');
  };

test('a customer’s calls go to his home, with his cookies, his host and one request id', async () => {
  const backend = frontend.backend({ headers: customer('ny'), remoteAddress: '10.0.0.7' });
  expect(backend.session).toMatchObject({ account: 'a1', guest: null, home: 'ny' });
  const sent = await backend.fetch('/CommitOrder?x=1', {
    method: 'POST',
    body: JSON.stringify({ note: 'hi' }),
    headers: { 'Content-Type': 'application/json' },
  });
  expect(await from(sent)).toBe('ny');
  expect(backend.dataCenter).toBe('ny');
  expect(ny.asked).toMatchObject([
    {
      method: 'POST',
      url: '/CommitOrder?x=1',
      body: '{"note":"hi"}',
      headers: {
        host: 'la.shop.localhost:8080',
        cookie: customerCookieShape(),
        'content-type': 'application/json',
        'x-request-id': 'r-1',
        'x-forwarded-for': '10.0.0.7',
        'lanekeeper-hops': '1',
      },
    },
  ]);
  expect(await from(await backend.fetch('/Products', { at: 'here' }))).toBe('la');
  expect(la.asked[0]?.headers['lanekeeper-hops']).toBeUndefined();
});

function customerCookieShape(): unknown {
  return expect.stringMatching(/^__Secure-lanekeeper=[\w.-]+; other=1$/);
}

test('whoever has no session is served here, until a backend says where it belongs', async () => {
  la.serve = replayTo('ny');
  const backend = frontend.backend({ headers: { host: 'la.shop.localhost' } });
  expect(await from(await backend.fetch('/AddToCart', { method: 'POST', body: 'x' }))).toBe('ny');
  expect(ny.asked[0]).toMatchObject({ body: 'x', headers: { 'lanekeeper-hops': '2' } });
});

test('with one home for all it is remembered where that is', async () => {
  const single = await startFrontend({ ny: [ny.origin], la: [la.origin] }, { homes: 'single' });
  la.serve = replayTo('ny');
  for (let i = 0; i < 3; i += 1) {
    const backend = single.backend({ headers: { host: 'la.shop.localhost' } });
    expect(await from(await backend.fetch('/AddToCart', { method: 'POST' }))).toBe('ny');
  }
  expect(la.asked).toHaveLength(1);
});

test('what backends set comes back, and goes along from then on', async () => {
  la.serve = (request, response) => {
    const signsIn = request.url === '/SignIn';
    const setCookie = signsIn
      ? { 'set-cookie': ['s=1; Path=/', 't=2; Path=/'], 'lanekeeper-durability': 'remote' }
      : {};
    response.writeHead(204, setCookie);
    response.end();
  };
  const backend = frontend.backend({ headers: { host: 'la.shop.localhost', cookie: 'a=1' } });
  expect((await backend.fetch('/SignIn', { method: 'POST' })).status).toBe(204);
  await backend.fetch('/Cart');
  expect(la.asked[1]?.headers.cookie).toBe('a=1; s=1; t=2');
  expect(backend.setCookies).toEqual(['s=1; Path=/', 't=2; Path=/']);
  expect(backend.durability).toBe('remote');
});

test('a backend that is down is passed over; one that comes back is found again', async () => {
  const gone = await startBackend('la');
  const port = Number(new URL(gone.origin).port);
  await gone.stop();
  const two = await startFrontend({ ny: [ny.origin], la: [la.origin, gone.origin] });
  for (let i = 0; i < 6; i += 1) {
    const backend = two.backend({ headers: { host: 'x' } });
    expect(await from(await backend.fetch('/AddToCart', { method: 'POST' }))).toBe('la');
  }
  expect(la.asked).toHaveLength(6);
  const again = await startBackend('la', port);
  const seen = async () => {
    await two.backend({ headers: { host: 'x' } }).fetch('/Cart');
    return again.asked.some(({ url }) => url === '/Cart');
  };
  await expect.poll(seen, { timeout: 20_000 }).toBe(true);
  // Before any customer: a probe.
  expect(again.asked[0]).toMatchObject({ method: 'HEAD', url: '/' });
});

test('a write that a backend breaks off is not repeated and not called failed; a read is repeated', async () => {
  const { serve } = ny;
  ny.serve = (request) => request.socket.destroy();
  const backend = frontend.backend({ headers: customer('ny') });
  await expect(backend.fetch('/CommitOrder', { method: 'POST', body: '{}' })).rejects.toMatchObject({
    code: 'LK_NO_ANSWER',
    details: { home: 'ny', dataCenter: 'la', requestId: 'r-1' },
  });
  expect(ny.asked).toHaveLength(1);
  // Until it has answered a probe it gets nothing, so that no other write meets the same end.
  ny.serve = serve;
  await expect.poll(async () => (await backend.fetch('/Cart')).headers.get('lanekeeper-data-center')).toBe('ny');
  expect(ny.asked[1]).toMatchObject({ method: 'HEAD', url: '/' });
  ny.serve = (request) => request.socket.destroy();
  expect(await (await backend.fetch('/Cart')).json()).toEqual({ from: 'la' });
});

test('no answer in time: nobody knows', async () => {
  const hasty = await startFrontend({ ny: [ny.origin], la: [la.origin] }, { answerMs: 100 });
  ny.serve = () => {};
  await expect(
    hasty.backend({ headers: customer('ny') }).fetch('/CommitOrder', { method: 'POST' }),
  ).rejects.toMatchObject({
    code: 'LK_LATE_ANSWER',
  });
});

test('a home that is gone: the other data center is asked until it has taken over', async () => {
  await ny.stop();
  const patient = await startFrontend({ ny: [ny.origin], la: [la.origin] }, { holdMs: 10_000 });
  let asked = 0;
  const serve = la.serve;
  la.serve = (request, response) => {
    asked += 1;
    (asked < 4 ? replayTo('ny') : serve)(request, response);
  };
  expect(await from(await patient.backend({ headers: customer('ny') }).fetch('/Cart', { method: 'POST' }))).toBe('la');
  la.serve = replayTo('ny');
  await expect(frontend.backend({ headers: customer('ny') }).fetch('/Cart', { method: 'POST' })).rejects.toMatchObject({
    code: 'LK_HOME_UNREACHABLE',
    status: 503,
    details: { home: 'ny' },
  });
});

test('a refusal without a replay is the answer, a redirect too', async () => {
  la.serve = (request, response) => {
    if (request.url === '/go') response.writeHead(303, { location: '/elsewhere' }).end();
    else
      response
        .writeHead(503, { 'retry-after': '1', 'content-type': 'application/json' })
        .end('{"error":{"code":"LK_NO_LEASE"}}');
  };
  const backend = frontend.backend({ headers: { host: 'x' } });
  expect(await (await backend.fetch('/Cart', { method: 'POST' })).json()).toEqual({ error: { code: 'LK_NO_LEASE' } });
  const redirect = await backend.fetch('/go');
  expect([redirect.status, redirect.headers.get('location')]).toEqual([303, '/elsewhere']);
});

test('whoever gives up is let go', async () => {
  la.serve = () => {};
  const giveUp = new AbortController();
  const waiting = frontend.backend({ headers: { host: 'x' } }).fetch('/Cart', { signal: giveUp.signal });
  setTimeout(() => giveUp.abort(new Error('enough')), 50);
  await expect(waiting).rejects.toThrow('enough');
});

test('without any backend there is nothing to start', async () => {
  await expect(startFrontend({ ny: [], la: [] })).rejects.toMatchObject({ code: 'LK_CONFIG' });
});
