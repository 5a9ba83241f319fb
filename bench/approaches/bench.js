/**
 * The five approaches side by side, as `lanekeeper drill approaches` measures them: the same requests at several round trips
 * and the same failure, each in a lab of its own. The ratios are between the columns of one table.
 *
 *   npm run bench -- approaches [--rtt 2ms,20ms,60ms] [--only NAME,…] [--requests 12]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { machine } from '../measure.js';

const program = fileURLToPath(new URL('../../packages/server/bin/lanekeeper.js', import.meta.url));

export async function run(args) {
  console.log(machine());
  const drill = spawn(process.execPath, [program, 'drill', 'approaches', ...args], { stdio: 'inherit' });
  const [code] = await once(drill, 'exit');
  if (code !== 0) process.exitCode = 1;
}
