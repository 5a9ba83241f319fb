/**
 * The configuration room: files and environment become one frozen, complete configuration, or every mistake in them at
 * its place.
 *
 * - `schema.ts`: what a person writes · `configuration.ts`: what the product sees
 * - `load.ts`: file → `source.ts` (YAML, JSON) or `module-file.ts` (TypeScript, JavaScript) → `interpolate.ts` → `shape.ts`
 *   → `resolve.ts` and its parts
 * - `problem.ts`, `diagnose.ts`, `nearest.ts`: from a mistake to a line, a caret and a suggestion
 * - `comparable.ts`: what data centers should agree on, and its digest
 * - `database-url.ts`: where passwords from the environment come in
 *
 * Invariants. 1: nothing unknown is accepted: every key is understood or refused. 2: a secret is never part of a message,
 * a shown line or the resolved configuration. 3: the resolved configuration is frozen, and its records have no prototype,
 * so that looking up a name from the network finds data centers and tables, nothing else.
 */
export { type ComparableConfiguration, comparableConfiguration, configurationDigest } from './comparable.ts';
export type {
  Claim,
  Configuration,
  DataCenter,
  RoleName,
  Table,
  TableName,
} from './configuration.ts';
export { databaseUrl, witnessPassword, witnessUrl } from './database-url.ts';
export { ConfigurationError, type Diagnostic, type Paint, renderDiagnostic, renderDiagnostics } from './diagnose.ts';
export { formatDuration, parseDuration } from './duration.ts';
export type { Environment } from './interpolate.ts';
export {
  type CheckResult,
  checkConfigurationFile,
  checkText,
  createConfiguration,
  defaultFiles,
  findConfigurationFile,
  type Loaded,
  loadConfiguration,
  placeIn,
} from './load.ts';
export type { PlacelessConfiguration } from './resolve.ts';
export { maxDataCenters } from './resolve-data-centers.ts';
export { dataCenterOfKeyId } from './resolve-sessions.ts';
export { matchesPattern, qualifiedName } from './resolve-tables.ts';
export {
  configurationSchema,
  dataCenterNamePattern,
  defineConfiguration,
  type WrittenConfiguration,
} from './schema.ts';
