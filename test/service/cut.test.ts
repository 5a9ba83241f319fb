/**
 * The link between the data centers is cut, their hosts share no domain, and a customer's cookie is out of date: he is
 * sent to where his account is, once, and arrives there as himself.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dataCenterOf, type TestLab, testLab } from '../support/lab.ts';

let lab: TestLab;
beforeAll(async () => {
  lab = await testLab(['--hosts', 'addresses']);
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

/** As a browser keeps cookies: for each host its own. */
class Jar {
  readonly #hosts = new Map<string, Map<string, string>>();

  async ask(method: string, url: URL, body: unknown) {
    const host = url.host;
    const own = this.#hosts.get(host) ?? new Map<string, string>();
    this.#hosts.set(host, own);
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        cookie: [...own].map(([name, value]) => `${name}=${value}`).join('; '),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      own.set(name, value);
    }
    const location = response.headers.get('location');
    return {
      status: response.status,
      body: await response.text(),
      next: location === null ? null : new URL(location, url),
    };
  }

  /** Follows what keeps the method, and counts. */
  async follow(method: string, start: string, body: unknown) {
    const seen: string[] = [];
    for (let url = new URL(start); seen.length < 12; ) {
      const answer = await this.ask(method, url, body);
      seen.push(`${answer.status} ${url.host}`);
      if (answer.next === null) return { ...answer, seen };
      url = answer.next;
    }
    throw new Error(`sent round in a circle: ${seen.join(', ')}`);
  }
}

test('a stale cookie, a cut link, hosts without a common domain: one redirect and a handoff', {
  timeout: 90_000,
}, async () => {
  const [ny, la] = [dataCenterOf(lab, 'ny').edge, dataCenterOf(lab, 'la').edge];
  const jar = new Jar();
  const registered = await jar.follow('POST', `${ny}/register`, {
    email: 'cut@example.org',
    password: 'correct horse battery',
  });
  expect(registered.status).toBe(201);
  const account = (JSON.parse(registered.body) as { account: { id: string } }).account.id;
  const products = (await (await fetch(`${ny}/products`, { headers: { accept: 'application/json' } })).json()) as {
    sku: string;
  }[];
  const moved = await lab.command('rehome', account, '--to', 'la');
  expect(moved.code, moved.stdout + moved.stderr).toBe(0);
  await lab.command('lab', 'link', 'ny', 'la', '--cut');
  const line = { sku: products[0]?.sku, quantity: 1 };
  // Until the edges have noticed the cut, a write may be answered with "nobody knows": nothing to see here.
  await expect
    .poll(async () => (await jar.ask('POST', new URL('/cart', ny), line)).status, { timeout: 30_000, interval: 500 })
    .toBe(307);
  const added = await jar.follow('POST', `${ny}/cart`, line);
  expect(added.status, added.seen.join(', ')).toBe(200);
  expect(added.seen.at(-1)).toBe(`200 ${new URL(la).host}`);
  expect(added.seen.length).toBeLessThanOrEqual(3);
  const again = await jar.follow('POST', `${la}/cart`, line);
  expect(again.seen).toEqual([`200 ${new URL(la).host}`]);
});
