/**
 * Seeds a data center from another one: after its disk was lost, when it was restored from an old copy, when a slot was
 * lost, or because it never had anything. With two data centers, by PostgreSQL's own initial copy.
 *
 *   sides.ts    connections to both, and what is known of them
 *   inspect.ts  whether it may be done, how far it is, and what would be lost
 *   keep.ts     what only the one that is emptied has, into the ledger
 *   clear.ts    old streams and slots taken away on both sides, the tables emptied
 *   copy.ts     everything copied, by subscriptions that go on as streams
 *   finish.ts   read the other way, compared, readmitted by the lease store
 *
 * 1. Nothing is emptied unless no account is at home there: it was taken over, or never was a data center (R5).
 * 2. Its agents do not lead meanwhile: the lock of their lead is held here.
 * 3. Restartable at every step: a row in both databases says how far it is. Where they do not agree, e.g. because one was
 *    restored, it begins anew; emptying and copying twice does no harm.
 * 4. It gets a lease only after a comparison found both equal, and as a new generation.
 */

export { type Inspection, inspectJoin, type JoinTable } from './inspect.ts';
export { type JoinEvent, type JoinOptions, type JoinResult, joinDataCenter } from './join.ts';
export type { JoinSides } from './sides.ts';
