import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { fromSources, withServers } from '../support/vitest-base.js';

/**
 * For `npm run test:approaches`: what customers see of the storefront, under every approach but `full-active-active`, which
 * `npm test` has. `--project active-passive` runs one of them.
 */
const approaches = ['active-passive', 'active-active-apps', 'mostly-active-active', 'stateless-frontends'];

/** Of a smaller shop; the other two have theirs in `npm test` and in the storefront's. */
const failovers = {
  'active-passive': ['test/service/failover-customers.test.ts'],
  'active-active-apps': ['test/service/failover-connections.test.ts'],
};

export const configOf = (projects) =>
  defineConfig({
    root: fileURLToPath(new URL('../..', import.meta.url)),
    ...fromSources,
    test: {
      // Tests wait for leases and streams more than for a core.
      maxWorkers: 3,
      projects: projects.map(({ name, env, more }) => ({
        extends: true,
        test: {
          name,
          env,
          include: ['test/approaches/coasts.ts', 'test/approaches/lab.ts', ...more],
          ...withServers,
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      })),
    },
  });

export default configOf(
  approaches.map((approach) => ({
    name: approach,
    env: { LANEKEEPER_TEST_APPROACH: approach },
    more: failovers[approach] ?? [],
  })),
);
