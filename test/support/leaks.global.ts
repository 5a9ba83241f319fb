/** Once per run: every process that a test started carries a mark in its environment; none may be left at the end. */
import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const mark = 'LANEKEEPER_TEST_RUN';

export default function setup(): () => Promise<void> {
  const run = randomUUID();
  process.env[mark] = run;
  return async () => {
    let left: string[] = [];
    // Workers of the test runner itself are ending now: give them a moment.
    for (let tries = 0; tries < 50; tries += 1) {
      left = await marked(run);
      if (left.length === 0) return;
      await delay(100);
    }
    // The runner prints errors of a teardown but does not count them.
    process.exitCode = 1;
    throw new Error(`Processes were left running by tests:\n${left.join('\n')}`);
  };
}

async function marked(run: string): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found: string[] = [];
  for (const pid of pids) {
    if (Number(pid) === process.pid) continue;
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (!environment.includes(`${mark}=${run}`)) continue;
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
    // The runner's own workers are not the tests' doing.
    if (command !== '' && !command.includes('vitest')) found.push(`${pid} ${command}`);
  }
  return found;
}
