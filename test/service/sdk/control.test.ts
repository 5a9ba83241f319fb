/** The control connection: what the application hears, and that it is safe when it hears nothing. */
import { once } from 'node:events';
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Shop, startShop, until } from './shop.ts';

let shop: Shop;
const open: Lanekeeper[] = [];
let accountNumber = 0;

beforeAll(async () => {
  shop = await startShop();
});
afterEach(async () => {
  for (const lanekeeper of open.splice(0)) await lanekeeper.close();
});
afterAll(() => shop?.stop());

async function start(options: { instance?: string; controlUrl?: string } = {}): Promise<Lanekeeper> {
  const lanekeeper = await createLanekeeper({
    config: shop.pair.dc('ny').configuration,
    env: shop.env('ny'),
    ...options,
  });
  open.push(lanekeeper);
  return lanekeeper;
}

async function newAccount(): Promise<string> {
  accountNumber += 1;
  await shop.register('ny', `a${accountNumber}`);
  return `a${accountNumber}`;
}

const ny = () => shop.pair.dc('ny').urls;

async function instances(): Promise<string[]> {
  const rows = await runSql<{ instance: string }>(
    ny().agent,
    'SELECT instance FROM lanekeeper.instances() AS instance',
  );
  return rows.map(({ instance }) => instance);
}

function backendsOf(instance: string): Promise<{ pid: number }[]> {
  return runSql(ny().superuser, 'SELECT pid FROM pg_stat_activity WHERE application_name = $1', [
    `lanekeeper:${instance}`,
  ]);
}

/** Work that is in flight until it is let go. */
function occupy(lanekeeper: Lanekeeper, account: string): { started: Promise<void>; release(): Promise<void> } {
  let begin = () => {};
  let end = () => {};
  const started = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const work = lanekeeper.forAccount(account, async () => {
    begin();
    await ended;
  });
  return {
    started,
    release: async () => {
      end();
      await work;
    },
  };
}

test('an instance is enlisted while it lives', async () => {
  const lanekeeper = await start({ instance: 'first' });
  expect(await instances()).toContain('first');
  await lanekeeper.close();
  await until('the end of its session', async () => !(await instances()).includes('first'));
});

test('a move waits for all instances, each for its own work', async () => {
  const account = await newAccount();
  const [one, two] = [await start(), await start()];
  const [workOne, workTwo] = [occupy(one, account), occupy(two, account)];
  await Promise.all([workOne.started, workTwo.started]);
  const steps: string[] = [];
  const moved = shop.move(account, 'la', { at: (step) => void steps.push(step) });
  await until('the drain', () => steps.length > 0);
  await workOne.release();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(steps).toEqual(['draining']);
  await workTwo.release();
  await moved;
  expect(steps).toEqual(['draining', 'drained', 'given', 'arrived']);
});

test('work inside work for the same account does not wait for itself', async () => {
  const account = await newAccount();
  const lanekeeper = await start();
  let moved: Promise<void> | undefined;
  await lanekeeper.forAccount(account, async () => {
    let draining = () => {};
    const begun = new Promise<void>((resolve) => {
      draining = resolve;
    });
    moved = shop.move(account, 'la', { at: (step) => (step === 'draining' ? draining() : undefined) });
    await begun;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await lanekeeper.forAccount(account, async () => 'inside')).toBe('inside');
  });
  await moved;
  await expect(lanekeeper.forAccount(account, async () => {})).rejects.toMatchObject({
    code: 'LK_WRONG_HOME',
    details: { home: 'la' },
  });
});

test('a lost connection comes back by itself, enlisted; nothing remembered outlives it', async () => {
  const account = await newAccount();
  const lanekeeper = await start({ instance: 'stubborn' });
  await lanekeeper.forAccount(account, async () => {});
  const before = await backendsOf('stubborn');
  expect(before.length).toBeGreaterThan(0);
  for (let round = 0; round < 3; round += 1) {
    await runSql(
      ny().superuser,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lanekeeper:stubborn'",
    );
    await until('the instance to be enlisted again', async () => {
      const pids = (await backendsOf('stubborn')).map(({ pid }) => pid);
      return (await instances()).includes('stubborn') && pids.every((pid) => !before.some((old) => old.pid === pid));
    });
  }
  await shop.move(account, 'la');
  await expect(lanekeeper.forAccount(account, async () => {})).rejects.toMatchObject({ code: 'LK_WRONG_HOME' });
});

test('without a control connection the database decides: a move does not wait, and late work is refused', async () => {
  const account = await newAccount();
  const deaf = await start({ controlUrl: 'postgres://127.0.0.1:1/nowhere' });
  expect(await instances()).not.toContain(deaf.instance);
  const pool = deaf.pool({ max: 1 });
  const insert = (id: string) => pool.query('INSERT INTO orders VALUES ($1, $2)', [id, account]);
  const outcome = await deaf
    .forAccount(account, async () => {
      await insert(`${account}-1`);
      await shop.move(account, 'la');
      await insert(`${account}-2`);
    })
    .catch((error: unknown) => error);
  expect(outcome).toMatchObject({ code: 'LK_WRONG_HOME', details: { account, home: 'la' } });
  await expect(deaf.forAccount(account, async () => {})).rejects.toMatchObject({ code: 'LK_WRONG_HOME' });
  await pool.end();
  const rows = await runSql(shop.pair.dc('la').urls.superuser, 'SELECT id FROM orders WHERE account_id = $1', [
    account,
  ]);
  expect(rows).toEqual([{ id: `${account}-1` }]);
});

test('a database that is away at the start is waited for', async () => {
  const target = new URL(ny().application);
  const lanekeeper = await start({ controlUrl: target.href.replace(`:${target.port}/`, ':1/'), instance: 'patient' });
  expect(lanekeeper.here).toBe('ny');
  expect(await instances()).not.toContain('patient');
});

test('a connection that hears nothing is not enlisted, and says so', async () => {
  const deafening = await startDeafProxy(ny().application);
  const warned = once(process, 'warning');
  const lanekeeper = start({ controlUrl: deafening.url, instance: 'behind-a-pooler' });
  try {
    const [warning] = await warned;
    expect(warning).toMatchObject({ code: 'LK_CONTROL' });
    await lanekeeper;
    expect(await instances()).not.toContain('behind-a-pooler');
  } finally {
    await lanekeeper;
    await deafening.stop();
  }
});

/** Passes everything but NotificationResponse messages, as a pooler in transaction mode does. */
async function startDeafProxy(url: string): Promise<{ url: string; stop(): Promise<void> }> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const upstream = netConnect(Number(target.port), target.hostname);
    sockets.add(client).add(upstream);
    client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.pipe(upstream);
    let kept = Buffer.alloc(0);
    upstream.on('data', (chunk) => {
      kept = Buffer.concat([kept, chunk]);
      while (kept.length >= 5) {
        const length = 1 + kept.readInt32BE(1);
        if (kept.length < length) return;
        if (kept[0] !== 'A'.charCodeAt(0)) client.write(kept.subarray(0, length));
        kept = kept.subarray(length);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: url.replace(`:${target.port}/`, `:${port}/`),
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
