import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { fromSources, withServers } from '../support/vitest-base.js';

/**
 * For `npm run test:postgres -- 16`: of the tests that `npm test` has, those in which versions of PostgreSQL could differ.
 */
const tests = [
  // What is asked of catalogs, and what SQL makes.
  ...['schema-dump', 'apply', 'fence', 'inspect', 'everywhere-sql', 'doctor'],
  // What PostgreSQL itself is relied upon for.
  ...['postgres-facts', 'postgres-facts-replication', 'postgres-facts-synchronous'],
  // Streams, slots, positions, the log, the synchronous wait.
  ...['streams', 'freeze', 'decode', 'relay', 'durability', 'merge-log', 'marks-three'],
  ...['migrate-columns', 'migrate-columns-three'],
  // Homes change; data centers join, fail, come back; their standbys are promoted.
  ...['rehome', 'claims', 'publishing', 'failover', 'rejoin', 'stranded', 'verify'],
  ...['agent-commands', 'standby', 'standby-refused', 'standby-without-slots', 'storefront/shop'],
];

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  ...fromSources,
  test: {
    include: [...tests.map((name) => `test/service/${name}.test.ts`), 'test/other-postgres/mixed.ts'],
    ...withServers,
    // Tests wait for leases and streams more than for a core.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
