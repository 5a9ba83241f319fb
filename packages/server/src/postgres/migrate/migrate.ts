/**
 * Brings the `lanekeeper` schema to the package's version.
 *
 * 1. A file is applied once, in a transaction of its own, together with its record in `lanekeeper.migration`.
 * 2. A file that was applied and has changed since is refused: released files never change.
 * 3. A database from a newer package is refused: this one does not know what it holds.
 * 4. Two at once are safe: the caller holds the advisory lock of `apply-lock.ts`.
 */
import type { Queryable } from '../queryable.ts';
import type { Migration } from './files.ts';

export type AppliedMigration = { readonly number: number; readonly file: string; readonly checksum: string };

export type MigrationProblem =
  | { readonly kind: 'changed-file'; readonly file: string; readonly message: string }
  | { readonly kind: 'newer-database'; readonly file: string; readonly message: string };

/** What was applied so far; empty when the schema is not there. */
export async function readAppliedMigrations(client: Queryable): Promise<readonly AppliedMigration[]> {
  const present = await client.query<{ there: boolean }>(
    `SELECT to_regclass('lanekeeper.migration') IS NOT NULL AS there`,
  );
  if (!present.rows[0]?.there) return [];
  const { rows } = await client.query<AppliedMigration>(
    'SELECT number, file, checksum FROM lanekeeper.migration ORDER BY number',
  );
  return rows;
}

/** Which files are still to be applied, and what speaks against applying any. */
export function pendingMigrations(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
): { readonly pending: readonly Migration[]; readonly problems: readonly MigrationProblem[] } {
  const byNumber = new Map(migrations.map((migration) => [migration.number, migration]));
  const problems = applied.flatMap((done): MigrationProblem[] => {
    const ours = byNumber.get(done.number);
    if (!ours) {
      const message = `The database was prepared by a newer Lanekeeper (it has ${done.file}): use that version or a later one.`;
      return [{ kind: 'newer-database', file: done.file, message }];
    }
    if (ours.checksum === done.checksum) return [];
    const message = `${done.file} is not the file that was applied to this database: released files never change. Reinstall the package.`;
    return [{ kind: 'changed-file', file: done.file, message }];
  });
  const done = new Set(applied.map((migration) => migration.number));
  return { pending: migrations.filter((migration) => !done.has(migration.number)), problems };
}

/** The SQL of one file and its record; the caller wraps it in a transaction. The first file creates the schema. */
export async function applyMigration(client: Queryable, migration: Migration): Promise<void> {
  await client.query(migration.sql);
  await client.query(`CREATE TABLE IF NOT EXISTS lanekeeper.migration (
    number integer PRIMARY KEY, file text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`);
  await client.query('INSERT INTO lanekeeper.migration (number, file, checksum) VALUES ($1, $2, $3)', [
    migration.number,
    migration.file,
    migration.checksum,
  ]);
}
