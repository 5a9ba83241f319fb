/**
 * What is kept in etcd, all of it below `lanekeeper/<cluster>/`, and read in one range at one revision:
 *
 * - `lease/<dc>`: the record of a data center, as JSON · `alive/<dc>`: the revision of that record; tied to an etcd lease, so
 *   that etcd removes it when the record was not renewed in time · `view/<term>`: one succession, never changed
 */
import type { DataCenterName, LeaseRecord, LeaseView, Succession } from 'lanekeeper/model';
import { NonsenseError, readView } from './answer.ts';
import type { Json } from './etcd-gateway.ts';

/** A record as it is stored; its state follows from it and from what stands beside it. */
export type StoredRecord = Omit<LeaseRecord, 'state'> & {
  /** How it was given up; null while it was not. */
  readonly ended: 'released' | 'yielded' | null;
  /** It left: it is in no view, and comes back as a later generation. Absent: it did not. */
  readonly departed?: true;
};

export type Entry = {
  readonly record: StoredRecord;
  readonly state: LeaseRecord['state'];
  /** By etcd: which change wrote the record, and which the key beside it; null when that is gone. */
  readonly modRevision: string;
  readonly aliveModRevision: string | null;
  /** Names the one question that wrote it. */
  readonly mark: string;
};

export type Snapshot = {
  readonly view: LeaseView;
  readonly entries: ReadonlyMap<DataCenterName, Entry>;
  /** The mark of each succession by its term. */
  readonly marks: ReadonlyMap<number, string>;
};

export type Keys = {
  readonly prefix: string;
  record(dataCenter: DataCenterName): string;
  alive(dataCenter: DataCenterName): string;
  view(term: number): string;
};

/** Rises with every change that an older agent would misread. */
const format = 1;

export function keysOf(cluster: string): Keys {
  const prefix = `lanekeeper/${cluster}/`;
  return {
    prefix,
    record: (dataCenter) => `${prefix}lease/${dataCenter}`,
    alive: (dataCenter) => `${prefix}alive/${dataCenter}`,
    // In the order of terms.
    view: (term) => `${prefix}view/${String(term).padStart(12, '0')}`,
  };
}

export const encode = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

export function recordValue(record: StoredRecord, mark: string): string {
  return JSON.stringify({ format, ...record, mark });
}

export function successionValue(succession: Succession, mark: string): string {
  return JSON.stringify({ format, ...succession, mark });
}

/** Everything below the prefix; the first key after it ends the range. */
export function rangeOf({ prefix }: Keys): Json {
  return { key: encode(prefix), range_end: encode(`${prefix.slice(0, -1)}0`) };
}

/**
 * Remembers since when each record is known unchanged, by this machine's own clock: when etcd loses its leader, keys live
 * longer than they should, and when it comes to a stuck one, shorter.
 */
export class Sightings {
  readonly #seen = new Map<DataCenterName, { readonly revision: number; readonly sinceMs: number }>();

  /** For how long this revision is known, in milliseconds. */
  ageMs({ dataCenter, revision }: StoredRecord, nowMs: number): number {
    const seen = this.#seen.get(dataCenter);
    if (seen?.revision === revision) return nowMs - seen.sinceMs;
    this.#seen.set(dataCenter, { revision, sinceMs: nowMs });
    return 0;
  }
}

type Pair = { readonly key: string; readonly value: string; readonly modRevision: string };

export function readSnapshot(range: unknown, keys: Keys, sightings: Sightings, nowMs: number): Snapshot {
  const records = new Map<string, { readonly stored: Json; readonly modRevision: string }>();
  const alive = new Map<string, Pair>();
  const successions: unknown[] = [];
  const marks = new Map<number, string>();
  for (const pair of readPairs(range)) {
    const [kind, name, ...rest] = pair.key.slice(keys.prefix.length).split('/');
    if (!pair.key.startsWith(keys.prefix) || name === undefined || rest.length > 0)
      throw new NonsenseError('a key', pair.key);
    if (kind === 'alive') alive.set(name, pair);
    else if (kind === 'lease') {
      const stored = readJson(pair);
      if (stored.dataCenter !== name) throw new NonsenseError(`the record of ${name}`, stored);
      records.set(name, { stored, modRevision: pair.modRevision });
    } else if (kind === 'view') {
      const stored = readJson(pair);
      const { format: _, mark, ...succession } = stored;
      if (pair.key !== keys.view(Number(stored.term))) throw new NonsenseError(pair.key, stored);
      successions.push(succession);
      marks.set(Number(stored.term), String(mark));
    } else throw new NonsenseError('a key', pair.key);
  }

  // Read strictly as what it will be; the state, which needs the answer of that, comes last.
  const term = successions.length + 1;
  const leases = [...records.values()].map(({ stored }) => ({ ...stored, state: 'expired' }));
  const checked = readView({ term, leases, successions });
  const departed: Record<DataCenterName, number> = {};
  const entries = new Map<DataCenterName, Entry>();
  for (const { state: _, ...record } of checked.leases) {
    const { stored, modRevision } = records.get(record.dataCenter) as { stored: Json; modRevision: string };
    const stays = alive.get(record.dataCenter);
    const left = stored.departed === true ? ({ departed: true } as const) : {};
    if (stored.departed === true) departed[record.dataCenter] = record.incarnation.generation;
    const ended = readEnded(stored.ended);
    const entry = { record: { ...record, ended, ...left }, modRevision, mark: String(stored.mark) };
    const ageMs = sightings.ageMs(entry.record, nowMs);
    const inTime = stays?.value === String(record.revision) && ageMs < record.ttlMs;
    const state = entry.record.ended ?? (inTime && record.takenOver === null ? 'held' : 'expired');
    entries.set(record.dataCenter, { ...entry, state, aliveModRevision: stays?.modRevision ?? null });
  }
  const view = {
    ...checked,
    leases: checked.leases
      .filter(({ dataCenter }) => departed[dataCenter] === undefined)
      .map((lease) => ({ ...lease, state: (entries.get(lease.dataCenter) as Entry).state })),
    ...(Object.keys(departed).length === 0 ? {} : { departed }),
  };
  return { view, entries, marks };
}

function readEnded(value: unknown): StoredRecord['ended'] {
  if (value !== null && value !== 'released' && value !== 'yielded') throw new NonsenseError('ended', value);
  return value;
}

function readPairs(range: unknown): Pair[] {
  if (typeof range !== 'object' || range === null) throw new NonsenseError('the range', range);
  const { kvs = [], more = false } = range as { kvs?: unknown; more?: unknown };
  if (!Array.isArray(kvs) || more !== false) throw new NonsenseError('the range', range);
  return kvs.map((pair: Json | null) => {
    const modRevision = pair?.mod_revision;
    if (typeof modRevision !== 'string' || !/^[1-9]\d{0,18}$/.test(modRevision))
      throw new NonsenseError('mod_revision', modRevision);
    return { key: decode(pair?.key), value: decode(pair?.value), modRevision };
  });
}

function decode(value: unknown): string {
  if (typeof value !== 'string') throw new NonsenseError('a key or value', value);
  return Buffer.from(value, 'base64').toString('utf8');
}

function readJson({ key, value }: Pair): Json {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw new NonsenseError(key, value);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new NonsenseError(key, value);
  const stored = parsed as Json;
  if (stored.format !== format || typeof stored.mark !== 'string')
    throw new NonsenseError(`the format of ${key}, which a newer version may have written,`, stored.format);
  return stored;
}
