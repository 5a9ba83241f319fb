/**
 * Seeds a data center from another one while everybody goes on selling: because it is new (the second, or the third), or after its disk
 * was lost, when it was restored from an old copy, or when a slot was lost.
 *
 *   sides.ts     connections to all databases, and what is known of the one that joins
 *   inspect.ts   whether it may be done, how far it is, and what would be lost
 *   keep.ts      what only the one that is emptied has, into the ledger
 *   clear.ts     old streams and slots taken away on all sides, the tables emptied
 *   snapshot.ts  a snapshot of the source, and what it holds of everybody else's log
 *   copy.ts      what is in the snapshot, through `bridge.ts`
 *   attach.ts    streams into it, from where the snapshot ends
 *   merged-rows.ts  shared rows, which are announced and not copied
 *   finish.ts    read by the others, compared, admitted by the lease store
 *   lost.ts      whether it is a database that ended it
 *   leave.ts     the opposite
 *
 * 1. Nothing is emptied unless no account is at home there: it was taken over, or never was a data center (R5).
 * 2. Its agents do not lead meanwhile: the lock of their lead is held here. A join that is not finished gets no lease.
 * 3. Restartable at every step: a row in both databases says how far it is. Where they do not agree, e.g. because one was
 *    restored, it begins anew; emptying and copying twice does no harm.
 * 4. It gets a lease only after comparisons with all others found it equal, and as a new generation.
 * 5. Native copies are not used: with a third data center they lose rows, or stop the stream for ever (what the source applies from it
 *    while tables are copied one by one is copied and read, or neither) [M].
 */

export { type Inspection, inspectJoin, type JoinTable } from './inspect.ts';
export { type JoinEvent, type JoinOptions, type JoinResult, joinDataCenter } from './join.ts';
export { type LeaveOptions, type LeaveResult, leaveDataCenter } from './leave.ts';
export type { JoinSide, JoinSides } from './sides.ts';
