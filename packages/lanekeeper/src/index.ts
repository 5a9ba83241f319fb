/** Lanekeeper for applications. Other entrances: `lanekeeper/pg`, `lanekeeper/fastify`, `lanekeeper/express`. */
export { type Durability, type ErrorCode, type ErrorDetails, errors, LanekeeperError } from './model/index.ts';
export { type AnswerBody, ReplayError } from './sdk/answer.ts';
export type {
  BufferedWrite,
  Cache,
  CacheOptions,
  CacheSource,
  CacheStatistics,
  ClaimResult,
  Conflict,
  ConflictHandler,
  ConflictVersion,
  CopyAsOf,
  DirectOutcome,
  DirectWrite,
  Lanekeeper,
  LanekeeperOptions,
  MoveOptions,
  MoveResult,
  Outcome,
  Queryable,
  ReleaseResult,
  RequestScope,
  Singleton,
  SingletonOptions,
  SingletonRun,
  TableEverywhere,
  Whereabouts,
} from './sdk/api.ts';
export { createLanekeeper } from './sdk/lanekeeper.ts';
export { findLanekeeperError } from './sdk/refusal.ts';
