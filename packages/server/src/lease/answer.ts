/** Reading what the store answered. What cannot be true is an error: a lease is never derived from it. */
import {
  type DataCenterName,
  type Incarnation,
  isPosition,
  type LeaseRecord,
  type LeaseResult,
  type LeaseView,
  type Positions,
} from 'lanekeeper/model';

export class NonsenseError extends Error {
  override readonly name = 'NonsenseError';

  constructor(where: string, value: unknown) {
    super(`The lease store answered nonsense: ${where} is ${JSON.stringify(value)?.slice(0, 200)}`);
  }
}

export function readView(value: unknown): LeaseView {
  const view = record('the answer', value);
  if (!Array.isArray(view.leases)) throw new NonsenseError('leases', view.leases);
  const leases = view.leases.map(readRecord);
  if (new Set(leases.map(({ dataCenter }) => dataCenter)).size < leases.length)
    throw new NonsenseError('leases', view.leases);
  return { term: whole('term', view.term, 1), leases };
}

/** `dataCenter` and `holder` are what was asked for: a lease for somebody else is nonsense. */
export function readResult(value: unknown, asked: { dataCenter: DataCenterName; holder: string }): LeaseResult {
  const result = record('the answer', value);
  const view = readView(result.view);
  const own = view.leases.find(({ dataCenter }) => dataCenter === asked.dataCenter);
  if (result.kind === 'held') {
    const revision = whole('revision', result.revision, 1);
    if (own?.holder !== asked.holder || own.revision !== revision || own.state !== 'held')
      throw new NonsenseError('the granted lease', own);
    return { kind: 'held', revision, view };
  }
  const { kind, reason } = result;
  if (kind !== 'refused') throw new NonsenseError('kind', kind);
  if (reason !== 'held-by-other' && reason !== 'other-incarnation' && reason !== 'stale-revision')
    throw new NonsenseError('reason', reason);
  return { kind, reason, view };
}

function readRecord(value: unknown): LeaseRecord {
  const lease = record('a lease', value);
  const { state } = lease;
  if (state !== 'held' && state !== 'released' && state !== 'expired') throw new NonsenseError('state', state);
  return {
    dataCenter: text('dataCenter', lease.dataCenter),
    incarnation: readIncarnation(lease.incarnation),
    positions: readPositions(lease.positions),
    holder: text('holder', lease.holder),
    revision: whole('revision', lease.revision, 0),
    state,
  };
}

function readIncarnation(value: unknown): Incarnation {
  const incarnation = record('incarnation', value);
  return {
    systemIdentifier: text('systemIdentifier', incarnation.systemIdentifier),
    timeline: whole('timeline', incarnation.timeline, 1),
    generation: whole('generation', incarnation.generation, 1),
  };
}

function readPositions(value: unknown): Positions {
  const positions = record('positions', value);
  if (!isPosition(positions.log)) throw new NonsenseError('log', positions.log);
  return {
    log: positions.log,
    received: readByPeer('received', positions.received),
    applied: readByPeer('applied', positions.applied),
  };
}

function readByPeer(where: string, value: unknown): Readonly<Record<DataCenterName, string>> {
  const positions = record(where, value);
  for (const [peer, position] of Object.entries(positions))
    if (!isPosition(position)) throw new NonsenseError(`${where} from ${peer}`, position);
  return positions as Record<DataCenterName, string>;
}

function record(where: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new NonsenseError(where, value);
  return value as Record<string, unknown>;
}

function whole(where: string, value: unknown, least: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < least) throw new NonsenseError(where, value);
  return value as number;
}

function text(where: string, value: unknown): string {
  if (typeof value !== 'string' || value === '' || value.length > 200) throw new NonsenseError(where, value);
  return value;
}
