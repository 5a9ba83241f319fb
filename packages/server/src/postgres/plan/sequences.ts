/**
 * Strided sequences: every data center draws the numbers that leave its own remainder, so that no two ever draw the same.
 * Pure: what to set a sequence to, or null when it is right already.
 */
import { type Configuration, matchesPattern } from 'lanekeeper/config';
import type { Catalog, SequenceInfo } from '../catalog.ts';
import { quoteTable, quoteText } from '../fence/names.ts';
import { declaredName } from '../streams/names.ts';

export type SequenceTarget = {
  readonly increment: bigint;
  /** Where it begins again when the table is emptied with RESTART IDENTITY. */
  readonly start: bigint;
  readonly next: bigint;
};

/** What a sequence and the table that it numbers hold. */
export type SequenceUse = {
  readonly lastValue: bigint;
  /** Whether `lastValue` was given out, or will be next. */
  readonly called: boolean;
  /** The largest number in the table; null when there is none. */
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
  return [...catalog.sequences.values()].filter((sequence) => {
    if (configuration.ignore.some((pattern) => matchesPattern(pattern, sequence.name))) return false;
    if (sequence.table === null) return true;
    const declared = configuration.tables[declaredName(catalog, sequence.table)];
    return declared?.class === 'system-of-record' || declared?.class === 'system-of-reference';
  });
}

/**
 * The number a sequence gives out next must leave `number` when divided by `stride` and lie beyond everything drawn
 * or stored so far. A sequence that is strided already only ever meets its own remainder, so the numbers that arrive from
 * the others do not push it on.
 */
export function strideSequence(
  sequence: Pick<SequenceInfo, 'increment' | 'startValue'>,
  use: SequenceUse,
  number: number,
  stride: number,
): SequenceTarget | null {
  const step = BigInt(stride);
  const upcoming = use.called ? use.lastValue + sequence.increment : use.lastValue;
  const isOwn = (value: bigint) => modulo(value - BigInt(number), step) === 0n;
  const strided = sequence.increment === step && isOwn(upcoming);
  const beyond = strided ? use.largestOwn : use.largest;
  if (strided && isOwn(sequence.startValue) && (beyond === null || beyond < upcoming)) return null;
  const from = use.called ? use.lastValue + 1n : use.lastValue;
  return {
    increment: step,
    start: nextNumber(sequence.startValue, null, number, stride),
    next: nextNumber(from, beyond, number, stride),
  };
}

/** The first number from `from` on, and beyond `beyond`, that leaves this data center's remainder. */
export function nextNumber(from: bigint, beyond: bigint | null, number: number, stride: number): bigint {
  const atLeast = beyond !== null && beyond >= from ? beyond + 1n : from;
  return atLeast + modulo(BigInt(number) - atLeast, BigInt(stride));
}

export function strideSql(sequence: Pick<SequenceInfo, 'schema' | 'relation'>, target: SequenceTarget): string {
  const name = quoteTable(sequence);
  return `ALTER SEQUENCE ${name} INCREMENT BY ${target.increment} START WITH ${target.start};
SELECT setval(${quoteText(name)}::regclass, ${target.next}, false)`;
}

function modulo(value: bigint, divisor: bigint): bigint {
  return ((value % divisor) + divisor) % divisor;
}
