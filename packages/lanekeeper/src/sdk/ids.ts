/**
 * Prefixed sortable ids, `ny_acc_01J8ZQ4V7N3M5X9K2B6D0F1G4H`: the data center where the row was born, what it is, and a ULID
 * (48 bits of time, 80 random bits, Crockford's base32). Two data centers can never draw the same one, a person sees what it
 * names and where it came from, and a B-tree grows at its right edge. Where a row was born says nothing about where its
 * account is homed now.
 */
import type { DataCenterName } from '../model/index.ts';

const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const maxTimeMs = 2 ** 48 - 1;
const maxRandom = (1n << 80n) - 1n;

/** The last id that was drawn: the next one is larger, also within one millisecond and when the clock is set back. */
export type IdState = { readonly timeMs: number; readonly random: bigint };

export const noIds: IdState = { timeMs: -1, random: 0n };

/** The state of the next id. `randomBytes` are 10 fresh random bytes; they count only when time has moved on. */
export function nextId(state: IdState, nowMs: number, randomBytes: Uint8Array): IdState {
  const timeMs = Math.floor(nowMs);
  if (!(timeMs >= 0 && timeMs <= maxTimeMs)) throw new RangeError(`The time ${nowMs} does not fit 48 bits.`);
  if (timeMs > state.timeMs) return { timeMs, random: randomOf(randomBytes) };
  if (state.random < maxRandom) return { timeMs: state.timeMs, random: state.random + 1n };
  return { timeMs: state.timeMs + 1, random: randomOf(randomBytes) };
}

function randomOf(bytes: Uint8Array): bigint {
  if (bytes.length !== 10) throw new RangeError('An id takes 10 random bytes.');
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** What an id is of: `acc`, `order`, `line2`. */
export const idKindPattern = /^[a-z][a-z0-9]{0,15}$/;

export function formatId(dataCenter: DataCenterName, kind: string, state: IdState): string {
  if (!idKindPattern.test(kind))
    throw new TypeError(
      `\`${kind}\` cannot be the kind of an id: a lower-case letter, then lower-case letters and digits, at most 16.`,
    );
  return `${dataCenter}_${kind}_${base32(BigInt(state.timeMs), 10)}${base32(state.random, 16)}`;
}

function base32(value: bigint, length: number): string {
  let text = '';
  let rest = value;
  for (let i = 0; i < length; i++) {
    text = digits[Number(rest & 31n)]! + text;
    rest >>= 5n;
  }
  return text;
}

export type ParsedId = { readonly dataCenter: DataCenterName; readonly kind: string; readonly timeMs: number };

/** What an id says about itself, or null when it is none of ours. */
export function parseId(id: string): ParsedId | null {
  const match = /^([a-z][a-z0-9]{0,14})_([a-z][a-z0-9]{0,15})_([0-7][0-9A-HJKMNP-TV-Z]{25})$/.exec(id);
  if (match === null) return null;
  const [, dataCenter, kind, ulid] = match as unknown as [string, string, string, string];
  let timeMs = 0;
  for (const digit of ulid.slice(0, 10)) timeMs = timeMs * 32 + digits.indexOf(digit);
  return { dataCenter, kind, timeMs };
}

/** Draws ids one after another, in rising order within this process. */
export function createIds(
  dataCenter: DataCenterName,
  { nowMs, randomBytes }: { readonly nowMs: () => number; readonly randomBytes: (length: number) => Uint8Array },
): (kind: string) => string {
  let state = noIds;
  return (kind) => {
    state = nextId(state, nowMs(), randomBytes(10));
    return formatId(dataCenter, kind, state);
  };
}
