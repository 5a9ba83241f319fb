/**
 * Strided sequences: every data center draws the numbers that leave its own remainder, so that no two ever draw the same.
 * Pure: what to set a sequence to, or null when it is right already.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Catalog, SequenceInfo } from '../catalog.ts';

export type SequenceTarget = { readonly increment: bigint; readonly next: bigint };

/** The largest numbers in the table that the sequence numbers; null when there are none. */
export type SequenceUse = {
  readonly largest: bigint | null;
  /** Among those with this data center's remainder. */
  readonly largestOwn: bigint | null;
};

/**
 * Sequences whose numbers meet those of other data centers: of homed tables and their partitions, and those of no table,
 * since nobody knows what they number. A table that only its feeder writes, that never leaves its data center or that is
 * ignored keeps its sequence as it is.
 */
export function sequencesToStride(configuration: Configuration, catalog: Catalog): readonly SequenceInfo[] {
  if (Object.keys(configuration.dataCenters).length === 0) return [];
  return [...catalog.sequences.values()].filter((sequence) => {
    if (sequence.table === null) return true;
    const declared = configuration.tables[declaredName(catalog, sequence.table)];
    return declared?.class === 'system-of-record' || declared?.class === 'system-of-reference';
  });
}

/** A partition stands for the table it is a part of, as far up as that goes. */
export function declaredName(catalog: Catalog, table: TableName): TableName {
  let name = table;
  for (let parent = catalog.tables.get(name)?.partitionOf; parent; parent = catalog.tables.get(name)?.partitionOf) {
    name = parent;
  }
  return name;
}

/**
 * The number a sequence gives out next must leave `number` when divided by `stride` and lie beyond everything drawn
 * or stored so far. A sequence that is strided already only ever meets its own remainder, so the numbers that arrive from
 * the others do not push it on.
 */
export function strideSequence(
  sequence: Pick<SequenceInfo, 'increment' | 'lastValue' | 'startValue'>,
  use: SequenceUse,
  number: number,
  stride: number,
): SequenceTarget | null {
  const step = BigInt(stride);
  const remainder = BigInt(number) % step;
  const drawn = sequence.lastValue;
  // What it would give out if nobody touched it; a sequence never drawn from starts at its start value.
  const upcoming = drawn === null ? sequence.startValue : drawn + sequence.increment;
  const strided = sequence.increment === step && modulo(upcoming, step) === remainder;
  const beyond = strided ? use.largestOwn : use.largest;
  if (strided && (beyond === null || beyond < upcoming)) return null;
  const from = drawn === null ? sequence.startValue : drawn + 1n;
  return { increment: step, next: nextNumber(from, beyond, number, stride) };
}

/** The first number from `from` on, and beyond `beyond`, that leaves this data center's remainder. */
export function nextNumber(from: bigint, beyond: bigint | null, number: number, stride: number): bigint {
  const atLeast = beyond !== null && beyond >= from ? beyond + 1n : from;
  return atLeast + modulo(BigInt(number) - atLeast, BigInt(stride));
}

function modulo(value: bigint, divisor: bigint): bigint {
  return ((value % divisor) + divisor) % divisor;
}
