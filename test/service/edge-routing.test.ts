/** Edges that do not route by home (`routing: connection` and `call`): who serves whom, and what happens without applications. */
import type http from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { ask, startApp, startSites, type TestApp } from '../support/edges.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function appOf(listener: http.RequestListener, port = 0): Promise<TestApp> {
  const app = await startApp(listener, port);
  stops.push(() => app.stop().catch(() => {}));
  return app;
}

const named =
  (name: string): http.RequestListener =>
  (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () =>
      response.end(`${name} ${request.method} ${body} hops=${request.headers['lanekeeper-hops'] ?? 0}`),
    );
  };

const approaches = { connection: 'mostly-active-active', call: 'stateless-frontends' } as const;
const host = 'ny.shop.localhost';

for (const [routing, approach] of Object.entries(approaches)) {
  test(`${routing}: a customer is served where he arrives, elsewhere while nobody is there, and here again`, async () => {
    const ny = await appOf(named('ny'));
    const sites = await startSites({
      ny: [ny.url],
      la: [(await appOf(named('la'))).url],
      written: { approach },
    });
    stops.push(sites.stop);
    const cookie = sites.cookie('la');
    const post = (session = cookie) =>
      ask(sites.ny.edge.url, '/cart', { method: 'POST', headers: { host, cookie: session }, body: 'one line' });
    expect((await post()).body).toBe('ny POST one line hops=0');
    await ny.stop();
    for (const session of [cookie, sites.cookie('ny')]) {
      const page = await post(session);
      expect(page.body).toBe('la POST one line hops=1');
      expect(page.headers['lanekeeper-data-center']).toBe('la');
    }
    await appOf(named('ny again'), Number(new URL(ny.url).port));
    await expect.poll(async () => (await post()).body, { timeout: 15_000 }).toBe('ny again POST one line hops=0');
  });
}

test('what another edge passed on is not passed back; an application may still ask for a replay', async () => {
  const replays: http.RequestListener = (_request, response) => {
    response.writeHead(409, { 'lanekeeper-replay': 'dc=la; term=1' }).end();
  };
  const la = await appOf(named('la'));
  const sites = await startSites({
    ny: [(await appOf(replays)).url],
    la: [la.url],
    written: { approach: 'mostly-active-active' },
  });
  stops.push(sites.stop);
  const replayed = await ask(sites.ny.edge.url, '/cart', { method: 'POST', headers: { host }, body: 'x' });
  expect(replayed.body).toBe('la POST x hops=1');
  await la.stop();
  const nowhere = await ask(sites.ny.edge.url, '/cart', { method: 'POST', headers: { host }, body: 'x' });
  expect(nowhere.status).toBe(503);
  expect(JSON.parse(nowhere.body).error.code).toBe('LK_NO_APPLICATION');
});
