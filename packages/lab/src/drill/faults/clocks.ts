/**
 * Faults of clocks: PostgreSQL of the data centers runs under libfaketime, and by how much the time is wrong that it sees
 * is in a file. The machine's own clock, and with it /proc/uptime and the agents', stays as it is.
 */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { clockFile } from '../../lab/databases.ts';
import { type Arena, dataFolderOf, sql } from './arena.ts';
import type { Fault } from './fault.ts';

async function fileOf(arena: Arena): Promise<string> {
  const file = join(dirname(await dataFolderOf(arena, arena.at)), clockFile);
  arena.undo(() => writeFile(file, '+0\n'));
  return file;
}

async function jump(arena: Arena, offset: string): Promise<void> {
  await writeFile(await fileOf(arena), `${offset}\n`);
  const [row] = await sql<{ now: Date }>(arena, arena.at, 'SELECT clock_timestamp() AS now');
  arena.note(`its PostgreSQL says ${row?.now.toISOString()}`);
}

const clock = { group: 'clocks', needs: { clocks: true }, bendsTime: true } as const;
const back = { writesAgainMs: 12_000, after: 'fault', othersPauseMs: 4_000 } as const;

export const clockFaults: readonly Fault[] = [
  {
    ...clock,
    name: 'clock-back',
    description: 'the clock of PostgreSQL jumps back by an hour, and later to where it was',
    holdMs: 8_000,
    expectation: {
      text: 'the lease does not last a moment longer for it; writing goes on, or stops until the lease is proved anew',
      ...back,
    },
    inject: (arena) => jump(arena, '-3600'),
  },
  {
    ...clock,
    name: 'clock-forward',
    description: 'the clock of PostgreSQL jumps ahead by an hour, and later to where it was',
    holdMs: 8_000,
    expectation: { text: 'the lease looks as if it had run out, and is proved anew by the new time', ...back },
    inject: (arena) => jump(arena, '+3600'),
  },
  {
    ...clock,
    name: 'clock-drift',
    description: 'the clock of PostgreSQL gains a tenth of a second every second',
    holdMs: 12_000,
    expectation: { text: 'nobody notices, as each renewal goes by the present time', ...back, writesAgainMs: 6_000 },
    async inject(arena) {
      const file = await fileOf(arena);
      const startMs = performance.now();
      for (let passedMs = 0; passedMs < 10_000; passedMs = performance.now() - startMs) {
        await writeFile(file, `+${(passedMs / 10_000).toFixed(3)}\n`);
        await arena.pause(200);
      }
    },
  },
];
