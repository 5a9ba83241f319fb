/** One data center of the model: what it holds of a shared table, what it sends, what it makes of what arrives. */
import {
  compareStamps,
  eraAfter,
  type Layout,
  type MergePolicy,
  numberOf,
  type Rules,
  type Shape,
  type Stamp,
  shapeText,
  type Version,
  type Writer,
} from './rules.ts';

export type Message =
  | { readonly kind: 'layout'; readonly layout: Layout }
  | { readonly kind: 'change'; readonly key: number; readonly version: Version };

export type Conflict = { readonly key: number; readonly winner: Version; readonly loser: Version };

/** What became of a write. */
export type Written =
  | { readonly kind: 'written'; readonly version: Version; readonly base: Stamp | null }
  /** No row to update or delete, or one that is there already. */
  | { readonly kind: 'nothing' }
  /** Another transaction has the row. */
  | { readonly kind: 'waits' }
  /** 40001: the base is of an era that is not known here yet. */
  | { readonly kind: 'era-unknown' };

export type Operation = 'insert' | 'update' | 'delete' | 'upsert';

export type Merged = 'applied' | 'kept' | 'waits' | 'same';

export class ModelDataCenter {
  readonly number: number;
  readonly rules: Rules;
  readonly policy: MergePolicy;
  readonly versions = new Map<number, Version>();
  readonly waiting = new Map<number, readonly Version[]>();
  /** Rows that a transaction has written and not committed, with what it wrote. */
  readonly held = new Map<number, Version>();
  readonly conflicts: Conflict[] = [];
  /** The highest number of its own by key, and of which era that is. */
  readonly used = new Map<number, { readonly era: number; readonly number: number }>();
  /** The present era's first. */
  floors: readonly Stamp[] = [];
  layout: Layout;
  #announcedEra: number;
  readonly #tries = new WeakMap<Version, number>();
  readonly #send: (message: Message) => void;

  constructor(number: number, policy: MergePolicy, layout: Layout, rules: Rules, send: (message: Message) => void) {
    this.number = number;
    this.policy = policy;
    this.layout = layout;
    this.rules = rules;
    this.#announcedEra = layout.era;
    this.#send = send;
  }

  value(key: number): number | null {
    return this.versions.get(key)?.value ?? null;
  }

  /** A statement in a transaction of its own. */
  write(operation: Operation, key: number, write: number, application: number, nowMs: number): Written {
    const written = this.begin(operation, key, write, application, nowMs);
    if (written.kind === 'written') this.commit(key);
    return written;
  }

  /** A statement in a transaction that goes on. */
  begin(operation: Operation, key: number, write: number, application: number, nowMs: number): Written {
    if (this.held.has(key)) return { kind: 'waits' };
    const present = this.versions.get(key) ?? null;
    const exists = present !== null && present.value !== null;
    if (operation === 'insert' ? exists : operation !== 'upsert' && !exists) return { kind: 'nothing' };
    const base = present === null ? (this.floors[0] ?? null) : present.stamp;
    const root = this.rules.root(this.layout, base, present === null ? (this.floors[1] ?? null) : present.root);
    if (!this.rules.knows(this.layout, base)) return { kind: 'era-unknown' };
    const writer: Writer = { dc: this.number, application };
    const before = this.used.get(key);
    const used = before?.era === this.layout.era ? before.number : 0;
    const stamp = this.rules.next(this.policy, this.layout, base, used, writer, nowMs);
    const version = { stamp, root, write, value: operation === 'delete' ? null : write };
    this.held.set(key, version);
    return { kind: 'written', version, base };
  }

  commit(key: number): void {
    const version = this.held.get(key);
    if (version === undefined) return;
    this.held.delete(key);
    this.versions.set(key, version);
    const number = numberOf(this.policy, this.layout, version.stamp, this.number);
    this.used.set(key, { era: this.layout.era, number });
    // First in the stream what the counters stand for: whoever merges this may write on it next.
    if (this.#announcedEra < this.layout.era) this.#announce();
    this.#send({ kind: 'change', key, version });
  }

  rollback(key: number): void {
    this.held.delete(key);
  }

  /** A configuration with other data centers, weights or applications: a new era, unless somebody has declared it already. */
  configure(shape: Shape): void {
    const text = shapeText(this.policy, shape);
    if (text === shapeText(this.policy, this.layout)) return;
    this.layout = { ...shape, era: eraAfter(this.layout.era, text) };
    this.#announce();
  }

  #announce(): void {
    this.#announcedEra = this.layout.era;
    this.#send({ kind: 'layout', layout: this.layout });
  }

  receive(message: Message): Merged {
    if (message.kind === 'layout') {
      this.layout = this.rules.inForce(this.layout, message.layout);
      return 'applied';
    }
    return this.#merge(message.key, message.version);
  }

  #merge(key: number, arriving: Version): Merged {
    if (this.held.has(key)) {
      this.waiting.set(key, this.rules.keep(this.waiting.get(key) ?? [], arriving));
      return 'waits';
    }
    const present = this.versions.get(key) ?? null;
    if (present !== null && compareStamps(present.stamp, arriving.stamp) === 0) return 'same';
    if (present !== null) this.#note(key, present, arriving);
    if (present !== null && this.rules.stays(this.policy, present, arriving)) return 'kept';
    const stamp = this.rules.replaced(present?.stamp ?? null, arriving.stamp);
    this.versions.set(key, { ...arriving, stamp });
    return 'applied';
  }

  #note(key: number, present: Version, arriving: Version): void {
    const { policy, rules } = this;
    if (rules.covers(present, arriving) || rules.covers(arriving, present)) return;
    const [winner, loser] = rules.stays(policy, present, arriving) ? [present, arriving] : [arriving, present];
    const known = this.conflicts.some((one) => one.winner.write === winner.write && one.loser.write === loser.write);
    if (!known) this.conflicts.push({ key, winner, loser });
  }

  /** What the agent does about merges that found a row locked. Returns what was merged. */
  finishWaiting(key: number): readonly Version[] {
    const waiting = this.waiting.get(key) ?? [];
    if (this.held.has(key)) {
      for (const version of waiting) this.#tries.set(version, this.#triesOf(version) + 1);
      return [];
    }
    this.waiting.delete(key);
    // What was tried least comes first.
    const inTurn = waiting.toSorted((a, b) => this.#triesOf(a) - this.#triesOf(b));
    for (const version of inTurn) this.#merge(key, version);
    return inTurn;
  }

  #triesOf(version: Version): number {
    return this.#tries.get(version) ?? 0;
  }

  purge(key: number): boolean {
    const present = this.versions.get(key);
    if (present === undefined || present.value !== null || this.held.has(key) || this.waiting.has(key)) return false;
    this.versions.delete(key);
    this.used.delete(key);
    this.floors = this.rules.raiseFloor(this.floors, present.stamp);
    return true;
  }
}
