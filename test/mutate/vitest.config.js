import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/**
 * For `npm run mutate`: the unit tests of the protocol, on the copy that was changed. Without the alias the tests would find the
 * unchanged one through `node_modules`.
 */
export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  resolve: {
    conditions: ['lanekeeper-source'],
    alias: {
      '@lanekeeper/server/ownership': fileURLToPath(
        new URL('../../packages/server/src/ownership/index.ts', import.meta.url),
      ),
    },
  },
  ssr: { resolve: { conditions: ['lanekeeper-source'] } },
  test: { include: ['packages/server/src/ownership/*.test.ts'] },
});
