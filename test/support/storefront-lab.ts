/** `lanekeeper lab` with the storefront, under the approach to test, in the data centers to test it in. */
import { approachToTest, split } from './approach.ts';
import { type TestLab, testLab } from './lab.ts';
import { sides } from './sides.ts';

let started: Promise<TestLab> | null = null;
let users = 0;

/** Files that run as one (`test/approaches`) share it: it is stopped when the last of them has stopped it. Needs a build. */
export async function storefrontLab(): Promise<TestLab> {
  users += 1;
  // Frontends have no keys, so they cannot hand a session over to a host that shares no domain with theirs.
  started ??= testLab([
    '--data-centers',
    sides.join(','),
    '--approach',
    approachToTest,
    ...(split ? ['--hosts', 'names'] : []),
  ]);
  const lab = await started;
  return {
    ...lab,
    async stop() {
      users -= 1;
      if (users > 0) return 0;
      started = null;
      return lab.stop();
    },
  };
}
