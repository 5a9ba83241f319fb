/**
 * What a data center committed beyond the cut at which it was taken over, from the day it returns until somebody decided.
 *
 *   strand.ts      there: its own log as stranded changes, with their accounts
 *   ledger.ts      at the home: the changes written down; later, read and purged
 *   undo.ts        there: the rows that they touched taken away
 *   resend.ts      at the home: those rows as they are now, sent in the stream
 *   merge.ts       at the home: a transaction of the ledger done again, through the fence
 *   automatic.ts   which transactions are merged without asking
 *
 * 1. Nothing is undone before the ledger has it, on disk (R5).
 * 2. What is undone is a row, not a change: its key is taken away, and the home says what belongs there.
 * 3. Every step may be repeated from its beginning.
 * 4. A merge is a transaction like any other: fenced, at the account's home, and refused where the world went on.
 *
 * `sql/000007.sql` has the tables and what happens row by row.
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
} from './ledger.ts';
export { type Decision, discardStranded, type MergeRefusal, type MergeResult, mergeStranded } from './merge.ts';
export { type ResendOutcome, type ResendReport, type RowKey, resendRow, resendStranded } from './resend.ts';
export { type StrandedChange, type StrandedOptions, type StrandedResult, strandedTransactions } from './strand.ts';
export { type UndoOptions, type UndoResult, undoStranded } from './undo.ts';
