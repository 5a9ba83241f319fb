/**
 * What was written here and when, from PostgreSQL's own log: a reader of `pgoutput`, for a data center that looks into its
 * slot for what never reached the others (Rejoin), and for whoever wants to know who wrote what.
 *
 *   byte-reader.ts     numbers, strings and values, never beyond the bytes that are there
 *   messages.ts        what pgoutput says, as data
 *   parse.ts           one message from its bytes
 *   change.ts          messages as changes of rows, and the key of a row
 *   relation-keys.ts   the order of a key's columns, from the catalog
 *   slot.ts            the slot: is it usable, and a copy of it
 *   message-cursor.ts  the messages of a portion, a few at a time
 *   peek.ts            whole transactions out of a slot
 *   lsn.ts             positions
 *
 * 1. The slot that is asked about is not touched. A temporary copy of it is read, in portions, and is gone with the session.
 * 2. A position of a slot decides nothing: after a crash it is an older one, and it also moves where nothing was published.
 *    A transaction is beyond a cut when its commit record ends beyond it.
 * 3. Memory does not grow with a transaction: PostgreSQL keeps what it decoded on disk, and a cursor fetches about
 *    `batchBytes` of it at a time. The end of a transaction is known before its first change is handed out.
 * 4. What cannot be understood ends the reading (X1). Nothing is guessed and nothing left out.
 */
export {
  type Change,
  type Column,
  DecodeError,
  type Key,
  keyOf,
  type Relation,
  type Row,
  type Value,
} from './change.ts';
export { formatLsn, type Lsn, parseLsn } from './lsn.ts';
export { type PgoutputMessage, type ReplicaIdentity, type Unchanged, unchanged } from './messages.ts';
export { type ParseOptions, type ParseResult, parseMessage } from './parse.ts';
export { type DecodedTransaction, type PeekOptions, type PeekResult, peekTransactions } from './peek.ts';
export type { SlotLost, SlotPosition } from './slot.ts';
