/** An instance of the shop is killed between the money and its knowing of it. Needs a build. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type LeashedProcess, spawnLeashed } from '@lanekeeper/lab';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { split } from '../../support/approach.ts';
import { type Side, sides } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import { type PaymentProcess, paymentProcess } from './payment-service.ts';
import { Shopper } from './shopper.ts';
import { startTwoCoasts, type TwoCoasts } from './two-coasts.ts';

// Machines are busy at times; nothing here is measured.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let directory: string;
let service: PaymentProcess;
/** Takes orders and charges nothing. */
let coasts: TwoCoasts;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lanekeeper-killed-'));
  service = await paymentProcess();
  coasts = await startTwoCoasts();
});
afterAll(async () => {
  await coasts?.stop();
  await service?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** An instance beside the one that took the order. */
async function instance(dc: Side, name: string): Promise<LeashedProcess> {
  const { env, written, urls } = coasts.pair.dc(dc);
  const config = join(directory, `${dc}.json`);
  await writeFile(config, JSON.stringify(written));
  const { PATH, LANEKEEPER_TEST_RUN } = process.env;
  const program = fileURLToPath(
    new URL(`../../../examples/storefront/dist/${split ? 'back' : 'main'}.js`, import.meta.url),
  );
  return spawnLeashed(process.execPath, [program], {
    cwd: directory,
    env: {
      PATH,
      ...(LANEKEEPER_TEST_RUN ? { LANEKEEPER_TEST_RUN } : {}),
      ...env,
      LANEKEEPER_CONFIG: config,
      LANEKEEPER_INSTANCE: name,
      DATABASE_URL: urls.application,
      PORT: String(await freePort('127.0.0.1')),
      STOREFRONT_PAYMENT_URL: service.url,
      LOG_LEVEL: 'silent',
    },
    stderr: 2,
  });
}

test('killed after the money has moved and before it knows: another instance asks again, and it is one charge', async () => {
  const shopper = new Shopper(coasts);
  await shopper.post('ny', '/register', { email: 'k@example.com', password: 'correct horse' });
  await shopper.post('ny', '/cart', { sku: 'bud-vase', quantity: 1 });
  const { order } = (await shopper.post('ny', '/checkout', { requestId: 'killed' })).json;
  expect(order.payment).toMatchObject({ state: 'pending', asked: false });

  await service.start({ PAYMENT_ANSWER_DELAY_MS: '4000' });
  const first = await instance('ny', 'ny-2');
  await until('the money has moved', async () => (await service.movements(order.id)).length === 1);
  first.signal('SIGKILL');
  await first.exited;
  const known = await shopper.get('ny', `/orders/${order.id}`);
  expect(known.json.payment).toMatchObject({ state: 'pending', charged: 0, asked: true });

  await service.start();
  // The instances elsewhere leave it alone: the account is not at home there.
  const others = [await instance('ny', 'ny-3')];
  for (const dc of sides.slice(1)) others.push(await instance(dc, `${dc}-2`));
  try {
    await until('it is paid', async () => {
      return (await shopper.get('ny', `/orders/${order.id}`)).json.payment.state === 'paid';
    });
  } finally {
    for (const one of others) {
      one.signal('SIGTERM');
      await one.exited;
    }
  }
  expect(await service.movements(order.id)).toMatchObject([{ key: order.id, amount: 2900 }]);
  const sql = 'SELECT attempts, settled_in FROM payments WHERE id = $1';
  expect(await coasts.rows('ny', sql, [order.id])).toEqual([{ attempts: 2, settled_in: 'ny' }]);
});
