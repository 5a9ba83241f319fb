/** Runs a schedule on the model: data centers, a stream in order from each to each, and what must hold. */
import { type Merged, type Message, ModelDataCenter, type Written } from './data-center.ts';
import {
  compareStamps,
  eraAfter,
  type Layout,
  type Rules,
  rules as rightRules,
  type Shape,
  type Stamp,
  shapeText,
} from './rules.ts';
import { keys, type Schedule, type Step } from './schedule.ts';
import { Violation, Watch } from './watch.ts';

/** A hole in the rules, or in how the world goes about them. */
export type Mutant = {
  readonly name: string;
  readonly rules?: Partial<Rules>;
  /** Tombstones go although not every data center has them. */
  readonly purgesEarly?: true;
  /** What waits for a row is lost when the row's transaction rolls back. */
  readonly forgetsWaiting?: true;
};

export type Outcome = {
  readonly violation: { readonly property: string; readonly message: string } | null;
  readonly writes: number;
  readonly conflicts: number;
  readonly purges: number;
  readonly waits: number;
  readonly eras: number;
  readonly refusals: number;
  /** Of each data center, what it has of each key. */
  readonly rows: readonly (readonly (number | null)[])[];
};

const startMs = 1_000;

export class World {
  readonly dcs: readonly ModelDataCenter[];
  readonly watch: Watch;
  readonly seen = { writes: 0, conflicts: 0, purges: 0, waits: 0, eras: 0, refusals: 0 };
  readonly #schedule: Schedule;
  readonly #mutant: Mutant | null;
  readonly #streams = new Map<string, Message[]>();
  readonly #cut = new Set<string>();
  readonly #clocks: number[];
  readonly #configured: number[];
  readonly #judged: number[];
  #nowMs = startMs;
  #nextWrite = 1;

  constructor(schedule: Schedule, mutant: Mutant | null = null) {
    this.#schedule = schedule;
    this.#mutant = mutant;
    const rules: Rules = { ...rightRules, ...mutant?.rules };
    const numbers = Array.from({ length: schedule.dcs }, (_, index) => index + 1);
    for (const from of numbers) for (const to of numbers) if (from !== to) this.#streams.set(`${from} ${to}`, []);
    const shape = schedule.shapes[0] as Shape;
    const first: Layout = { ...shape, era: eraAfter(0, shapeText(schedule.policy, shape)) };
    this.dcs = numbers.map((number) => {
      const send = (message: Message) => {
        for (const to of numbers) if (to !== number) this.#stream(number, to).push(message);
      };
      return new ModelDataCenter(number, schedule.policy, first, rules, send);
    });
    this.#clocks = numbers.map(() => 0);
    this.#configured = numbers.map(() => 0);
    this.#judged = numbers.map(() => 0);
    this.watch = new Watch(schedule.policy);
  }

  /** `nowMs`: what the clock of a real server said; else the model's own. */
  step(step: Step, nowMs: number | null = null): Written | Merged | boolean | null {
    this.#nowMs += 1;
    switch (step.do) {
      case 'write': {
        const written = this.#begin(step, nowMs);
        if (written.kind === 'written') this.#end(step.dc, step.key, true);
        return written;
      }
      case 'begin':
        return this.#begin(step, nowMs);
      case 'end':
        this.#end(step.dc, step.key, step.commits);
        return null;
      case 'deliver':
        if (!this.#cut.has(`${step.from} ${step.to}`)) this.#deliver(step.from, step.to, step.count);
        return null;
      case 'cut':
        this.#cut.add(`${step.from} ${step.to}`);
        return null;
      case 'heal':
        return this.#cut.delete(`${step.from} ${step.to}`);
      case 'finish':
        this.#finish(step.dc);
        return null;
      case 'purge':
        return this.#purge(step.dc, step.key);
      case 'roll':
        return this.#roll(step.dc);
      case 'clock':
        this.#clocks[step.dc - 1] = (this.#clocks[step.dc - 1] ?? 0) + step.byMs;
        return null;
    }
  }

  /** Everything is reachable, every transaction ends, everything arrives, nothing waits. */
  heal(): void {
    this.#cut.clear();
    for (const dc of this.dcs) for (const key of [...dc.held.keys()]) this.#end(dc.number, key, true);
    for (const name of this.#streams.keys()) {
      const [from = 0, to = 0] = name.split(' ').map(Number);
      this.#deliver(from, to, Number.POSITIVE_INFINITY);
    }
    for (const dc of this.dcs) this.#finish(dc.number);
  }

  /** After `heal`: all data centers are equal, and what was lost was said. */
  judge(): void {
    const [first, ...others] = this.dcs;
    if (first === undefined) return;
    for (const key of keys) {
      for (const dc of others)
        if (dc.value(key) !== first.value(key))
          throw new Violation(
            'convergence',
            `key ${key}: ${this.dcs.map((one) => `${one.value(key)} [${one.versions.get(key)?.stamp ?? 'nothing'}]`).join(', ')}`,
          );
      this.watch.settled(key, first.versions.get(key)?.write ?? null);
    }
  }

  outcome(violation: Outcome['violation']): Outcome {
    return { violation, ...this.seen, rows: this.dcs.map((dc) => keys.map((key) => dc.value(key))) };
  }

  dc(number: number): ModelDataCenter {
    const found = this.dcs[number - 1];
    if (found === undefined) throw new Error(`there is no data center ${number}`);
    return found;
  }

  /** The id, and value, of the next write that is one. */
  get nextWrite(): number {
    return this.#nextWrite;
  }

  #stream(from: number, to: number): Message[] {
    return this.#streams.get(`${from} ${to}`) ?? [];
  }

  #begin(step: Step & { readonly do: 'write' | 'begin' }, nowMs: number | null): Written {
    const dc = this.dc(step.dc);
    const on = dc.versions.get(step.key)?.write ?? null;
    const clock = nowMs ?? this.#nowMs + (this.#clocks[step.dc - 1] ?? 0);
    const written = dc.begin(step.operation, step.key, this.#nextWrite, step.application, clock);
    if (written.kind === 'era-unknown') this.seen.refusals++;
    if (written.kind !== 'written') return written;
    this.seen.writes++;
    const writer = { dc: step.dc, application: step.application };
    const floored = on === null && written.base !== null;
    this.watch.wrote({
      id: this.#nextWrite++,
      key: step.key,
      writer,
      layout: dc.layout,
      version: written.version,
      on,
      floored,
    });
    return written;
  }

  #end(number: number, key: number, commits: boolean): void {
    const dc = this.dc(number);
    const held = dc.held.get(key);
    if (held === undefined) return;
    if (commits) {
      dc.commit(key);
      this.watch.committed(held.write);
      return;
    }
    dc.rollback(key);
    this.watch.undone(held.write);
    if (this.#mutant?.forgetsWaiting) dc.waiting.delete(key);
  }

  #deliver(from: number, to: number, count: number): void {
    const dc = this.dc(to);
    for (const message of this.#stream(from, to).splice(0, count)) {
      const merged = dc.receive(message);
      if (message.kind === 'layout') continue;
      if (merged === 'waits') this.seen.waits++;
      else this.watch.merged(to, message.key, message.version.write);
      this.#judgeConflicts(dc);
    }
  }

  #finish(number: number): void {
    const dc = this.dc(number);
    for (const key of [...dc.waiting.keys()]) {
      for (const version of dc.finishWaiting(key)) this.watch.merged(number, key, version.write);
      this.#judgeConflicts(dc);
    }
  }

  #judgeConflicts(dc: ModelDataCenter): void {
    const at = dc.number - 1;
    for (const conflict of dc.conflicts.slice(this.#judged[at])) this.watch.conflict(conflict);
    this.seen.conflicts += dc.conflicts.length - (this.#judged[at] ?? 0);
    this.#judged[at] = dc.conflicts.length;
  }

  #purge(number: number, key: number): boolean {
    const dc = this.dc(number);
    const tombstone = dc.versions.get(key);
    if (tombstone === undefined || tombstone.value !== null) return false;
    if (!this.#mutant?.purgesEarly && !this.#everywhere(key, tombstone.stamp)) return false;
    if (!dc.purge(key)) return false;
    this.watch.purged(number, key, tombstone.write);
    this.seen.purges++;
    return true;
  }

  /** Every data center has this tombstone, or has purged it, and nothing about the key is under way. */
  #everywhere(key: number, stamp: Stamp): boolean {
    const still = this.dcs.every((dc) => {
      const version = dc.versions.get(key);
      const same = version === undefined || compareStamps(version.stamp, stamp) === 0;
      return same && !dc.held.has(key) && !dc.waiting.has(key);
    });
    const underWay = [...this.#streams.values()].some((stream) =>
      stream.some((message) => message.kind === 'change' && message.key === key),
    );
    return still && !underWay;
  }

  #roll(number: number): boolean {
    const next = (this.#configured[number - 1] ?? 0) + 1;
    const shape = this.#schedule.shapes[next];
    // The next configuration comes when everybody has the present one: one data center at a time.
    if (shape === undefined || Math.min(...this.#configured) + 1 < next) return false;
    this.#configured[number - 1] = next;
    this.dc(number).configure(shape);
    this.seen.eras++;
    return true;
  }
}

export function run(schedule: Schedule, mutant: Mutant | null = null): Outcome {
  const world = new World(schedule, mutant);
  try {
    for (const step of schedule.steps) world.step(step);
    world.heal();
    world.judge();
    return world.outcome(null);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    return world.outcome({ property: error.property, message: error.message });
  }
}
