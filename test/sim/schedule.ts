/** What happens in one run: faults with a beginning and an end, and what people ask for. Made from a seed, printed, replayed. */
import { type Random, seeded } from './timeline.ts';

export type Fault = {
  readonly kind: string;
  readonly dc: string;
  readonly atMs: number;
  readonly untilMs: number;
  /** What the kind needs besides; 0 where it needs nothing. */
  readonly value: number;
};

export type Operation =
  | { readonly kind: 'move'; readonly atMs: number; readonly account: string; readonly to: string }
  | { readonly kind: 'switch' | 'return'; readonly atMs: number; readonly from: string }
  | { readonly kind: 'failover'; readonly atMs: number; readonly from: string };

export type Schedule = {
  readonly seed: number;
  readonly manual: boolean;
  readonly faults: readonly Fault[];
  readonly operations: readonly Operation[];
};

export const faultsFromMs = 5_000;
export const faultsUntilMs = 17_000;

/** Kinds, how often each is drawn, and the longest it lasts. */
const kinds: readonly (readonly [string, number, number])[] = [
  ['agent killed', 3, 6000],
  ['agent killed at a step', 4, 1],
  ['agent stopped', 3, 8000],
  ['agent left', 2, 1],
  ['database crashed', 4, 6000],
  ['data center lost', 4, 9000],
  ['data center stopped', 3, 9000],
  ['database stopped', 2, 6000],
  ['links cut', 4, 7000],
  ['link cut one way', 3, 7000],
  ['link flaps', 1, 6000],
  ['cut off from the store', 4, 8000],
  ['store lost to all', 1, 6000],
  ['store stalls', 3, 3000],
  ['store ends leases early', 2, 1],
  ['store prolongs leases', 1, 1],
  ['answers lost', 3, 4000],
  ['clock jumps', 3, 1],
  ['clock drifts', 2, 9000],
  ['apply blocked', 4, 5000],
  ['commit stalls', 2, 1],
  ['request stuck', 1, 3000],
  ['instance died', 1, 5000],
];

const bag = kinds.flatMap((kind) => Array.from({ length: kind[1] }, () => kind));

export function scheduleOf(seed: number): Schedule {
  const random = seeded(seed * 17 + 1);
  if (random.chance(0.12)) return movesOnly(seed, random);
  const faults: Fault[] = [];
  const count = random.between(3, 8);
  const victim = random.pick(['ny', 'la']);
  while (faults.length < count) {
    const [kind, , longestMs] = random.pick(bag);
    // Misfortunes come together more often than evenly spread.
    const near = faults.length > 0 && random.chance(0.5) ? (faults.at(-1) as Fault).atMs : null;
    const atMs = near === null ? random.between(faultsFromMs, faultsUntilMs - 1000) : near + random.between(-800, 1500);
    const untilMs = Math.min(faultsUntilMs + 1000, atMs + random.between(Math.min(longestMs, 300), longestMs));
    const dc = random.chance(0.65) ? victim : random.pick(['ny', 'la']);
    faults.push({ kind, dc, atMs, untilMs, value: valueFor(kind, random) });
  }
  const operations: Operation[] = [];
  if (random.chance(0.3)) disaster(random, victim, faults, operations);
  for (let atMs = 2500; atMs < faultsUntilMs; atMs += random.between(150, 900)) {
    const from = random.pick(['ny', 'la']);
    const roll = random.next();
    if (roll < 0.06) operations.push({ kind: 'switch', atMs, from });
    else if (roll < 0.11) operations.push({ kind: 'return', atMs, from });
    else if (roll < 0.13) operations.push({ kind: 'failover', atMs, from });
    else operations.push({ kind: 'move', atMs, account: `a${random.between(1, 4)}`, to: from });
  }
  faults.sort((a, b) => a.atMs - b.atMs);
  return { seed, manual: random.chance(0.1), faults, operations };
}

/** A data center is lost shortly after it could no longer be heard: what it wrote meanwhile is stranded. */
function disaster(random: Random, dc: string, faults: Fault[], operations: Operation[]): void {
  const atMs = random.between(faultsFromMs, 9000);
  const lostMs = atMs + random.between(50, 1500);
  const untilMs = lostMs + random.between(6000, 9000);
  const silence = random.pick(['links cut', 'apply blocked', 'link cut one way']);
  const heard = silence === 'apply blocked' ? (dc === 'ny' ? 'la' : 'ny') : dc;
  faults.push({ kind: silence, dc: heard, atMs, untilMs: random.between(lostMs + 1, untilMs), value: 0 });
  const loss = random.pick([
    'data center lost',
    'data center lost',
    'data center stopped',
    'cut off from the store',
    'agent killed',
  ]);
  faults.push({ kind: loss, dc, atMs: lostMs, untilMs, value: 0 });
  if (random.chance(0.25))
    faults.push({ kind: 'commit stalls', dc, atMs: lostMs - 100, untilMs, value: random.between(3000, 14_000) });
  if (random.chance(0.5)) operations.push({ kind: 'failover', atMs: untilMs - random.between(200, 2000), from: dc });
}

/** Moves under smaller faults, and rows that get lost without a word: what has no remedy but that the account stays. */
function movesOnly(seed: number, random: Random): Schedule {
  const small = [
    'agent killed at a step',
    'agent left',
    'answers lost',
    'request stuck',
    'instance died',
    'links cut',
    'rows swallowed',
  ];
  const faults = Array.from({ length: random.between(3, 7) }, () => {
    const kind = random.pick(small);
    const atMs = random.between(faultsFromMs, faultsUntilMs - 4000);
    const value = kind === 'rows swallowed' ? random.between(0, 3) : valueFor(kind, random);
    return { kind, dc: random.pick(['ny', 'la']), atMs, untilMs: atMs + random.between(500, 4000), value };
  });
  const operations: Operation[] = [];
  for (let atMs = 2500; atMs < faultsUntilMs; atMs += random.between(50, 300))
    operations.push({ kind: 'move', atMs, account: `a${random.between(1, 4)}`, to: random.pick(['ny', 'la']) });
  return { seed, manual: true, faults: faults.sort((a, b) => a.atMs - b.atMs), operations };
}

function valueFor(kind: string, random: Random): number {
  if (kind === 'agent killed at a step') return random.between(0, 25) * 2 + random.between(0, 1);
  if (kind === 'clock jumps') return random.pick([-3_600_000, -3000, -600, 600, 3000, 3_600_000]);
  if (kind === 'clock drifts') return random.pick([-0.06, -0.02, 0.02, 0.06]);
  if (kind === 'store ends leases early') return random.between(500, 4000);
  if (kind === 'store prolongs leases') return random.between(500, 2500);
  if (kind === 'commit stalls') return random.between(200, 9000);
  return 0;
}

export function describe({ seed, manual, faults, operations }: Schedule): string {
  const lines = faults.map(({ kind, dc, atMs, untilMs, value }) => {
    const extra = value === 0 ? '' : ` (${value})`;
    return `  ${String(atMs).padStart(6)} to ${String(untilMs).padStart(6)} ms  ${dc}  ${kind}${extra}`;
  });
  const asked = operations
    .filter(({ kind }) => kind !== 'move')
    .map((one) => `${one.kind} ${'from' in one ? one.from : ''} at ${one.atMs}`);
  const moves = operations.length - asked.length;
  return [
    `seed ${seed}${manual ? ', failover and rejoin by hand' : ''}: ${faults.length} faults, ${operations.length} requests`,
    ...lines,
    `  asked for: ${asked.join(', ') || 'no succession'}; moves: ${moves}`,
  ].join('\n');
}
