/** Reading what the store answered. What cannot be true is an error: a lease is never derived from it. */
import {
  type DataCenterName,
  type Incarnation,
  isPosition,
  type LeaseRecord,
  type LeaseResult,
  type LeaseView,
  type Positions,
  type Succession,
  type SuccessionRefusal,
  type SuccessionRequest,
  type SuccessionResult,
  type Tail,
} from 'lanekeeper/model';

export class NonsenseError extends Error {
  override readonly name = 'NonsenseError';

  constructor(where: string, value: unknown) {
    super(
      `The lease store answered nonsense: ${where} is ${JSON.stringify(value)?.slice(0, 200)}. ` +
        'Nothing is derived from it. See that `leases` leads to the right store, and that nobody else writes there.',
    );
  }
}

/** A store that forgets a view was set back to an older copy, or is another one: whoever believed it would write twice. */
export class Recollection {
  #term = 1;

  /** The latest term that was seen. An answer to what is asked from now on has at least this one. */
  get term(): number {
    return this.#term;
  }

  check(view: LeaseView, floor: number): LeaseView {
    if (view.term < floor)
      throw new NonsenseError(`the term, which was ${floor} before (was the store restored from a copy?),`, view.term);
    this.#term = Math.max(this.#term, view.term);
    return view;
  }
}

export function readView(value: unknown): LeaseView {
  const view = record('the answer', value);
  if (!Array.isArray(view.leases)) throw new NonsenseError('leases', view.leases);
  const leases = view.leases.map(readRecord);
  if (new Set(leases.map(({ dataCenter }) => dataCenter)).size < leases.length)
    throw new NonsenseError('leases', view.leases);
  for (const lease of leases)
    if (lease.takenOver !== null && lease.state === 'held') throw new NonsenseError('a lease', lease);
  const term = whole('term', view.term, 1);
  for (const { dataCenter, takenOver } of leases)
    if (takenOver !== null && takenOver > term) throw new NonsenseError(`takenOver of ${dataCenter}`, takenOver);
  const successions = readSuccessions(view.successions, term);
  const departed = readDeparted(view.departed);
  const [back] = leases.filter(({ dataCenter }) => departed?.[dataCenter] !== undefined);
  if (back !== undefined) throw new NonsenseError(`departed, among which is ${back.dataCenter},`, view.departed);
  return { term, leases, successions, ...(departed === null ? {} : { departed }) };
}

/** Null: none. */
function readDeparted(value: unknown): Readonly<Record<DataCenterName, number>> | null {
  if (value === undefined) return null;
  const departed = Object.entries(record('departed', value));
  for (const [dataCenter, generation] of departed) whole(`departed ${dataCenter}`, generation, 1);
  return departed.length === 0 ? null : (Object.fromEntries(departed) as Record<DataCenterName, number>);
}

/** The history has no gaps: whoever acted on half of it would believe in other homes than everybody else. */
function readSuccessions(value: unknown, term: number): readonly Succession[] {
  if (!Array.isArray(value) || value.length !== term - 1) throw new NonsenseError('successions', value);
  return value.map((entry, index) => {
    const { term, kind, from, to, undoes } = record('a succession', entry);
    if (term !== index + 2) throw new NonsenseError('the term of a succession', term);
    if (kind !== 'take' && kind !== 'switch' && kind !== 'return') throw new NonsenseError('kind', kind);
    const succession = { term: index + 2, kind, from: text('from', from), to: text('to', to) } as const;
    if (from === to) throw new NonsenseError('a succession', entry);
    if (kind !== 'return' && undoes !== null) throw new NonsenseError('undoes', undoes);
    if (kind === 'return' && whole('undoes', undoes, 2) >= succession.term) throw new NonsenseError('undoes', undoes);
    return { ...succession, undoes: undoes as number | null };
  });
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
  if (!isOneOf(leaseRefusals, reason)) throw new NonsenseError('reason', reason);
  return { kind, reason, view };
}

/** A succession must stand in the history as it was asked for. */
export function readSuccessionResult(value: unknown, asked: SuccessionRequest): SuccessionResult {
  const result = record('the answer', value);
  const view = readView(result.view);
  if (result.kind === 'succeeded') {
    const last = view.successions.at(-1);
    const undoes = asked.kind === 'return' ? asked.undoes : null;
    const as = last?.kind === asked.kind && last.from === asked.from && last.to === asked.to && last.undoes === undoes;
    if (!as || result.term !== asked.term + 1 || view.term !== result.term)
      throw new NonsenseError('the new view', view);
    return { kind: 'succeeded', term: view.term, view };
  }
  const { kind, reason } = result;
  if (kind !== 'refused') throw new NonsenseError('kind', kind);
  if (!isOneOf(successionRefusals, reason)) throw new NonsenseError('reason', reason);
  return { kind, reason, view };
}

export function readYesOrNo(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new NonsenseError('the answer', value);
  return value;
}

const states = ['held', 'released', 'yielded', 'expired'] as const satisfies readonly LeaseRecord['state'][];
const leaseRefusals = [
  'held-by-other',
  'other-incarnation',
  'stale-revision',
  'taken-over',
] as const satisfies readonly (LeaseResult & { kind: 'refused' })['reason'][];
const successionRefusals = [
  'stale-term',
  'no-lease',
  'still-held',
  'taken-over',
  'not-in-sync',
] as const satisfies readonly SuccessionRefusal[];

function isOneOf<T>(words: readonly T[], word: unknown): word is T {
  return (words as readonly unknown[]).includes(word);
}

function readRecord(value: unknown): LeaseRecord {
  const lease = record('a lease', value);
  const { state } = lease;
  if (!isOneOf(states, state)) throw new NonsenseError('state', state);
  return {
    dataCenter: text('dataCenter', lease.dataCenter),
    incarnation: readIncarnation(lease.incarnation),
    positions: readPositions(lease.positions),
    holder: text('holder', lease.holder),
    revision: whole('revision', lease.revision, 0),
    state,
    ttlMs: whole('ttlMs', lease.ttlMs, 0),
    inSync: readNames('inSync', lease.inSync),
    takenOver: lease.takenOver === null ? null : whole('takenOver', lease.takenOver, 2),
  };
}

function readNames(where: string, value: unknown): readonly DataCenterName[] {
  if (!Array.isArray(value)) throw new NonsenseError(where, value);
  const names = value.map((name) => text(where, name));
  if (new Set(names).size < names.length) throw new NonsenseError(where, value);
  return names;
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
    ...(positions.homed === undefined ? {} : { homed: readByPeer('homed', positions.homed) }),
    ...(positions.rest === undefined ? {} : { rest: readByPeer('rest', positions.rest) }),
    ...(positions.frozen === undefined ? {} : { frozen: readTails(positions.frozen) }),
  };
}

function readTails(value: unknown): Readonly<Record<DataCenterName, Tail>> {
  const tails = Object.entries(record('frozen', value)).map(([peer, read]): [DataCenterName, Tail] => {
    const { term, homed, rest } = record(`frozen from ${peer}`, read);
    if (!isPosition(homed) || !isPosition(rest)) throw new NonsenseError(`frozen from ${peer}`, read);
    return [peer, { term: whole('term', term, 1), homed, rest }];
  });
  return Object.fromEntries(tails);
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
