/** `lanekeeper lab` as a newcomer uses it: started in a folder of its own, shopped in, broken, healed, stopped. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { Customer, processesOf, type TestLab, testLab } from '../support/lab.ts';

const wait = { timeout: 30_000, interval: 200 };

describe('the storefront', { timeout: 120_000 }, () => {
  let lab: TestLab;
  beforeAll(async () => {
    lab = await testLab();
  }, 120_000);
  afterAll(() => lab?.stop());

  const edge = (name: string): string => lab.line.dataCenters[name]?.edge ?? '';

  test('says where everything is, on one line and in lab.json', () => {
    const { line } = lab;
    expect(line.approach).toBe('full-active-active');
    expect(Object.keys(line.dataCenters)).toEqual(['ny', 'la']);
    expect(line.dataCenters.ny?.apps).toHaveLength(2);
    expect(line.storefront).toBe(edge('ny'));
    expect(line.witness).toMatchObject({ database: expect.stringMatching(/^postgres:/), endpoints: [] });
    expect(existsSync(join(line.dir, 'lab.json'))).toBe(true);
    expect(existsSync(join(lab.directory, '.lanekeeper', 'lab.json'))).toBe(true);
  });

  test('a customer shops in ny, is known in la, and checks out once', async () => {
    const customer = new Customer();
    const products = await customer.ask(`${edge('ny')}/products`);
    expect(products).toMatchObject({ status: 200, dataCenter: 'ny' });
    const [{ sku }] = products.body as [{ sku: string }];
    expect((await customer.ask(`${edge('ny')}/cart`, { body: { sku, quantity: 2 } })).status).toBeLessThan(300);
    const registered = { email: 'first@example.com', password: 'correct horse battery', name: 'First' };
    expect((await customer.ask(`${edge('ny')}/register`, { body: registered })).status).toBeLessThan(300);
    const inLa = await customer.ask(`${edge('la')}/cart`);
    expect(inLa.body).toMatchObject({ lines: [{ sku, quantity: 2 }] });
    const order = await customer.ask(`${edge('la')}/checkout`, { body: { requestId: 'once' } });
    expect(order).toMatchObject({ dataCenter: 'ny' });
    const again = await customer.ask(`${edge('ny')}/checkout`, { body: { requestId: 'once' } });
    const idOf = (body: unknown): unknown => (body as { order: { id: string } }).order.id;
    expect(idOf(again.body)).toBe(idOf(order.body));
    expect((await customer.ask(`${edge('la')}/orders`)).body).toHaveLength(1);
    // One's orders in sum are a copy as of a moment, on both coasts.
    const refreshed = await lab.command('copies', 'refresh', 'order_history', '--json');
    expect(refreshed, refreshed.stderr).toMatchObject({ code: 0 });
    for (const name of ['ny', 'la']) {
      const history = async (): Promise<unknown> => (await customer.ask(`${edge(name)}/orders/history`)).body;
      await expect.poll(history, wait).toMatchObject({ orders: 1, complete: true, asOf: expect.stringMatching(/Z$/) });
    }
  });

  test('other commands find it by themselves', async () => {
    const status = await lab.command('status', '--json');
    expect(status).toMatchObject({ code: 0, stderr: '' });
    const links = await lab.command('lab', 'link', '--json');
    const { links: directions } = JSON.parse(links.stdout) as {
      links: { from: string; to: string; delayMs: number }[];
    };
    expect(directions.find(({ from, to }) => from === 'ny' && to === 'la')).toMatchObject({ delayMs: 30 });
    expect((await lab.command('lab', 'link', 'ny', 'mars', '--cut')).code).toBe(2);
  });

  test('a cut link stops what travels, and healing brings it all', async () => {
    const rows = (name: string): Promise<{ id: string }[]> =>
      runSql(lab.line.dataCenters[name]?.database ?? '', "SELECT id FROM accounts WHERE email = 'second@example.com'");
    expect((await lab.command('lab', 'link', 'ny', 'la', '--cut')).code).toBe(0);
    const customer = new Customer();
    const body = { email: 'second@example.com', password: 'correct horse battery', name: 'Second' };
    // Half of all addresses are registered in la, which ny cannot ask now: those are refused, not invented.
    const answer = await customer.ask(`${edge('ny')}/register`, { body });
    expect([201, 503]).toContain(answer.status);
    const [{ sku }] = (await customer.ask(`${edge('ny')}/products`)).body as [{ sku: string }];
    const guest = new Customer();
    expect((await guest.ask(`${edge('ny')}/cart`, { body: { sku, quantity: 1 } })).status).toBeLessThan(300);
    const carts = async (name: string): Promise<number> => {
      const found = await runSql<{ n: string }>(
        lab.line.dataCenters[name]?.database ?? '',
        'SELECT count(*) AS n FROM carts',
      );
      return Number(found[0]?.n);
    };
    expect(await carts('la')).toBeLessThan(await carts('ny'));
    if (answer.status === 201) expect(await rows('la')).toEqual([]);
    expect((await lab.command('lab', 'link', 'ny', 'la', '--heal')).code).toBe(0);
    await expect.poll(async () => (await carts('la')) === (await carts('ny')), wait).toBe(true);
    expect(await rows('la')).toEqual(await rows('ny'));
    const verified = await lab.command('verify', '--json');
    expect(verified.code).toBe(0);
  });

  test('the payment service is stopped: orders are taken; it is started: each is charged once', async () => {
    const service = (action: string) => lab.command('lab', 'process', 'payments', 'service', action, '--json');
    const stopped = await service('stop');
    expect(stopped).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(stopped.stdout)).toMatchObject({ processes: [{ site: 'payments', pid: null }] });
    const customer = new Customer();
    const [{ sku }] = (await customer.ask(`${edge('la')}/products`)).body as [{ sku: string }];
    const body = { email: 'payer@example.com', password: 'correct horse battery' };
    expect((await customer.ask(`${edge('la')}/register`, { body })).status).toBe(201);
    await customer.ask(`${edge('la')}/cart`, { body: { sku, quantity: 1 } });
    const taken = await customer.ask(`${edge('la')}/checkout`, { body: { requestId: 'later' } });
    expect(taken.body).toMatchObject({ order: { status: 'placed', payment: { state: 'pending' } } });
    const { id } = (taken.body as { order: { id: string } }).order;
    expect((await service('start')).code).toBe(0);
    const payment = async (): Promise<unknown> => (await customer.ask(`${edge('la')}/orders/${id}`)).body;
    await expect.poll(payment, wait).toMatchObject({ payment: { state: 'paid' } });
    const answer = await fetch(`${lab.line.payments}/movements?order=${id}`);
    const { movements } = (await answer.json()) as { movements: unknown };
    expect(movements).toMatchObject([{ key: id, kind: 'charge' }]);
    expect((await lab.command('lab', 'process', 'payments', 'nobody', 'stop')).code).toBe(2);
  });

  test('a service that is killed comes back', async () => {
    const app = lab.line.dataCenters.la?.apps[0] ?? '';
    const found = (await processesOf(new URL(app).port)).concat(await processesOf(`PORT=${new URL(app).port}`));
    const pid = Number(found.find((line) => line.includes('main.js'))?.split(' ')[0]);
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(
        () =>
          fetch(app).then(
            () => true,
            () => false,
          ),
        wait,
      )
      .toBe(false);
    await expect
      .poll(
        () =>
          fetch(app).then(
            ({ status }) => status,
            () => 0,
          ),
        wait,
      )
      .toBe(200);
  });

  test('SIGTERM stops everything and leaves nothing', async () => {
    const { dir } = lab.line;
    expect((await processesOf(dir)).length).toBeGreaterThan(8);
    lab.process.kill('SIGTERM');
    const pointer = join(lab.directory, '.lanekeeper');
    await expect.poll(() => lab.process.exitCode, wait).toBe(0);
    expect(existsSync(dir)).toBe(false);
    expect(existsSync(pointer)).toBe(false);
    await expect.poll(() => processesOf(dir), wait).toEqual([]);
  });
});

describe('the storefront in two pieces', { timeout: 120_000 }, () => {
  let lab: TestLab;
  beforeAll(async () => {
    lab = await testLab(['--approach', 'stateless-frontends']);
  }, 120_000);
  afterAll(() => lab?.stop());

  test('frontends have no database; a backend that is gone is not missed', async () => {
    const { ny, la } = lab.line.dataCenters;
    expect(lab.line.approach).toBe('stateless-frontends');
    expect([ny?.apps.length, ny?.backends.length]).toEqual([2, 2]);
    const status = await lab.command('lab', 'status', '--json');
    expect(Object.keys((JSON.parse(status.stdout) as { services: object }).services)).toContain('la backend 2');
    const customer = new Customer();
    const body = { email: 'front@example.com', password: 'correct horse battery' };
    expect(await customer.ask(`${la?.edge}/register`, { body })).toMatchObject({ status: 201 });
    expect((await lab.command('lab', 'process', 'la', 'backend-1', 'stop', '--json')).code).toBe(0);
    // Reads are repeated, so nobody notices; and then it is known.
    for (let i = 0; i < 12; i += 1) expect((await customer.ask(`${ny?.edge}/cart`)).status).toBe(200);
    for (let i = 1; i <= 4; i += 1) {
      const put = await customer.ask(`${ny?.edge}/cart`, { body: { sku: 'bud-vase', quantity: 1 } });
      expect(put).toMatchObject({ status: 200, dataCenter: 'ny', body: { count: i } });
    }
    const carts = 'SELECT FROM carts';
    expect(await runSql(la?.database ?? '', carts)).toHaveLength(1);
    const processes = await processesOf('dist/front.js');
    const ours = processes.filter((line) => line.includes('front.js'));
    expect(ours.length).toBeGreaterThanOrEqual(4);
    for (const line of ours) {
      const environment = await readFile(`/proc/${line.split(' ')[0]}/environ`, 'utf8');
      expect(environment).not.toMatch(/DATABASE_URL|_PASSWORD|SIGNING_KEY/);
    }
  });
});

/** Without Lanekeeper in it: what it is given, it says. */
const application = `
  const { createServer } = require('node:http');
  const { HOST, PORT, LANEKEEPER_DC, LANEKEEPER_INSTANCE, DATABASE_URL } = process.env;
  createServer((request, response) => {
    response.end(JSON.stringify({ here: LANEKEEPER_DC, instance: LANEKEEPER_INSTANCE, user: new URL(DATABASE_URL).username }));
  }).listen(Number(PORT), HOST);
`;
const schema = `
  CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE NOT NULL);
  CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers);
  CREATE TABLE lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, sku text);
`;

describe('an application of one’s own', { timeout: 120_000 }, () => {
  let folder: string;
  let lab: TestLab;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lanekeeper-app-'));
    await writeFile(join(folder, 'app.cjs'), application);
    await writeFile(join(folder, 'schema.sql'), schema);
    const files = ['--app', `node ${join(folder, 'app.cjs')}`, '--schema', join(folder, 'schema.sql')];
    lab = await testLab([
      '--data-centers',
      'fra,lon',
      '--rtt',
      '10ms',
      '--dir',
      join(folder, 'lab'),
      '--keep',
      ...files,
    ]);
  }, 120_000);
  afterAll(async () => {
    await lab?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('runs behind the edges with what it needs, its tables guessed and fenced', async () => {
    const { fra, lon } = lab.line.dataCenters;
    expect(lab.line.payments).toBeNull();
    expect((await processesOf(lab.line.dir)).filter((line) => line.includes('payment-service'))).toEqual([]);
    const answers = await Promise.all([fra, lon].map(async (dc) => (await fetch(dc?.edge ?? '')).json()));
    expect(answers).toMatchObject([
      { here: 'fra', user: 'lanekeeper_application' },
      { here: 'lon', user: 'lanekeeper_application' },
    ]);
    const [application, database] = [fra?.databases.application ?? '', lon?.databases.application ?? ''];
    const [born] = await runSql<{ id: string }>(
      application,
      "INSERT INTO customers (email) VALUES ('a@example.com') RETURNING id",
    );
    await runSql(application, 'INSERT INTO orders (customer_id) VALUES ($1)', [born?.id]);
    const arrived = (): Promise<unknown[]> => runSql(database, 'SELECT customer_id FROM orders');
    await expect.poll(arrived, wait).toEqual([{ customer_id: born?.id }]);
    const write = runSql(database, 'INSERT INTO lines (order_id, sku) SELECT id, $1 FROM orders', ['x']);
    await expect(write).rejects.toMatchObject({ code: 'LK001' });
  });

  test('its folder is kept, and the next lab in it goes on from there, under another approach', async () => {
    expect(await lab.stop()).toBe(0);
    expect(existsSync(join(lab.line.dir, 'lab.json'))).toBe(false);
    const before = lab.line;
    const files = ['--app', `node ${join(folder, 'app.cjs')}`, '--schema', join(folder, 'schema.sql')];
    const approach = ['--approach', 'active-passive'];
    lab = await testLab(['--data-centers', 'fra,lon', '--dir', join(folder, 'lab'), ...approach, ...files]);
    expect(lab.line.dataCenters.fra?.edge).toBe(before.dataCenters.fra?.edge);
    const database = lab.line.dataCenters.lon?.database ?? '';
    expect(await runSql(database, 'SELECT email FROM customers')).toEqual([{ email: 'a@example.com' }]);
    expect(lab.line.approach).toBe('active-passive');
    const homes = (): Promise<unknown[]> => runSql(database, 'SELECT dc, homes FROM lanekeeper.homed_as ORDER BY dc');
    await expect.poll(homes, wait).toEqual([
      { dc: 'fra', homes: 'single' },
      { dc: 'lon', homes: 'single' },
    ]);
  });

  test('killed without a word, it leaves nothing either', async () => {
    const { dir } = lab.line;
    lab.process.kill('SIGKILL');
    await expect.poll(() => existsSync(dir), wait).toBe(false);
    await expect.poll(() => processesOf(dir), wait).toEqual([]);
  });
});
