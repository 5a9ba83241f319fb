import { afterAll, describe, test } from 'vitest';
import { type Bouncer, missingPgBouncer, startPgBouncer } from './pgbouncer.ts';
import { openPlainPg } from './plain-pg.ts';
import { ormSuite } from './suite.ts';

const name = 'plain pg behind PgBouncer in transaction mode';

if (missingPgBouncer !== null) {
  describe(name, () => test.skip(missingPgBouncer as string, () => {}));
} else {
  const bouncers: Bouncer[] = [];
  // Fewer server connections than the application has clients, so that they are shared between transactions.
  ormSuite(name, openPlainPg, async (shop, dc) => {
    const bouncer = await startPgBouncer(shop.pair.dc(dc).urls.application, 3);
    bouncers.push(bouncer);
    return bouncer.url;
  });
  afterAll(async () => {
    for (const bouncer of bouncers) await bouncer.stop();
  });
}
