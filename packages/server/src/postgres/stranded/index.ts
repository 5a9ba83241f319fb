/**
 * What a data center committed beyond the cut at which it was taken over, from the day it returns until somebody decided; and what
 * another one that is gone had sent it beyond that one's cut.
 *
 *   strand.ts      there: its own log, and its relay slot, as stranded changes with their accounts
 *   ledger.ts      where it comes back: the changes written down; later, read and purged
 *   undo.ts        there: the rows that they touched taken away
 *   resend.ts      at a home: a row as it is now, sent in the stream
 *   resend-all.ts  at the homes: all of those rows, each by the one that is its home
 *   merge.ts       at the home: a transaction of the ledger done again, through the fence
 *   automatic.ts   which transactions are merged without asking
 *
 * 1. Nothing is undone before the ledger has it, on disk (R5).
 * 2. What is undone is a row, not a change: its key is taken away, and the home says what belongs there. A deed stays, as one that
 *    everything is newer than.
 * 3. Every step may be repeated from its beginning.
 * 4. A merge is a transaction like any other: fenced, at the account's home, and refused where the world went on.
 * 5. A transaction is in the ledger once, by the name that it has in its own data center, whoever tells of it.
 *
 * `sql/000007.sql` and `sql/000017.sql` have the tables and what happens row by row.
 */
export { type AutomaticReport, mergeAutomatically } from './automatic.ts';
export {
  countOpenStranded,
  type LedgerEntry,
  type LedgerFilter,
  type LedgerTransaction,
  listStranded,
  purgeStranded,
  readStranded,
  type StrandedOrigin,
  type TransactionName,
  writeStranded,
  writeStrandedWhole,
} from './ledger.ts';
export { type Decision, discardStranded, type MergeRefusal, type MergeResult, mergeStranded } from './merge.ts';
export { type ResendOutcome, type RowKey, resendRow } from './resend.ts';
export { type ResendHome, type ResendReport, resendStranded } from './resend-all.ts';
export {
  type RelayedOptions,
  type RelayedResult,
  relayedTransactions,
  type StrandedChange,
  type StrandedOptions,
  type StrandedResult,
  strandedTransactions,
} from './strand.ts';
export { type UndoOptions, type UndoResult, undoStranded } from './undo.ts';
