/**
 * The gate (faults.md, remedy 10): a deed that arrives proves that everything before it arrived only while every table
 * is subscribed to, is the same on both sides, and nothing was skipped. Streams are watched in both directions, since an
 * account that is declined must be able to return.
 */
import type { DataCenterName } from 'lanekeeper/model';
import { type Reason, reason, reasonTable } from './reasons.ts';
import type { Ownership } from './state.ts';
import { leaseLeftMs } from './turn.ts';

/** Why no move between here and `peer` may begin now; empty when one may. */
export function reasonsNotToStart(state: Ownership, peer: DataCenterName, nowMs: number): readonly Reason[] {
  if (state.leaving !== 'no') return [reason('leaving')];
  if (leaseLeftMs(state, nowMs) === 0) return [reason('no-lease', state.settings.here)];
  const gate = state.gates.get(peer);
  if (gate === undefined || nowMs - gate.observedMs > state.settings.observationMaxAgeMs)
    return [reason('not-observed', peer)];
  return gate.reasons;
}

/**
 * Why what arrived from `peer` may be incomplete; empty when it may be accepted. A stream that stopped after it brought
 * the deed does not matter; a table that was never in it does.
 */
export function reasonsNotToAccept(state: Ownership, peer: DataCenterName): readonly Reason[] {
  const gate = state.gates.get(peer);
  if (gate === undefined) return [reason('not-observed', peer)];
  return gate.reasons.filter(({ code }) => reasonTable[code].stops === 'accept');
}

/** D1: what `peer` says of itself. It may lack what was written here, whatever it has confirmed. */
export function isIncomplete(state: Ownership, peer: DataCenterName): boolean {
  return state.gates.get(peer)?.reasons.some(({ code }) => code === 'peer-incomplete') === true;
}

/** Whether the agent of `peer` answers us; so do then, in all likelihood, the rest of it. */
export function isHeardOf({ gates, settings }: Ownership, peer: DataCenterName, nowMs: number): boolean {
  const gate = gates.get(peer);
  if (gate === undefined || nowMs - gate.observedMs > settings.observationMaxAgeMs) return false;
  return !gate.reasons.some(({ code }) => code === 'peer-not-observed');
}

/** R3: the others that hold a lease; they have to know of a move before it counts. */
export function thirds({ view }: Ownership, peer: DataCenterName): readonly DataCenterName[] {
  return [...view.peers].flatMap(([name, { record }]) =>
    name !== peer && record.takenOver === null && record.state === 'held' ? [name] : [],
  );
}

/** Why a third one would not hear of a move to `peer`, so that it could not be accepted. */
export function reasonsOfThirds(state: Ownership, peer: DataCenterName): readonly Reason[] {
  return thirds(state, peer).flatMap((third) => {
    const gate = state.gates.get(third);
    if (gate === undefined) return [reason('not-observed', third)];
    return gate.reasons.filter(({ code }) => code === 'not-streaming' || code === 'peer-not-observed');
  });
}
