import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** For `npm run test:long`: whole moves, joins, failures and returns under load, minutes of them. `npm test` leaves them out. */
const conditions = ['lanekeeper-source'];

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/long/*.test.ts'],
    globalSetup: ['test/support/leaks.global.ts'],
    setupFiles: ['test/support/leaks.setup.ts'],
    pool: 'forks',
    // Each has three data centers under load.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
