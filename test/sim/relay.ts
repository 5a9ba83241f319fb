/**
 * Relay slots: what a data center applied of the others, kept for each of its peers until that has it as well. Who lacks the end
 * of a log whose data center is gone fetches it from there.
 */
import type { ModelPostgres } from './postgres.ts';
import type { Transaction } from './rows.ts';

type Sample = ReadonlyMap<string, number>;

type Slot = {
  /** How far the others' logs had been applied here where it begins. */
  begins: Sample;
  /** Later ones, the oldest first. */
  readonly samples: Sample[];
};

export class RelaySlots {
  readonly #slots = new Map<string, Slot>();

  make(peer: string, progress: Sample): void {
    this.#slots.set(peer, { begins: new Map(progress), samples: [] });
  }

  /** Regularly: forgets what `peer` has by its own account. */
  advance(peer: string, here: Sample, theirs: Sample, broken: boolean): void {
    const slot = this.#slots.get(peer);
    if (slot === undefined) return this.make(peer, here);
    slot.samples.push(new Map(here));
    const has = (sample: Sample) =>
      [...sample].every(([dc, lsn]) => dc === peer || (theirs.get(dc) ?? 0) >= lsn) || broken;
    while (slot.samples[0] !== undefined && has(slot.samples[0])) slot.begins = slot.samples.shift() as Sample;
  }

  /** Whether `peer` has all that is not kept for it: until then it might lack what nobody else can give it. */
  covers(peer: string, theirs: Sample): boolean {
    const begins = this.#slots.get(peer)?.begins ?? new Map<string, number>();
    return [...begins].every(([dc, lsn]) => dc === peer || (theirs.get(dc) ?? 0) >= lsn);
  }

  beginOf(peer: string, dc: string): number {
    return this.#slots.get(peer)?.begins.get(dc) ?? 0;
  }

  /** Whether everything of `dc` beyond a position is there for `peer`. */
  isComplete(peer: string, dc: string, fromLsn: number): boolean {
    const slot = this.#slots.get(peer);
    return slot !== undefined && (slot.begins.get(dc) ?? 0) <= fromLsn;
  }
}

/** What `pg` has applied of `of`, in the order in which it was committed here. */
export function relayed(pg: ModelPostgres, of: string, fromLsn: number, upToLsn: number): readonly Transaction[] {
  return pg.wal.filter(
    ({ origin, originLsn }) => origin === of && (originLsn as number) > fromLsn && (originLsn as number) <= upToLsn,
  );
}
