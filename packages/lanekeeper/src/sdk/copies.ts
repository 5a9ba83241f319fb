/** Copies of other tables as of a moment, which the agents make: of when the one in this dc is. */
import type { CopyAsOf } from './api.ts';
import type { RunSql } from './deeds.ts';

export async function copyAsOf(run: RunSql, table: string): Promise<CopyAsOf | null> {
  const [row] = await run('SELECT as_of, made_at, complete, missing FROM lanekeeper.copy_state($1)', [table]);
  if (row === undefined) return null;
  return {
    asOf: row.as_of as Date,
    madeAt: row.made_at as Date,
    complete: row.complete as boolean,
    missing: Object.keys(row.missing as object),
  };
}
