/** What all configurations of Vitest here have in common. */

/** Packages are tested from their sources; only child processes (agents, edges, applications) run what `tsc -b` built. */
const conditions = ['lanekeeper-source'];

export const fromSources = { resolve: { conditions }, ssr: { resolve: { conditions } } };

/** Of tests with real servers. Paths are the repository's. */
export const withServers = {
  globalSetup: ['test/support/leaks.global.ts'],
  setupFiles: ['test/support/leaks.setup.ts'],
  pool: 'forks',
  // `expect.poll` waits for what comes; a second, its default, is not enough on a busy machine.
  expect: { poll: { timeout: 15_000 } },
};
