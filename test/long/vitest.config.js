import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { fromSources, withServers } from '../support/vitest-base.js';

/** For `npm run test:long`: whole moves, joins, failures and returns under load, minutes of them. `npm test` leaves them out. */
export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  ...fromSources,
  test: {
    include: ['test/long/*.test.ts'],
    ...withServers,
    // Each has three data centers under load.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
