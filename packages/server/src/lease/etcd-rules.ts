/** The rules of the port, decided on a snapshot of etcd. Pure: what is decided holds only if nothing has changed since. */
import {
  isDemoted,
  judgeStanding,
  type LeaseClaim,
  type LeaseCredential,
  type LeaseResult,
  type Readmission,
  type Succession,
  type SuccessionRefusal,
  type SuccessionRequest,
} from 'lanekeeper/model';
import type { Entry, Snapshot, StoredRecord } from './etcd-snapshot.ts';

/** `alive`: its key beside it is written as well (`granted`), must still be there (`required`), or goes (`removed`). */
export type RecordChange = {
  readonly before: Entry | null;
  readonly after: StoredRecord;
  readonly alive: 'granted' | 'renewed' | 'removed';
  /** Still the present one when it is written. */
  readonly term?: number;
};

export type LeaseDecision =
  | { readonly kind: 'change'; readonly change: RecordChange }
  | { readonly kind: 'refused'; readonly reason: (LeaseResult & { kind: 'refused' })['reason'] };

export type SuccessionDecision =
  | {
      readonly kind: 'change';
      readonly succession: Succession;
      /** Whose lease must still be held when it is written. */
      readonly asker: Entry;
      /** The other one; null when nothing is known of it. */
      readonly other: Entry | null;
      /** Who is taken over. */
      readonly taken: StoredRecord | null;
    }
  | { readonly kind: 'refused'; readonly reason: SuccessionRefusal };

export function decideAcquire(
  snapshot: Snapshot,
  claim: LeaseClaim,
  predecessor: LeaseCredential | undefined,
): LeaseDecision {
  const before = snapshot.entries.get(claim.dataCenter) ?? null;
  if (before !== null) {
    const { record, state } = before;
    if (record.departed) {
      if (claim.incarnation.generation <= record.incarnation.generation)
        return { kind: 'refused', reason: 'other-incarnation' };
      return { kind: 'change', change: { before, after: granted(claim, before), alive: 'granted' } };
    }
    if (record.takenOver !== null) return { kind: 'refused', reason: 'taken-over' };
    const standing = judgeStanding(claim, record, snapshot.view.leases);
    const promoted = standing.kind === 'promoted' && standing.missing.length === 0;
    if (standing.kind !== 'same' && !promoted) return { kind: 'refused', reason: 'other-incarnation' };
    const inherited = record.holder === predecessor?.holder && record.revision === predecessor.revision;
    if (state === 'held' && (promoted || (record.holder !== claim.holder && !inherited)))
      return { kind: 'refused', reason: 'held-by-other' };
  }
  return { kind: 'change', change: { before, after: granted(claim, before), alive: 'granted' } };
}

export function decideRenew(snapshot: Snapshot, claim: LeaseClaim, revision: number): LeaseDecision {
  const before = snapshot.entries.get(claim.dataCenter);
  if (before === undefined) return { kind: 'refused', reason: 'stale-revision' };
  if (before.record.departed) return { kind: 'refused', reason: 'other-incarnation' };
  if (before.record.takenOver !== null) return { kind: 'refused', reason: 'taken-over' };
  if (judgeStanding(claim, before.record, snapshot.view.leases).kind !== 'same')
    return { kind: 'refused', reason: 'other-incarnation' };
  if (!isHeldBy(before, { holder: claim.holder, revision })) return { kind: 'refused', reason: 'stale-revision' };
  return { kind: 'change', change: { before, after: granted(claim, before), alive: 'renewed' } };
}

/** Null: there is nothing to release. */
export function decideRelease(
  snapshot: Snapshot,
  dataCenter: string,
  { holder, revision }: LeaseCredential,
  yields: boolean,
): RecordChange | null {
  const before = snapshot.entries.get(dataCenter);
  if (before === undefined || before.record.ended !== null) return null;
  const { record } = before;
  if (record.holder !== holder || record.revision !== revision) return null;
  const ended = yields ? 'yielded' : 'released';
  return { before, after: { ...record, revision: revision + 1, ended }, alive: 'removed' };
}

/** `ageMs`: for how long this client knows the present record of `from` unchanged. */
export function decideSuccession(
  snapshot: Snapshot,
  request: SuccessionRequest,
  ageMs: (record: StoredRecord) => number,
): SuccessionDecision {
  const { term, kind, from, to } = request;
  const giver = snapshot.entries.get(from) ?? null;
  const taker = snapshot.entries.get(to) ?? null;
  const refused = (reason: SuccessionRefusal): SuccessionDecision => ({ kind: 'refused', reason });
  const undoes = kind === 'return' ? request.undoes : null;
  const succession = { term: term + 1, kind, from, to, undoes };

  if (term !== snapshot.view.term) return refused('stale-term');
  if (giver?.record.departed || taker?.record.departed) return refused('taken-over');
  if (giver !== null && giver.record.takenOver !== null) return refused('taken-over');
  if (request.kind !== 'take') {
    if (taker !== null && taker.record.takenOver !== null) return refused('taken-over');
    if (giver === null || !isHeldBy(giver, request)) return refused('no-lease');
    if (undoes !== null && !snapshot.view.successions.some((past) => past.term === undoes && past.kind !== 'return'))
      throw new RangeError(`There is no succession ${undoes} that could be undone`);
    return { kind: 'change', succession, asker: giver, other: taker, taken: null };
  }
  if (taker === null || !isHeldBy(taker, request)) return refused('no-lease');
  if (giver === null) return refused('not-in-sync');
  const { record } = giver;
  if (giver.state === 'held' || record.revision !== request.fromRevision) return refused('still-held');
  // That its key has vanished permits nothing: a stuck leader removes the key of a lease that is being renewed.
  if (record.ended === null && ageMs(record) < record.ttlMs) return refused('still-held');
  if (!request.forced && !record.inSync.includes(to)) return refused('not-in-sync');
  return { kind: 'change', succession, asker: taker, other: giver, taken: { ...record, takenOver: term + 1 } };
}

/** Null: it is not to be readmitted. */
export function decideReadmission(snapshot: Snapshot, readmission: Readmission): RecordChange | null {
  const { dataCenter, takenOver, positions, term } = readmission;
  if (term !== undefined && snapshot.view.term !== term) return null;
  const { ended: _, ...incarnation } = readmission.incarnation;
  const before = snapshot.entries.get(dataCenter);
  if (before === undefined || before.record.takenOver !== takenOver) return null;
  const { record } = before;
  if (incarnation.generation <= record.incarnation.generation || isDemoted(incarnation, record.incarnation))
    return null;
  const back = { incarnation, positions, takenOver: null, inSync: [], ended: 'released' as const };
  const after = { ...record, ...back, revision: record.revision + 1 };
  return { before, after, alive: 'removed', ...(term === undefined ? {} : { term }) };
}

/** Null: it may hold a lease, or there is nothing to forget. `ageMs` as for a succession. */
export function decideForgetting(
  snapshot: Snapshot,
  dataCenter: string,
  revision: number,
  ageMs: (record: StoredRecord) => number,
): RecordChange | null {
  const before = snapshot.entries.get(dataCenter);
  if (before === undefined || before.record.departed || before.record.revision !== revision) return null;
  const { record, state } = before;
  const over = record.ended !== null || record.takenOver !== null || ageMs(record) >= record.ttlMs;
  if (state === 'held' || !over) return null;
  const gone = { departed: true as const, takenOver: null, inSync: [], ended: 'released' as const };
  return { before, after: { ...record, ...gone, revision: revision + 1 }, alive: 'removed' };
}

function granted(claim: LeaseClaim, before: Entry | null): StoredRecord {
  const { dataCenter, holder, positions, ttlMs, inSync } = claim;
  const { ended: _, ...incarnation } = claim.incarnation;
  const revision = (before?.record.revision ?? 0) + 1;
  return { dataCenter, incarnation, positions, holder, revision, ttlMs, inSync, takenOver: null, ended: null };
}

function isHeldBy({ record, state }: Entry, { holder, revision }: LeaseCredential): boolean {
  return state === 'held' && record.holder === holder && record.revision === revision;
}
