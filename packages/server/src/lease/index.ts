/**
 * Lease stores: adapters of the port in `lanekeeper/model`. Each passes `test/support/lease-conformance.ts`.
 *
 * - `postgres.ts`: the port on a database of the witness · `schema.ts`: what it keeps there · `line.ts`: one connection that
 *   fails in bounded time and is made anew
 * - `etcd.ts`: the port on etcd · `etcd-snapshot.ts`: what it keeps there · `etcd-rules.ts`: what may be changed ·
 *   `etcd-gateway.ts`: asking several members, of which some are dead
 * - `answer.ts`: reading answers
 *
 * Invariants. 1 (R4): times are the store's own clock, from when it granted. 2: a decision and its writing are one step (a
 * statement under a row lock, a transaction that compares), so that of two who ask at once one wins. 3: an answer that makes
 * no sense is a failure, not a lease. 4: nothing waits longer than its timeout, also when the host is dead.
 */
export { type EtcdLeaseStoreOptions, etcdLeaseStore } from './etcd.ts';
export { type LeaseStoreOptions, postgresLeaseStore } from './postgres.ts';
