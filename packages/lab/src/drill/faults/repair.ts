/** What an operator would do about it: commands of the product, run as he runs them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { lanekeeperProgram } from '../../lab/application.ts';
import type { Arena } from './arena.ts';

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
