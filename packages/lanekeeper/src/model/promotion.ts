/**
 * Whether a database is the one that the lease store knows, or a standby of it that was promoted, and then whether anything
 * is missing that is known of. Positions of two timelines are compared only up to where the older one ended: what lies
 * behind that belongs to one of them alone.
 */
import {
  comparePositions,
  type Incarnation,
  type LeaseClaim,
  type LeaseRecord,
  type LeaseView,
  type Positions,
} from './lease-store.ts';
import type { DataCenterName } from './words.ts';

/** What is known to have been there, and is not in the promoted standby. */
export type Missing = {
  /** `log`: of its own log, by its own record; `peer`: of its own log, and a peer has it; `applied`: of a peer's log. */
  readonly of: 'log' | 'peer' | 'applied';
  /** Null for `log`. */
  readonly peer: DataCenterName | null;
  /** Up to where it was there, and up to where it is there now; null: nothing at all is known to be there. */
  readonly known: string;
  readonly here: string | null;
};

export type Standing =
  | { readonly kind: 'same' }
  /** A later timeline of the same database and generation. */
  | { readonly kind: 'promoted'; readonly missing: readonly Missing[] }
  /** A later timeline, but nothing says where it left the recorded one: another standby, or a history that cannot be read. */
  | { readonly kind: 'unproved' }
  /** An earlier timeline: a standby of it was promoted since. */
  | { readonly kind: 'demoted' }
  /** Another database or generation. */
  | { readonly kind: 'other' };

/** Judges who asks against all that the store knows. */
export function judgeStanding(
  claim: Pick<LeaseClaim, 'dataCenter' | 'incarnation' | 'positions'>,
  known: Pick<LeaseRecord, 'dataCenter' | 'incarnation' | 'positions'>,
  leases: LeaseView['leases'],
): Standing {
  const { incarnation } = claim;
  const { systemIdentifier, timeline, generation } = known.incarnation;
  if (incarnation.systemIdentifier !== systemIdentifier || incarnation.generation !== generation)
    return { kind: 'other' };
  if (incarnation.timeline === timeline) return { kind: 'same' };
  if (incarnation.timeline < timeline) return { kind: 'demoted' };
  const end = endOf(incarnation, timeline);
  if (end === null) return { kind: 'unproved' };

  const missing: Missing[] = [];
  if (isBefore(end, known.positions.log))
    missing.push({ of: 'log', peer: null, known: known.positions.log, here: end });
  for (const { dataCenter, positions } of leases) {
    const has = dataCenter === claim.dataCenter ? undefined : readUpTo(positions, claim.dataCenter);
    if (has !== undefined && isBefore(end, has)) missing.push({ of: 'peer', peer: dataCenter, known: has, here: end });
  }
  for (const stream of ['applied', 'homed'] as const)
    for (const [peer, recorded] of Object.entries(known.positions[stream] ?? {})) {
      const here = claim.positions[stream]?.[peer] ?? null;
      const said = missing.some((one) => one.of === 'applied' && one.peer === peer);
      if (!said && (here === null || isBefore(here, recorded)))
        missing.push({ of: 'applied', peer, known: recorded, here });
    }
  return { kind: 'promoted', missing };
}

/** A standby of this database was promoted since: whatever its generation, it is the one before. */
export function isDemoted(incarnation: Incarnation, known: Incarnation): boolean {
  return incarnation.systemIdentifier === known.systemIdentifier && incarnation.timeline < known.timeline;
}

/** Where a timeline ended that this database went on from; null when it did not, or that is not known. */
function endOf({ ended = [] }: Incarnation, timeline: number): string | null {
  return ended.find((one) => one.timeline === timeline)?.at ?? null;
}

/**
 * How far a peer holds the homed rows of `dc`. What it has received says less: where the stream goes on from the promoted one
 * that is a position of the new timeline already, and so may be what it applied of the other stream, which needs no lease.
 */
function readUpTo({ homed, applied, received }: Positions, dc: DataCenterName): string | undefined {
  return homed?.[dc] ?? applied[dc] ?? received[dc];
}

function isBefore(a: string, b: string): boolean {
  return comparePositions(a, b) < 0;
}
