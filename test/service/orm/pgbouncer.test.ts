import { once } from 'node:events';
import { createLanekeeper } from 'lanekeeper';
import { afterAll, describe, expect, test } from 'vitest';
import { runSql } from '../../support/clusters.ts';
import { type Shop, startShop } from '../sdk/shop.ts';
import { type Bouncer, missingPgBouncer, startPgBouncer } from './pgbouncer.ts';
import { openPlainPg } from './plain-pg.ts';
import { ormSuite } from './suite.ts';

const name = 'plain pg behind PgBouncer in transaction mode';

if (missingPgBouncer !== null) {
  describe(name, () => test.skip(missingPgBouncer as string, () => {}));
} else {
  const bouncers: Bouncer[] = [];
  // Fewer server connections than the application has clients, so that they are shared between transactions.
  const urlOf = async (shop: Shop, dc: string) => {
    const bouncer = await startPgBouncer(shop.pair.dc(dc).urls.application, 3);
    bouncers.push(bouncer);
    return bouncer.url;
  };
  ormSuite(name, openPlainPg, { urlOf });

  test('a control connection through it is noticed: the instance is not enlisted, and says why', async () => {
    const shop = await startShop();
    const { configuration, urls } = shop.pair.dc('ny');
    const bouncer = await startPgBouncer(urls.application, 3);
    try {
      const warned = once(process, 'warning');
      const lanekeeper = await createLanekeeper({
        config: configuration,
        env: { ...shop.env('ny'), DATABASE_URL: bouncer.url },
        instance: 'misled',
      });
      try {
        expect((await warned)[0]).toMatchObject({ code: 'LK_CONTROL' });
        expect(await runSql(urls.agent, 'SELECT instance FROM lanekeeper.instances() AS instance')).toEqual([]);
        await shop.register('ny', 'a1');
        expect(await lanekeeper.forAccount('a1', async () => 'works')).toBe('works');
      } finally {
        await lanekeeper.close();
      }
    } finally {
      await bouncer.stop();
      await shop.stop();
    }
  });

  afterAll(async () => {
    for (const bouncer of bouncers) await bouncer.stop();
  });
}
