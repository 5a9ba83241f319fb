import { defineConfig } from 'vitest/config';

/** Packages are tested from their sources; only child processes (agents, edges, applications) run what `tsc -b` built. */
const conditions = ['lanekeeper-source'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'examples/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    // `npm run test:long`.
    exclude: ['**/node_modules/**', 'test/long/**'],
    globalSetup: ['test/support/leaks.global.ts'],
    setupFiles: ['test/support/leaks.setup.ts'],
    pool: 'forks',
    // Tests wait for leases and streams more than for a core.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
