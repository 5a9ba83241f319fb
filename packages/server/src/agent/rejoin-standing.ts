/**
 * Coming back, before anything else: whether this is the database that was taken over. A standby of it that was promoted is, if it has all
 * that is known to have been in that log; a copy that was restored is not.
 */
import { comparePositions, type Incarnation, judgeStanding, type LeaseRecord, type LeaseView } from 'lanekeeper/model';
import { type ProofReading, readEndedTimelines, readProof } from '../postgres/index.ts';
import { NotYet, type Work } from './rejoin-work.ts';

/** Set back by a backup: what it had acknowledged since is nowhere in it, and its log tells another story. */
export async function refuseOlderCopy(work: Work): Promise<void> {
  const { options, action, own, here, cut } = work;
  const { leases } = await options.store.read();
  const record = leases.find(({ dataCenter }) => dataCenter === here);
  if (record === undefined) return;
  const proof = await readProof(own, options.subscriptions, true);
  const { timeline } = proof.incarnation;
  const ended =
    timeline > record.incarnation.timeline
      ? await readEndedTimelines(options.connect(here, 'replication'), proof.incarnation)
      : null;
  const incarnation = ended === null ? proof.incarnation : { ...proof.incarnation, ended };
  if (!hasAllOfIt({ ...proof, incarnation }, record, leases, cut.homed))
    throw new NotYet(
      `this database is not the one that was taken over, or an older copy: seed it again: \`lanekeeper join ${here} --from ${action.successor}\``,
    );
}

/** `cut`: how far the successor had this log. What was applied here of others does not matter: rows are compared at the end. */
export function hasAllOfIt(
  { incarnation, positions }: Pick<ProofReading, 'positions'> & { readonly incarnation: Incarnation },
  record: LeaseRecord,
  leases: LeaseView['leases'],
  cut: string,
): boolean {
  const known = record.incarnation;
  // A stage before this one may have raised the generation already.
  const life = { ...incarnation, generation: known.generation };
  const standing = judgeStanding({ dataCenter: record.dataCenter, incarnation: life, positions }, record, leases);
  if (standing.kind === 'same')
    return [record.positions.log, cut].every((position) => comparePositions(positions.log, position) >= 0);
  if (standing.kind !== 'promoted') return false;
  const end = incarnation.ended?.find((one) => one.timeline === known.timeline)?.at;
  return end !== undefined && comparePositions(end, cut) >= 0 && standing.missing.every(({ of }) => of === 'applied');
}
