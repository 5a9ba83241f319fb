/**
 * The buffer room: tables that PostgreSQL's replication does not carry, because the application writes them in every data
 * center (`writes: direct`) or into a log that is drained into every one (`writes: buffered`).
 *
 * Map: `log.ts` the port to a log · `postgres.ts`, `nats.ts` its adapters · `drainer.ts` from a log into one data center ·
 * `target.ts` a data center that takes writes · `aside.ts` what it refused · `service.ts` all of it, for an agent. What a
 * target does with a write is in sql/000010.sql and postgres/everywhere.
 *
 * Invariants.
 * 1 (R5) An acknowledged write is in the log until every data center has it or has it set aside; what is set aside stays
 *   until it went in or a person has discarded it.
 * 2 A write that arrives twice has effect once: its version is kept with the row, in the same transaction.
 * 3 Data centers end alike whatever the order of arrival: of two writes to one key the greater version stays, and versions
 *   rise in the order in which writes to the key were acknowledged.
 * 4 (R6) An acknowledgement says what the write survives.
 */
export {
  type AsideEntry,
  type AsideState,
  countAside,
  discardAside,
  listAside,
  retryAside,
} from './aside.ts';
export type { Appended, BufferLog, GivenWrite, Lag, LogDurability, LoggedWrite, Write } from './log.ts';
export { type NatsLogOptions, natsLog } from './nats.ts';
export { type PostgresLogOptions, postgresLog, resend } from './postgres.ts';
export {
  type BufferService,
  type BufferServiceOptions,
  type BufferStanding,
  bufferService,
  type DrainStanding,
} from './service.ts';
