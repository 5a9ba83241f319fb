/**
 * Random requests, some valid, most not quite, on raw sockets; a seed replays them. Whatever comes: the edge lives, and
 * the applications see only well-formed requests, and never one that was hidden in another.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ask, exchangeBytes, startSites, type TestSites } from '../support/edges.ts';
import { type Recorder, startRecorder } from '../support/recorder.ts';

const seed = Number(process.env.LANEKEEPER_SEED ?? 7);
const cases = Number(process.env.LANEKEEPER_CASES ?? 1_500);

let ny: Recorder;
let la: Recorder;
let sites: TestSites;

beforeAll(async () => {
  [ny, la] = await Promise.all([startRecorder(), startRecorder()]);
  sites = await startSites({ ny: [ny.url], la: [la.url] });
});
afterAll(async () => {
  await sites?.stop();
  await Promise.all([ny?.stop(), la?.stop()]);
});

class Dice {
  #state: number;
  constructor(start: number) {
    this.#state = start >>> 0;
  }
  /** 0 ≤ x < 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }
  below(n: number): number {
    return Math.floor(this.next() * n);
  }
  chance(p: number): boolean {
    return this.next() < p;
  }
  one<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
}

const methods = [
  'GET',
  'POST',
  'PUT',
  'HEAD',
  'OPTIONS',
  'DELETE',
  'PATCH',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'get',
  'G\0T',
  'M-SEARCH',
];
const targets = [
  '/',
  '/a?b=c',
  '//evil',
  '/\\evil',
  '/a#b',
  '*',
  'http://evil/',
  'http://ny.shop.localhost/x',
  '/%0d%0a',
  '/a b',
  '',
  '/\x7f',
  '/é',
  '/..//x',
  'evil:80',
];
const versions = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  '',
];
const ends = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '\n\r\n'];
const names = [
  'Accept',
  'Cookie',
  'Connection',
  'Connection',
  'Upgrade',
  'Expect',
  'TE',
  'Trailer',
  'Keep-Alive',
  'Proxy-Connection',
  'Host',
  'Lanekeeper-Edge',
  'Lanekeeper-Hops',
  'LANEKEEPER-Host',
  'Lanekeeper_Via',
  'lanekeeper',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X_Forwarded_For',
  'Forwarded',
  'Content_Length',
  'Transfer_Encoding',
  'Content-Type',
  'Range',
  'X-\x80',
  'X A',
  '',
  ' X',
  'X-Long',
];
const values = [
  '*/*',
  'close',
  'keep-alive',
  'upgrade',
  'websocket',
  'h2c',
  'trailers',
  '100-continue',
  'lanekeeper-via, x-forwarded-for, host',
  'content-length',
  'transfer-encoding',
  'accept, cookie',
  '1',
  'evil',
  'a=b; __Secure-lanekeeper=x.y.z',
  '',
  '\0',
  '\x7f',
  'é',
  'a\rb',
  'a\nX: y',
  'a\r\n b',
  'z'.repeat(9_000),
];

const hidden = 'GET /hidden HTTP/1.1\r\nHost: ny.shop.localhost\r\n\r\n';
const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

/** Ways to say how long a body is. In each of them, `hidden` is part of the body or of a request that must be refused. */
const framings: readonly (readonly [headers: string, body: string])[] = [
  ['', ''],
  ['', ''],
  [`Content-Length: ${hidden.length}\r\n`, hidden],
  ['Transfer-Encoding: chunked\r\n', chunked(hidden)],
  ['transfer-encoding: CHUNKED\r\n', chunked(hidden)],
  [
    'Transfer-Encoding: chunked\r\n',
    `${hidden.length.toString(16)};a="b"\r\n${hidden}\r\n0\r\nX-Trailer: /hidden\r\n\r\n`,
  ],
  [`Content-Length: ${hidden.length + 5}\r\n`, hidden],
  ['Content-Length: 0\r\nTransfer-Encoding: chunked\r\n', chunked(hidden)],
  [`Transfer-Encoding: chunked\r\nContent-Length: ${hidden.length}\r\n`, `0\r\n\r\n${hidden}`],
  ['Content-Length: 0\r\nContent-Length: 5\r\n', hidden],
  ['Content-Length: 5, 0\r\n', hidden],
  ['Content-Length: 0x0\r\n', hidden],
  ['Content-Length: -0\r\n', hidden],
  ['Content-Length:\r\n', hidden],
  ['Content-Length : 0\r\n', hidden],
  ['Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: gzip, chunked\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: "chunked"\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding:\x0bchunked\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding : chunked\r\n', `0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\n', `+0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\n', `0x0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\n', `5\r\nabc\r\n0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\n', `1\r\na0\r\n\r\n${hidden}`],
  ['Transfer-Encoding: chunked\r\n', `ffffffffffffffff1\r\n${hidden}`],
];

/** Valid and with one framing from the list, among headers that may be anything else. */
function composed(dice: Dice, cookie: string): string {
  const [framing, body] = dice.one(framings);
  const lines: string[] = [];
  if (!dice.chance(0.05)) lines.push('Host: ny.shop.localhost\r\n');
  if (dice.chance(0.5)) lines.push(`Cookie: ${cookie}\r\n`);
  for (let i = dice.below(4); i > 0; i -= 1) {
    lines.push(
      `${dice.one(names)}${dice.chance(0.95) ? ':' : dice.one([' :', '\t:', '', '::'])} ${dice.one(values)}\r\n`,
    );
  }
  lines.splice(dice.below(lines.length + 1), 0, framing);
  const method = dice.chance(0.7) ? dice.one(['GET', 'POST']) : dice.one(methods);
  const target = dice.chance(0.7) ? '/a' : dice.one(targets);
  const version = dice.chance(0.8) ? 'HTTP/1.1' : dice.one(versions);
  return `${method} ${target} ${version}${dice.chance(0.9) ? '\r\n' : dice.one(ends)}${lines.join('')}\r\n${body}`;
}

/** A request that was valid before some of its bytes were changed. Nothing is hidden in it, because a changed length may bring it out. */
function mutated(dice: Dice, cookie: string): string {
  const body = 'x'.repeat(dice.below(40));
  let bytes = `POST /m HTTP/1.1\r\nHost: ny.shop.localhost\r\nCookie: ${cookie}\r\nLanekeeper-Hops: 2\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /n HTTP/1.1\r\nHost: ny.shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
  for (let i = 1 + dice.below(3); i > 0; i -= 1) {
    const at = dice.below(bytes.length);
    const byte = String.fromCharCode(dice.chance(0.5) ? dice.below(256) : dice.one([0, 9, 10, 13, 32, 44, 58, 92, 47]));
    const kind = dice.below(3);
    bytes = bytes.slice(0, at) + (kind === 0 ? '' : byte) + bytes.slice(at + (kind === 1 ? 0 : 1));
  }
  return bytes;
}

test(
  `${cases} requests, seed ${seed}`,
  async () => {
    const dice = new Dice(seed);
    const cookies = [sites.cookie('ny'), sites.cookie('la'), `${sites.cookie('la')}x`, 'a=b'];
    const requests = Array.from({ length: cases }, () =>
      (dice.chance(0.7) ? composed : mutated)(dice, dice.one(cookies)),
    );
    const statuses = new Map<string, number>();
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < requests.length) {
        const bytes = requests[next++] as string;
        const received = await exchangeBytes(sites.ny.edge.url, Buffer.from(bytes, 'latin1'), 400);
        const answers = received.match(/HTTP\/1\.1 \d\d\d/g) ?? [];
        for (const answer of answers) statuses.set(answer.slice(9), (statuses.get(answer.slice(9)) ?? 0) + 1);
        const outcome = JSON.stringify(bytes);
        expect(received === '' || received.startsWith('HTTP/1.1 '), outcome).toBe(true);
        // A request that is refused is the last one on its connection.
        expect(received.search(/HTTP\/1\.1 4\d\d [\s\S]*HTTP\/1\.1 \d/), outcome).toBe(-1);
        expect(received, outcome).not.toMatch(/lanekeeper-(?!data-center)/i);
      }
    };
    await Promise.all(Array.from({ length: 24 }, worker));

    expect([...ny.complaints, ...la.complaints]).toEqual([]);
    const seen = [...ny.seen, ...la.seen];
    expect(seen.filter(({ line }) => line.includes('hidden'))).toEqual([]);
    // Only `la` is ever passed anything by another edge, and what a client says about that counts for nothing.
    const hops = (recorder: Recorder) =>
      new Set(recorder.seen.map(({ headers }) => headers.find(([name]) => name === 'lanekeeper-hops')?.[1]));
    expect([hops(ny), hops(la)]).toEqual([new Set([undefined]), new Set(['1'])]);
    // Of every kind enough, so that the test says something.
    expect(seen.filter(({ body }) => body.startsWith('GET /hidden')).length).toBeGreaterThan(cases / 300);
    expect(ny.seen.length).toBeGreaterThan(cases / 20);
    expect(la.seen.length).toBeGreaterThan(cases / 300);
    // Answers that a busy machine gives too late are not read: what the applications have seen says more.
    expect(statuses.get('400')).toBeGreaterThan(cases / 100);
    expect(statuses.get('200')).toBeGreaterThan(cases / 100);
    expect([...statuses.keys()].filter((status) => Number(status) >= 500)).toEqual([]);

    // With a cookie that is known already: so many forged ones have come from here that new ones are not verified.
    const after = await ask(sites.ny.edge.url, '/after', {
      headers: { host: 'ny.shop.localhost', cookie: cookies[1] as string },
    });
    expect([after.status, after.headers['lanekeeper-data-center']]).toEqual([200, 'la']);
    // Nothing of it is left behind.
    const left = async () => {
      const metrics = (await ask(sites.ny.edge.url, '/lanekeeper/metrics')).body;
      return metrics
        .split('\n')
        .filter((line) => /^lanekeeper_edge_(kept_bytes|instance_busy|tunnels)/.test(line) && !line.endsWith(' 0'));
    };
    await expect.poll(left, { timeout: 5_000 }).toEqual([]);
  },
  20_000 + cases * 20,
);
