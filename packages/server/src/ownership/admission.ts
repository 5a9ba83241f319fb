/** Whether an account may leave now, by what its home's database knows of it. */

import { compareEpochs } from 'lanekeeper/model';
import type { Facts } from './events.ts';
import { reason } from './reasons.ts';
import type { GiveOutcome, GiveRequest, Settings } from './state.ts';

const hourMs = 3_600_000;

/** Null when it may; otherwise what the one who asked is told. */
export function refusalByFacts(request: GiveRequest, facts: Facts, settings: Settings): GiveOutcome | null {
  const { epoch } = facts;
  if (facts.home !== settings.here) return { kind: 'elsewhere', home: facts.home, epoch };
  if (!facts.accepted) return { kind: 'refused', reasons: [reason('arriving')] };
  if (request.expected !== null && compareEpochs(request.expected, epoch) !== 0)
    return { kind: 'refused', reasons: [reason('epoch-changed')] };
  if (!request.ifIdle) return null;

  if (facts.inUse) return { kind: 'in-use', epoch };
  if (facts.arrivedAgoMs !== null && facts.arrivedAgoMs < settings.dwellMs)
    return { kind: 'dwelling', epoch, retryAfterMs: settings.dwellMs - facts.arrivedAgoMs };
  const agoMs = facts.movesAgoMs.filter((ms) => ms < hourMs).sort((a, b) => a - b)[settings.perHour - 1];
  if (agoMs !== undefined) return { kind: 'over-budget', epoch, retryAfterMs: hourMs - agoMs };
  return null;
}
