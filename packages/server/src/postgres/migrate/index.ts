export { type Migration, readMigrations } from './files.ts';
export {
  type AppliedMigration,
  applyMigration,
  type MigrationProblem,
  pendingMigrations,
  readAppliedMigrations,
} from './migrate.ts';
