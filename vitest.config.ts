import { defineConfig } from 'vitest/config';
import { fromSources, withServers } from './test/support/vitest-base.js';

export default defineConfig({
  ...fromSources,
  test: {
    include: ['packages/*/src/**/*.test.ts', 'examples/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    // `npm run test:long`.
    exclude: ['**/node_modules/**', 'test/long/**'],
    ...withServers,
    // Tests wait for leases and streams more than for a core.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
