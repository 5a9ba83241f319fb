/** What an operator would do about it: commands of the product, run as he runs them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { lanekeeperProgram } from '../../lab/application.ts';
import { type Arena, sql, turn, until } from './arena.ts';

/** Lease, skew, and time to do it. */
const takenOverWithinMs = 15_000;

/** Runs `lanekeeper …` against the lab of the drill; throws, with what it printed, when it says no. */
export async function command(arena: Arena, ...args: readonly string[]): Promise<void> {
  const { LANEKEEPER_CONFIG: _config, LANEKEEPER_DC: _dc, ...env } = process.env;
  arena.note(`lanekeeper ${args.join(' ')}`);
  try {
    await promisify(execFile)(process.execPath, [lanekeeperProgram(), ...args], {
      env: { ...env, LANEKEEPER_LAB: arena.lab.dir },
      cwd: arena.lab.dir,
      timeout: 120_000,
      maxBuffer: 16 * 1024 * 1024,
    });
  } catch (error) {
    const { stdout = '', stderr = '', code } = error as { stdout?: string; stderr?: string; code?: unknown };
    throw new Error(
      `lanekeeper ${args.join(' ')} ended with ${String(code)}: ${`${stdout}${stderr}`.trim().slice(-600)}`,
      {
        cause: error,
      },
    );
  }
}

/** What the manual says: its agents are stopped, the other one takes over or is told to, then it is seeded from there. */
export async function seedAgain(arena: Arena, dataCenter: string, from: string): Promise<void> {
  await turn(arena, dataCenter, 'agent', 'kill');
  arena.undo(() => turn(arena, dataCenter, 'agent', 'start'));
  const taken = async (): Promise<boolean> => {
    const rows = await sql<{ from_dc: string }>(
      arena,
      from,
      'SELECT from_dc FROM lanekeeper.succession ORDER BY term DESC LIMIT 1',
    );
    return rows[0]?.from_dc === dataCenter;
  };
  if (!(await until(arena, takenOverWithinMs, taken))) {
    // Not by itself, when the other one may lack something.
    await command(
      arena,
      'failover',
      '--from',
      dataCenter,
      '--to',
      from,
      '--force',
      '--confirm',
      dataCenter,
      '--dc',
      from,
    );
    if (!(await until(arena, takenOverWithinMs, taken)))
      throw new Error(`${from} has not taken over from ${dataCenter}`);
  }
  await command(arena, 'join', dataCenter, '--from', from, '--yes', '--json');
}
