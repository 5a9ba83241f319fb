/**
 * Whom a `remote` commit waits for: the sync set as this database keeps it.
 *
 * - `names.ts` the list of standbys as text · `set.ts` changes it · `replication.ts` reads how far peers have come
 *
 * The promise is that every acknowledged `remote` write is held by all of S, and S in the lease store is never more than what
 * this database waits for. So the order is the agent's to keep:
 *
 * 1. Grow: `setStandbyNames`, `waitUntilSynchronous`, `setSyncMembers`, and only then S in the store.
 * 2. Shrink: S in the store, then `setSyncMembers`, `setStandbyNames`, and `cancelSyncWaiters` for as long as nobody is left.
 * 3. Before a lease is written: `setSyncMembers` is at least S in the store. A crash has taken it back to nobody.
 * 4. The list is never empty. After one that was not ours (`before: 'foreign'`), `proveThatCommitsWait` comes first.
 *
 * Where the list may not be changed, `letApplicationsWait` takes the place of 1: the SDK asks `lanekeeper.await_peers` after its COMMIT.
 *
 * Standbys of this data center's own stand behind the peers in the list while they are there. Nothing is promised by them, so
 * `relistStandbys` lets go of one that is lost, and takes it back, without any of these steps; but never beside them.
 *
 * A commit decides by `sync_members` and is called `remote` only if `sync_view` is the same afterwards; who reads the old number
 * has the old view, because `lanekeeper.set_sync_members` writes the number first and a commit reads it last.
 */
export { membersIn, padName, standbysIn } from './names.ts';
export {
  type PeerReplication,
  type ReplicationReport,
  type ReplyMemory,
  readReplication,
  type SynchronousResult,
  waitUntilSynchronous,
} from './replication.ts';
export {
  cancelSyncWaiters,
  letApplicationsWait,
  proveThatCommitsWait,
  relistStandbys,
  type SetNamesResult,
  setStandbyNames,
  setSyncMembers,
} from './set.ts';
