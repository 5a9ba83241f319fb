/** In every test file: a process that is still running when its tests are over fails the file. */
import { afterAll } from 'vitest';
// Not by package name: that would load the whole lab into every unit test.
import { liveProcesses } from '../../packages/lab/src/processes/leash.ts';

// Hooks run in reverse, so this one comes after those of the file.
afterAll(() => {
  const left = liveProcesses();
  if (left.length === 0) return;
  for (const leaked of left) leaked.signal('SIGKILL');
  throw new Error(
    `${left.length} processes were left running: ${left.map((leaked) => leaked.child.spawnargs.slice(4).join(' ')).join('; ')}`,
  );
});
