/** Who wrote what, on what, having seen what: judges a run without asking the rules. */
import type { Conflict } from './data-center.ts';
import { compareStamps, eraOf, type Layout, type MergePolicy, type Stamp, type Version, type Writer } from './rules.ts';

export type Property = 'causality' | 'convergence' | 'false conflict' | 'silent loss' | 'policy';

export class Violation extends Error {
  readonly property: Property;
  constructor(property: Property, message: string) {
    super(message);
    this.property = property;
  }
}

type NewWrite = {
  readonly id: number;
  readonly key: number;
  readonly writer: Writer;
  readonly layout: Layout;
  readonly version: Version;
  /** The write whose version was there; null when there was none. */
  readonly on: number | null;
  /** There was no version, and the table had a floor. */
  readonly floored: boolean;
};

type Write = Omit<NewWrite, 'on'> & {
  readonly stamp: Stamp;
  readonly parent: number | null;
  /** The writes of this key that it was made of, itself left out, as bits of their ids. */
  readonly line: bigint;
  /** What its data center had seen of this key. */
  readonly seen: bigint;
};

export class Watch {
  readonly #policy: MergePolicy;
  readonly #writes: (Write | undefined)[] = [];
  /** By data center and key. */
  readonly #seen = new Map<string, bigint>();
  readonly #purged = new Map<string, number>();
  #lost = 0n;

  constructor(policy: MergePolicy) {
    this.#policy = policy;
  }

  wrote({ on, ...write }: NewWrite): void {
    const { id, key, writer, version } = write;
    const { stamp } = version;
    const seen = this.#seenBy(writer.dc, key);
    const parent = on ?? this.#purged.get(`${writer.dc} ${key}`) ?? null;
    const line = parent === null ? 0n : (this.#writes[parent]?.line ?? 0n) | bit(parent);
    for (const other of this.#writes)
      if (other !== undefined && (seen & bit(other.id)) !== 0n && compareStamps(stamp, other.stamp) <= 0)
        throw new Violation(
          'causality',
          `write ${id} [${stamp}] has seen write ${other.id} [${other.stamp}] and does not win over it`,
        );
    this.#writes[id] = { ...write, stamp, parent, line, seen };
  }

  /** Its transaction did not commit. */
  undone(id: number): void {
    this.#writes[id] = undefined;
  }

  committed(id: number): void {
    const { writer, key } = this.#write(id);
    this.merged(writer.dc, key, id);
  }

  /** It was compared with what was there, whatever came of that. */
  merged(dc: number, key: number, id: number): void {
    this.#seen.set(`${dc} ${key}`, this.#seenBy(dc, key) | this.#write(id).seen | bit(id));
  }

  purged(dc: number, key: number, id: number): void {
    this.#purged.set(`${dc} ${key}`, id);
  }

  conflict({ key, winner, loser }: Conflict): void {
    const won = this.#write(winner.write);
    const lost = this.#write(loser.write);
    if ((won.line & bit(lost.id)) !== 0n || (lost.line & bit(won.id)) !== 0n)
      throw new Violation('false conflict', `writes ${won.id} and ${lost.id} of key ${key} follow each other`);
    if (won.parent === lost.parent && eraOf(won.stamp) === eraOf(lost.stamp)) this.#judgePolicy(won, lost);
    this.#lost |= lost.line | bit(lost.id);
  }

  /** Two writes on the same version: the configuration says who wins. But a floor is higher than what nobody has deleted. */
  #judgePolicy(won: Write, lost: Write): void {
    if (this.#policy === 'last-man-standing' || won.floored || lost.floored) return;
    const { dcs, applications } = won.layout;
    const rank = ({ writer, stamp }: Write): readonly number[] => {
      const place = dcs.indexOf(writer.dc);
      if (this.#policy === 'timestamp-weight') return [-(stamp[1] as number), place];
      return this.#policy === 'locality-weight' ? [place] : [applications.indexOf(writer.application), place];
    };
    if (compareStamps(rank(won), rank(lost)) >= 0)
      throw new Violation(
        'policy',
        `${won.id} [${won.stamp}] has won over ${lost.id} [${lost.stamp}], which is heavier`,
      );
  }

  /** When everything has arrived everywhere: `present` is the write whose version every data center has of a key. */
  settled(key: number, present: number | null): void {
    const kept = present === null ? 0n : this.#write(present).line | bit(present);
    for (const write of this.#writes) {
      if (write === undefined || write.key !== key || ((kept | this.#lost) & bit(write.id)) !== 0n) continue;
      // After a purge of all there is nothing to compare with; what begins at a floor covers more than it has seen; and
      // nobody knows what was before the era before.
      if (present === null) continue;
      if (this.#writes.some((other) => other?.key === key && (other.floored || isTwoErasOn(other, write)))) continue;
      throw new Violation(
        'silent loss',
        `write ${write.id} [${write.stamp}] of key ${key} is gone, and nothing says so`,
      );
    }
  }

  #seenBy(dc: number, key: number): bigint {
    return this.#seen.get(`${dc} ${key}`) ?? 0n;
  }

  #write(id: number): Write {
    const write = this.#writes[id];
    if (write === undefined) throw new Error(`there is no write ${id}`);
    return write;
  }
}

function isTwoErasOn({ version }: Write, write: Write): boolean {
  return version.root !== null && eraOf(version.root) > eraOf(write.stamp);
}

function bit(id: number): bigint {
  return 1n << BigInt(id);
}
