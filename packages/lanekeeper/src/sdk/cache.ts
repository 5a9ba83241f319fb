/**
 * A cache in this process that hears of changes: of rows written here, replicated and merged (`cached: true` at a table). Its entries say
 * which tables and rows they were made from.
 *
 * Invariants. 1: what was read before a change was heard is not kept after it: a fill that was under way is given to whoever waits
 * for it, and forgotten. 2: without announcements nothing is kept, and nothing from before is believed. 3: entries and age are bounded.
 */
import type { Configuration } from '../config/index.ts';
import { LanekeeperError } from '../model/index.ts';
import type { Cache, CacheOptions, CacheSource, CacheStatistics } from './api.ts';

type Entry = { readonly value: unknown; readonly sources: readonly Source[]; readonly untilMs: number };
/** `key` null: all rows of the table. */
type Source = { readonly table: string; readonly key: string | null };
type Fill = { readonly sources: readonly Source[]; readonly promise: Promise<unknown>; spoilt: boolean };

const defaultMax = 10_000;
const defaultMaxAgeMs = 600_000;

/** All caches of one `createLanekeeper`, and whether they hear at the moment. */
export class Caches {
  readonly #tables: ReadonlySet<string>;
  readonly #caches = new Set<RowCache>();
  #live = false;

  constructor({ tables }: Pick<Configuration, 'tables'>) {
    this.#tables = new Set(Object.values(tables).flatMap(({ name, cached }) => (cached ? [name] : [])));
  }

  /** Whether there is anything to listen for. */
  get wanted(): boolean {
    return this.#tables.size > 0;
  }

  create(options: CacheOptions): Cache {
    if (!this.wanted)
      throw new LanekeeperError('LK_CONFIG', 'No table says `cached: true`, so nothing would be heard.');
    const cache = new RowCache(this.#tables, options, this.#live);
    this.#caches.add(cache);
    return cache;
  }

  set live(live: boolean) {
    this.#live = live;
    for (const cache of this.#caches) cache.live = live;
  }

  hear(payload: string): void {
    const change = parseChange(payload);
    if (change !== null) for (const cache of this.#caches) cache.hear(change);
  }
}

export class RowCache implements Cache {
  readonly #tables: ReadonlySet<string>;
  readonly #max: number;
  readonly #maxAgeMs: number;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry>();
  readonly #fills = new Map<string, Fill>();
  /** By table, then by row (null: any of it): the entries made from it. */
  readonly #index = new Map<string, Map<string | null, Set<string>>>();
  readonly #counts = { hits: 0, misses: 0, forgotten: 0, evicted: 0 };
  #live: boolean;

  constructor(
    tables: ReadonlySet<string>,
    { max = defaultMax, maxAgeMs = defaultMaxAgeMs }: CacheOptions = {},
    live = false,
  ) {
    if (!(max >= 1) || !(maxAgeMs > 0)) throw new TypeError('A cache keeps at least one entry, for some time.');
    this.#tables = tables;
    this.#max = max;
    this.#maxAgeMs = maxAgeMs;
    this.#live = live;
  }

  get statistics(): CacheStatistics {
    return { ...this.#counts, entries: this.#entries.size, listening: this.#live };
  }

  async get<Value>(key: string, sources: readonly CacheSource[], fill: () => Promise<Value>): Promise<Value> {
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.untilMs > performance.now()) {
      this.#counts.hits += 1;
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      return entry.value as Value;
    }
    if (entry !== undefined) this.#remove(key);
    const made = sources.map((source) => this.#sourceOf(source));
    this.#counts.misses += 1;
    if (!this.#live) return fill();
    const under = this.#fills.get(key);
    return (under?.promise ?? this.#fill(key, made, fill)) as Promise<Value>;
  }

  forget(...sources: readonly CacheSource[]): void {
    for (const source of sources) this.hear(this.#sourceOf(source));
  }

  clear(): void {
    this.#counts.forgotten += this.#entries.size;
    this.#entries.clear();
    this.#index.clear();
    for (const fill of this.#fills.values()) fill.spoilt = true;
    this.#fills.clear();
  }

  /** Whether changes are heard. What is in here from before cannot be believed, either way. */
  set live(live: boolean) {
    this.#live = live;
    this.clear();
  }

  hear(change: Source): void {
    for (const [key, fill] of this.#fills) {
      if (!fill.sources.some((source) => touches(source, change))) continue;
      fill.spoilt = true;
      // Whoever asks from now on shall not wait for an answer from before.
      this.#fills.delete(key);
    }
    const rows = this.#index.get(change.table);
    if (rows === undefined) return;
    const stale = change.key === null ? [...rows.values()] : [rows.get(change.key), rows.get(null)];
    for (const key of stale.flatMap((keys) => [...(keys ?? [])])) {
      this.#remove(key);
      this.#counts.forgotten += 1;
    }
  }

  async #fill<Value>(key: string, sources: readonly Source[], fill: () => Promise<Value>): Promise<Value> {
    // Known before the first byte is asked for, so that no change passes unheard while it is read.
    const started = Promise.resolve().then(fill);
    const under: Fill = { sources, promise: started, spoilt: false };
    this.#fills.set(key, under);
    try {
      const value = await started;
      if (!under.spoilt) this.#keep(key, { value, sources, untilMs: performance.now() + this.#maxAgeMs });
      return value;
    } finally {
      if (this.#fills.get(key) === under) this.#fills.delete(key);
    }
  }

  #keep(key: string, entry: Entry): void {
    this.#remove(key);
    if (this.#entries.size >= this.#max) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#remove(oldest.value);
      this.#counts.evicted += 1;
    }
    this.#entries.set(key, entry);
    for (const { table, key: row } of entry.sources) {
      const rows = this.#index.get(table) ?? new Map<string | null, Set<string>>();
      this.#index.set(table, rows);
      const keys = rows.get(row) ?? new Set();
      rows.set(row, keys.add(key));
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    for (const { table, key: row } of entry.sources) {
      const rows = this.#index.get(table);
      const keys = rows?.get(row);
      keys?.delete(key);
      if (keys?.size === 0) rows?.delete(row);
      if (rows?.size === 0) this.#index.delete(table);
    }
  }

  #sourceOf(source: CacheSource): Source {
    const [written, ...key] = typeof source === 'string' ? [source] : source;
    const table = written.includes('.') ? written : `public.${written}`;
    if (!this.#tables.has(table))
      throw new LanekeeperError('LK_CONFIG', `Nobody says when ${table} changes: write \`cached: true\` at the table.`);
    return { table, key: key.length === 0 ? null : JSON.stringify(key.map(String)) };
  }
}

function touches(source: Source, change: Source): boolean {
  return source.table === change.table && (source.key === null || change.key === null || source.key === change.key);
}

function parseChange(payload: string): Source | null {
  try {
    const { r, k } = JSON.parse(payload) as { r?: unknown; k?: unknown };
    if (typeof r !== 'string') return null;
    return { table: r, key: Array.isArray(k) ? JSON.stringify(k) : null };
  } catch {
    return null;
  }
}
