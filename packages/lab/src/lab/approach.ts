/** Takes an application's configuration as it is, under another approach. Pure. */
import { type ApproachName, approaches } from 'lanekeeper/model';
import type { Sections } from './sections.ts';

export const approachNames = Object.keys(approaches) as readonly ApproachName[];

/** Two lines of the configuration say all there is to it: `approach`, and `homes` where the approach leaves that open. */
export function underApproach(sections: Sections, approach: ApproachName | null): Sections {
  if (approach === null || approach === sections.approach) return sections;
  const { homes: _homes, ...rest } = sections;
  return { ...rest, approach };
}

/** What the lab runs when neither its caller nor the application says anything. */
export const usualApproach: ApproachName = 'full-active-active';

export function approachOf(sections: Pick<Sections, 'approach'>): ApproachName {
  return sections.approach ?? usualApproach;
}

/** Frontends without a database, and backends that they call. */
export function isSplit(approach: ApproachName): boolean {
  return approaches[approach].routing === 'call';
}
