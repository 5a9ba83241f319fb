/** How far a relay slot may be moved. Pure. */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import type { Lsn } from '../decode/index.ts';
import type { StreamName } from '../streams/names.ts';
import type { RelaySample } from './measure.ts';

/** What a peer says it has of other logs, by publisher; a stream that is missing is not known. */
export type PeerTails = Readonly<Record<DataCenterName, Readonly<Partial<Record<StreamName, Lsn>>>>>;

/**
 * The newest sample at whose place `peer` has everything that had been applied here, of every log but its own. Null: none.
 * A log of which the peer says nothing is one that it may need: then nothing is let go.
 */
export function coveredSample(
  samples: readonly RelaySample[],
  peer: DataCenterName,
  tails: PeerTails,
): RelaySample | null {
  return samples.findLast(({ applied }) => applied.every((one) => one.publisher === peer || has(tails, one))) ?? null;
}

function has(tails: PeerTails, { publisher, stream, applied }: RelaySample['applied'][number]): boolean {
  const tail = tails[publisher]?.[stream];
  return tail !== undefined && comparePositions(tail, applied) >= 0;
}

/**
 * With one more, and at most `max` of them: every other one goes, and the latest stays. A peer that comes back after a long
 * time is caught up with in steps that are as long as the pauses between those that are left.
 */
export function withSample(samples: readonly RelaySample[], sample: RelaySample, max: number): readonly RelaySample[] {
  const all = [...samples.filter((one) => isOfOneLife(one, sample)), sample];
  return all.length <= max ? all : all.filter((_, index) => (all.length - 1 - index) % 2 === 0);
}

/** Those that some peer still waits for: what is before all of `reached` serves nobody. */
export function stillNeeded(samples: readonly RelaySample[], reached: readonly Lsn[]): readonly RelaySample[] {
  return samples.filter(({ place }) => reached.some((one) => comparePositions(place, one) > 0));
}

/** A subscription that was made anew reads another log, or from another place: positions before and after do not compare. */
function isOfOneLife(a: RelaySample, b: RelaySample): boolean {
  const origins = ({ applied }: RelaySample) =>
    applied
      .map(({ origin }) => origin)
      .toSorted()
      .join();
  return origins(a) === origins(b);
}
