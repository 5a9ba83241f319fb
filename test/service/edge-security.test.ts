/** Bytes on the wire that a proxy must not take or must not pass on: faults.md, "Security: what to reject". */
import net, { type AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ask, exchangeBytes, parseAnswer, startApp, startSites, type TestSites } from '../support/edges.ts';
import { type Recorder, startRecorder } from '../support/recorder.ts';

let ny: Recorder;
let la: Recorder;
let sites: TestSites;

beforeAll(async () => {
  [ny, la] = await Promise.all([startRecorder(), startRecorder()]);
  sites = await startSites({ ny: [ny.url], la: [la.url], limits: { headersMs: 1_000 } });
});
afterAll(async () => {
  await sites?.stop();
  await Promise.all([ny?.stop(), la?.stop()]);
});
beforeEach(() => {
  for (const recorder of [ny, la]) {
    recorder.seen.length = 0;
    recorder.complaints.length = 0;
  }
});

const host = 'Host: ny.shop.localhost\r\n';
const get = (target: string, headers = '') => `GET ${target} HTTP/1.1\r\n${host}${headers}Connection: close\r\n\r\n`;
const nothingSeen = () => expect([...ny.seen, ...la.seen]).toEqual([]);

describe('refused, and the connection is closed', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: ny.shop.localhost\r\n\r\n';

  test.each<[what: string, bytes: string, status: number]>([
    ['two Host headers', `GET / HTTP/1.1\r\n${host}Host: evil\r\n\r\n`, 400],
    ['two equal Host headers', `GET / HTTP/1.1\r\n${host}${host}\r\n`, 400],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['no Host, HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', 400],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400],
    ['a Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
    ['absolute-form to another host', `GET http://evil/ HTTP/1.1\r\n${host}\r\n`, 400],
    ['absolute-form with a user', `GET http://ny.shop.localhost@evil/ HTTP/1.1\r\n${host}\r\n`, 400],
    ['//evil', `GET //evil HTTP/1.1\r\n${host}\r\n`, 400],
    ['/\\evil', `GET /\\evil HTTP/1.1\r\n${host}\r\n`, 400],
    ['a fragment', `GET /a#b HTTP/1.1\r\n${host}\r\n`, 400],
    ['CONNECT', `CONNECT evil:443 HTTP/1.1\r\n${host}\r\n`, 400],
    ['TRACE', `TRACE / HTTP/1.1\r\n${host}\r\n`, 400],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['TLS on a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    [
      'Transfer-Encoding on HTTP/1.0',
      `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    [
      'CL.TE',
      `POST / HTTP/1.1\r\n${host}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    [
      'TE.CL',
      `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    [
      'TE.TE',
      `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    [
      'an obfuscated encoding',
      `POST / HTTP/1.1\r\n${host}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    [
      'a list of encodings',
      `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      400,
    ],
    ['two lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab${smuggled}`, 400],
    ['two equal lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 1\r\n\r\na${smuggled}`, 400],
    ['a length with a sign', `POST / HTTP/1.1\r\n${host}Content-Length: +1\r\n\r\na`, 400],
    [
      'Connection names the length',
      `POST / HTTP/1.1\r\n${host}Connection: content-length\r\nContent-Length: 3\r\n\r\nabc`,
      400,
    ],
    ['space before the colon', `GET / HTTP/1.1\r\n${host}Content-Length : 3\r\n\r\nabc`, 400],
    ['a folded header', `GET / HTTP/1.1\r\n${host}X-A: b\r\n c\r\n\r\n`, 400],
    ['bare LF', 'GET / HTTP/1.1\nHost: ny.shop.localhost\n\n', 400],
    ['bare CR in a header', `GET / HTTP/1.1\r\n${host}X-A: b\rX-B: c\r\n\r\n`, 400],
    ['NUL in a header', `GET / HTTP/1.1\r\n${host}X-A: \0\r\n\r\n`, 400],
    ['a bad chunk size', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
    [
      'h2c with a body',
      `POST / HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc`,
      400,
    ],
    [
      'a WebSocket with a body',
      `GET / HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc`,
      400,
    ],
    [
      'two Host headers on an upgrade',
      `GET / HTTP/1.1\r\n${host}${host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      400,
    ],
    ['//evil on an upgrade', `GET //evil HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, 400],
    ['an unknown expectation', `POST / HTTP/1.1\r\n${host}Expect: 200-ok\r\nContent-Length: 3\r\n\r\n`, 417],
    ['headers of 20 KB', `GET / HTTP/1.1\r\n${host}X-A: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
    ['a target of 20 KB', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${host}\r\n`, 431],
    ['a cookie of 1 MB', `GET / HTTP/1.1\r\n${host}Cookie: __Secure-lanekeeper=${'a'.repeat(1_000_000)}\r\n\r\n`, 431],
    ['200 headers', `GET / HTTP/1.1\r\n${host}${'x: y\r\n'.repeat(200)}\r\n`, 431],
    ['3,000 headers', `GET / HTTP/1.1\r\n${host}${'x:\r\n'.repeat(3_000)}\r\n`, 431],
  ])('%s', async (_what, bytes, status) => {
    const received = await exchangeBytes(sites.ny.edge.url, Buffer.from(bytes, 'latin1'));
    const answer = parseAnswer(received);
    expect(answer.status, received).toBe(status);
    expect(answer.headers.connection).toEqual(['close']);
    expect(received.split('HTTP/1.1 ')).toHaveLength(2);
    expect(received).not.toContain('X-Number');
    expect(ny.complaints).toEqual([]);
    nothingSeen();
  });

  test('after a request that was served, rubbish ends the connection without another answer', async () => {
    const received = await exchangeBytes(
      sites.ny.edge.url,
      `GET /one HTTP/1.1\r\n${host}\r\n\0\0\0\r\n\r\n${smuggled}`,
      1_500,
    );
    expect(received.match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(1);
    expect(ny.seen.filter(({ line }) => line.includes('smuggled'))).toEqual([]);
  });

  test('a client that says nothing, or too slowly', async () => {
    const startedMs = Date.now();
    const [silent, slow] = await Promise.all([
      exchangeBytes(sites.ny.edge.url, ''),
      exchangeBytes(sites.ny.edge.url, 'GET / HTTP/1.1\r\nHost: ny'),
    ]);
    expect(parseAnswer(slow).status).toBe(408);
    expect(parseAnswer(silent).status).toBe(408);
    expect(Date.now() - startedMs).toBeLessThan(4_500);
    nothingSeen();
  });
});

describe('passed on as one thing', () => {
  const seenOnce = () => {
    expect(ny.complaints).toEqual([]);
    expect(ny.seen).toHaveLength(1);
    const [{ headers, ...rest }] = ny.seen as [Recorder['seen'][0]];
    const pairs = headers.map(([name, value]) => [name.toLowerCase(), value] as const);
    return { ...rest, headers: Object.fromEntries(pairs), names: pairs.map(([name]) => name) };
  };

  test('a body that looks like a request is a body', async () => {
    const inner = 'GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n';
    for (const body of [
      `Content-Length: ${inner.length}\r\n\r\n${inner}`,
      `Transfer-Encoding: chunked\r\n\r\n${inner.length.toString(16)};ext=1\r\n${inner}\r\n0\r\nX-Trailer: GET /smuggled\r\n\r\n`,
    ]) {
      ny.seen.length = 0;
      const received = await exchangeBytes(
        sites.ny.edge.url,
        `POST /form HTTP/1.1\r\n${host}Connection: close\r\n${body}`,
      );
      expect(parseAnswer(received).status).toBe(200);
      expect(seenOnce()).toMatchObject({ line: 'POST /form HTTP/1.1', body: inner });
    }
  });

  test('a GET with a body keeps its framing', async () => {
    await exchangeBytes(
      sites.ny.edge.url,
      `GET /q HTTP/1.1\r\n${host}Connection: close\r\nContent-Length: 4\r\n\r\nGET `,
    );
    expect(seenOnce()).toMatchObject({ line: 'GET /q HTTP/1.1', body: 'GET ' });
  });

  test('absolute-form for this host becomes origin-form', async () => {
    await exchangeBytes(sites.ny.edge.url, get('http://NY.shop.localhost/cart?a=b'));
    expect(seenOnce().line).toBe('GET /cart?a=b HTTP/1.1');
  });

  test('what a client says under our names, in any spelling, is dropped; so is what it says about proxies', async () => {
    const lies = [
      'Lanekeeper-Home: la',
      'LANEKEEPER-HOPS: 3',
      'lanekeeper-host: evil',
      'lAnEkEePeR-via: la',
      'Lanekeeper_Home: la',
      'Lanekeeper.Edge: x',
      'lanekeeper: x',
      'X-Forwarded-For: 8.8.8.8',
      'x_forwarded_for: 8.8.8.8',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: evil',
      'Forwarded: for=8.8.8.8',
      'X-Real-IP: 8.8.8.8',
      'Content_Length: 99',
      'Transfer_Encoding: chunked',
    ];
    await exchangeBytes(sites.ny.edge.url, get('/', `${lies.join('\r\n')}\r\n`));
    const { headers, names } = seenOnce();
    expect(headers).toMatchObject({
      host: 'ny.shop.localhost',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'lanekeeper-via': 'ny',
    });
    expect(names.sort()).toEqual(['connection', 'host', 'lanekeeper-via', 'x-forwarded-for', 'x-forwarded-proto']);
  });

  test('a false edge is believed nothing, and is served where it is', async () => {
    const cookie = sites.cookie('la');
    const stolen = sites.cookie('la').split('=')[1];
    for (const token of ['x', stolen, 'a.b.c']) {
      ny.seen.length = 0;
      const lies = `Lanekeeper-Edge: ${token}\r\nLanekeeper-Hops: 1\r\nLanekeeper-Host: evil\r\nX-Forwarded-For: 8.8.8.8\r\n`;
      const received = await exchangeBytes(sites.ny.edge.url, get('/', `${lies}Cookie: ${cookie}\r\n`));
      expect(parseAnswer(received).status).toBe(200);
      expect(seenOnce().headers).toMatchObject({ host: 'ny.shop.localhost', 'x-forwarded-for': '127.0.0.1' });
    }
    const health = await ask(sites.ny.edge.url, '/lanekeeper/health', {
      headers: { 'lanekeeper-edge': 'x', 'lanekeeper-hops': '1' },
    });
    expect(health.status).toBe(401);
  });

  test('Connection names what it likes: theirs goes, ours stays', async () => {
    const named = 'Connection: close, lanekeeper-via, x-forwarded-for, x-forwarded-proto, x-secret, cookie\r\n';
    const bytes = `GET / HTTP/1.1\r\n${host}${named}X-Secret: s\r\nCookie: ${sites.cookie('la')}\r\nX-Kept: k\r\n\r\n`;
    await exchangeBytes(sites.ny.edge.url, bytes);
    const { headers, names } = seenOnce();
    expect(headers).toMatchObject({ 'x-kept': 'k', 'lanekeeper-via': 'ny', 'x-forwarded-for': '127.0.0.1' });
    expect(names).not.toContain('x-secret');
    expect(names).not.toContain('cookie');
  });

  test('Expect, TE, Trailer, Upgrade and the like end here', async () => {
    const headers =
      'TE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n';
    const bytes = `POST / HTTP/1.1\r\n${host}${headers}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi`;
    const received = await exchangeBytes(sites.ny.edge.url, bytes);
    expect(received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
    expect(seenOnce().body).toBe('hi');
  });

  test('h2c without a body is declined: an ordinary request, and the last one', async () => {
    const upgrade = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
    const received = await exchangeBytes(
      sites.ny.edge.url,
      `GET /a HTTP/1.1\r\n${host}${upgrade}\r\nGET /smuggled HTTP/1.1\r\n${host}\r\n`,
    );
    expect(parseAnswer(received)).toMatchObject({ status: 200, headers: { connection: ['close'] } });
    expect(seenOnce().line).toBe('GET /a HTTP/1.1');
  });

  test('requests sent at once are answered in their order', async () => {
    const bytes = [1, 2, 3].map((n) => `GET /${n} HTTP/1.1\r\n${host}\r\n`).join('') + get('/4');
    const received = await exchangeBytes(sites.ny.edge.url, bytes);
    expect(received.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(4);
    expect(ny.seen).toHaveLength(4);
    expect(ny.complaints).toEqual([]);
  });

  test('a flood of requests sent at once ends the connection', async () => {
    const received = await exchangeBytes(sites.ny.edge.url, `GET /n HTTP/1.1\r\n${host}\r\n`.repeat(500), 2_000);
    expect((received.match(/HTTP\/1\.1 200 OK/g) ?? []).length).toBeLessThan(100);
    expect(ny.seen.length).toBeLessThan(100);
  });
});

describe('what a redirect may say', () => {
  test('only the configured address, whatever the path', async () => {
    await sites.toLa.cut();
    try {
      await expect.poll(() => sites.ny.log.filter(({ event }) => event === 'edge-lost').length).toBeGreaterThan(0);
      const cookie = sites.cookie('la');
      for (const path of [
        '/a//evil',
        '/..//evil',
        '/.',
        '/%0d%0aSet-Cookie:x',
        '/@evil',
        '/a?\\@evil',
        '/"<>',
        '/?//evil',
        '/;@evil:80/',
      ]) {
        const received = await exchangeBytes(
          sites.ny.edge.url,
          Buffer.from(get(path, `Cookie: ${cookie}\r\n`), 'latin1'),
        );
        const { status, headers } = parseAnswer(received);
        expect(status, path).toBe(307);
        expect(new URL(headers.location?.[0] as string).origin).toBe('http://la.shop.localhost');
        expect(headers.location?.[0]).toMatch(/^http:\/\/la\.shop\.localhost\/[!-~]*$/);
        expect(headers['set-cookie']).toBeUndefined();
      }
    } finally {
      await sites.toLa.heal();
      await expect.poll(() => sites.ny.log.at(-1)?.event).toBe('edge-reachable');
    }
  });
});

describe('an application that misbehaves', () => {
  /** Answers every request on a connection with these bytes. */
  async function misbehave<T>(bytes: string, use: (edge: string) => Promise<T>): Promise<T> {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', () => socket.write(Buffer.from(bytes, 'latin1')));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const own = await startSites({ ny: [url], limits: { answerMs: 1_500 } });
    try {
      return await use(own.ny.edge.url);
    } finally {
      await own.stop();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  test.each<[what: string, bytes: string]>([
    ['two framings', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'],
    ['bare CR', 'HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n'],
    ['NUL', 'HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n'],
    [
      'a change of protocol nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    ],
    ['no HTTP at all', 'hello\r\n\r\n'],
    ['headers of 100 KB', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}\r\nContent-Length: 0\r\n\r\n`],
  ])('%s: 502, and nothing of it comes through', async (_what, bytes) => {
    const received = await misbehave(bytes, (edge) => exchangeBytes(edge, get('/')));
    const answer = parseAnswer(received);
    expect(answer.status, received).toBe(502);
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'LK_NO_ANSWER', dataCenter: 'ny' } });
    expect(answer.headers['set-cookie']).toBeUndefined();
  });

  test("bytes after an answer are nobody else's answer", async () => {
    const extra = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';
    const bytes = `HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood${extra}`;
    await misbehave(bytes, async (edge) => {
      for (let i = 0; i < 20; i += 1) expect((await ask(edge, '/', { headers: { host: 'a' } })).body).toBe('good');
    });
  });

  test('Connection in an answer names what is not for the client', async () => {
    const bytes =
      'HTTP/1.1 200 OK\r\nConnection: X-Inner, close\r\nX-Inner: secret\r\nKeep-Alive: a\r\nContent-Length: 0\r\n\r\n';
    const { headers } = await misbehave(bytes, (edge) => ask(edge, '/', { headers: { host: 'a' } }));
    expect(headers['x-inner']).toBeUndefined();
    expect(headers['keep-alive']).not.toBe('a');
  });

  test('1xx answers are not the answer', async () => {
    const bytes = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    const reply = await misbehave(bytes, (edge) => ask(edge, '/', { headers: { host: 'a' } }));
    expect(reply).toMatchObject({ status: 200, body: 'ok' });
  });
});

describe('who may be believed', () => {
  test('a trusted proxy names the customer; nobody else does', async () => {
    const app = await startApp((request, response) => response.end(JSON.stringify(request.headers)));
    const own = await startSites({ ny: [app.url], options: { trustedProxies: ['127.0.0.0/8'] } });
    try {
      const headers = { host: 'ny.shop.localhost', 'x-forwarded-for': '8.8.8.8', 'x-forwarded-proto': 'https' };
      const reply = await ask(own.ny.edge.url, '/', { headers });
      expect(JSON.parse(reply.body)).toMatchObject({
        'x-forwarded-for': '8.8.8.8, 127.0.0.1',
        'x-forwarded-proto': 'https',
      });
      expect((await ask(own.ny.edge.url, '/lanekeeper/metrics', { headers })).status).toBe(404);
    } finally {
      await own.stop();
      await app.stop();
    }
  });

  test('metrics: on this machine, or with the token', async () => {
    const own = await startSites({ ny: [ny.url], options: { metricsToken: 'secret' } });
    try {
      const forwarded = { 'x-forwarded-for': '8.8.8.8' };
      const statusWith = async (headers: Record<string, string>) =>
        (await ask(own.ny.edge.url, '/lanekeeper/metrics', { headers })).status;
      expect(await statusWith({})).toBe(200);
      expect(await statusWith(forwarded)).toBe(404);
      expect(await statusWith({ ...forwarded, authorization: 'Bearer secreT' })).toBe(404);
      expect(await statusWith({ ...forwarded, authorization: 'Bearer secret' })).toBe(200);
    } finally {
      await own.stop();
    }
  });

  test('an address that keeps sending forged signatures is not verified any more; others and known cookies are', async () => {
    const own = await startSites({ ny: [ny.url], la: [la.url] });
    try {
      const home = async (cookie: string) =>
        (await ask(own.ny.edge.url, '/', { headers: { host: 'ny.shop.localhost', cookie } })).headers[
          'lanekeeper-data-center'
        ];
      const known = own.cookie('la');
      expect(await home(known)).toBe('la');
      const [head, payload] = own.cookie('la').split('.') as [string, string];
      for (let i = 0; i < 20; i += 1) expect(await home(`${head}.${payload}.${'A'.repeat(85)}A`)).toBe('ny');
      expect(await home(own.cookie('la'))).toBe('ny');
      expect(await home(known)).toBe('la');
    } finally {
      await own.stop();
    }
  });
});
