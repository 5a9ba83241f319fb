/**
 * The gate (faults.md, remedy 10): a deed that arrives proves that everything before it arrived only while every table
 * is subscribed to, is the same on both sides, and nothing was skipped. Streams are watched in both directions, since an
 * account that is declined must be able to return.
 */
import type { DataCenterName } from 'lanekeeper/model';
import { type Reason, reason, reasonTable } from './reasons.ts';
import type { Ownership } from './state.ts';
import { leaseLeftMs } from './turn.ts';

/** What was seen of the streams between here and one peer. */
export type StreamsObservation = {
  readonly streams: readonly {
    /** Named in reasons. */
    readonly name: string;
    readonly running: boolean;
    /** How far it is behind, or null when nobody can say. */
    readonly lagMs: number | null;
    readonly lagBytes: number | null;
  }[];
  /** Tables that should come from the peer and are not copied completely, or not subscribed to. */
  readonly notReady: readonly string[];
  /** Conflicts and skipped transactions that no clean `verify` has answered for. */
  readonly unansweredConflicts: number;
  /** By qualified table name, a hash of what defines its rows, as seen here. */
  readonly tables: Readonly<Record<string, string>>;
  /** The same as the peer sees it; null while its agent does not answer. */
  readonly peerTables: Readonly<Record<string, string>> | null;
};

export type GateLimits = { readonly lagMs: number; readonly lagBytes: number };

export function judgeStreams(seen: StreamsObservation, limits: GateLimits): readonly Reason[] {
  const reasons: Reason[] = [];
  if (seen.streams.length === 0) reasons.push(reason('not-streaming'));
  for (const stream of seen.streams) {
    if (!stream.running) reasons.push(reason('not-streaming', stream.name));
    else if ((stream.lagMs ?? 0) > limits.lagMs || (stream.lagBytes ?? 0) > limits.lagBytes)
      reasons.push(reason('lagging', stream.name));
  }
  for (const table of seen.notReady) reasons.push(reason('table-not-ready', table));
  if (seen.unansweredConflicts > 0) reasons.push(reason('new-conflicts', String(seen.unansweredConflicts)));
  if (seen.peerTables === null) reasons.push(reason('peer-not-observed'));
  else reasons.push(...compareTables(seen.tables, seen.peerTables));
  return reasons;
}

function compareTables(here: Readonly<Record<string, string>>, there: Readonly<Record<string, string>>): Reason[] {
  const reasons: Reason[] = [];
  for (const table of new Set([...Object.keys(here), ...Object.keys(there)])) {
    if (here[table] === undefined || there[table] === undefined) reasons.push(reason('tables-differ', table));
    else if (here[table] !== there[table]) reasons.push(reason('schema-differs', table));
  }
  return reasons;
}

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
