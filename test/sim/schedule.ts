/** What happens in one run: faults with a beginning and an end, and what people ask for. Made from a seed, printed, replayed. */
import { type Random, seeded } from './timeline.ts';

export type Fault = {
  readonly kind: string;
  readonly dc: string;
  readonly atMs: number;
  readonly untilMs: number;
  /** What the kind needs besides; 0 where it needs nothing. */
  readonly value: number;
  /** Only what is between `dc` and that one; absent: all of them. */
  readonly peer?: string;
};

export type Operation =
  | { readonly kind: 'move'; readonly atMs: number; readonly account: string; readonly to: string }
  /** `to`: where there are several others. A return goes to where the accounts came from. */
  | { readonly kind: 'switch' | 'return'; readonly atMs: number; readonly from: string; readonly to?: string }
  | { readonly kind: 'failover'; readonly atMs: number; readonly from: string; readonly to?: string };

export type Schedule = {
  readonly seed: number;
  readonly dataCenters: readonly string[];
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

/** And those that only a third data center makes possible. */
const moreKinds: typeof kinds = [
  ['link slow', 4, 6000],
  ['relay slot lost', 2, 1],
];

const bagOf = (some: typeof kinds) => some.flatMap((kind) => Array.from({ length: kind[1] }, () => kind));
const bags = [bagOf(kinds), bagOf([...kinds, ...moreKinds])] as const;
const allNames = ['ny', 'la', 'fra'] as const;

/** How many data centers a seed is about, unless it is said. */
const countOf = (seed: number) => (seeded(seed * 29 + 11).chance(0.6) ? 3 : 2);

export function scheduleOf(seed: number, count = countOf(seed)): Schedule {
  const dataCenters = allNames.slice(0, count);
  const schedule = drawn(seed, dataCenters);
  if (count === 2) return schedule;
  const random = seeded(seed * 23 + 3);
  const { faults, operations } = schedule;
  return {
    ...schedule,
    // Links fail one by one as often as all of them.
    faults: faults.map((fault) => (aboutLinks.has(fault.kind) && random.chance(0.6) ? withPeer(fault, random) : fault)),
    operations: operations.map((operation) => {
      if (operation.kind === 'move') return operation;
      return { ...operation, to: random.pick(dataCenters.filter((name) => name !== operation.from)) };
    }),
  };

  function withPeer(fault: Fault, chance: Random): Fault {
    return fault.peer === undefined
      ? { ...fault, peer: chance.pick(dataCenters.filter((name) => name !== fault.dc)) }
      : fault;
  }
}

const aboutLinks = new Set([
  'links cut',
  'link cut one way',
  'link flaps',
  'apply blocked',
  'link slow',
  'relay slot lost',
]);

function drawn(seed: number, dataCenters: readonly string[]): Schedule {
  const random = seeded(seed * 17 + 1);
  const several = dataCenters.length > 2;
  if (random.chance(0.12)) return movesOnly(seed, random, dataCenters);
  const bag = bags[several ? 1 : 0];
  const faults: Fault[] = [];
  const count = random.between(3, 8);
  const victim = random.pick(dataCenters);
  while (faults.length < count) {
    const [kind, , longestMs] = random.pick(bag);
    // Misfortunes come together more often than evenly spread.
    const near = faults.length > 0 && random.chance(0.5) ? (faults.at(-1) as Fault).atMs : null;
    const atMs = near === null ? random.between(faultsFromMs, faultsUntilMs - 1000) : near + random.between(-800, 1500);
    const untilMs = Math.min(faultsUntilMs + 1000, atMs + random.between(Math.min(longestMs, 300), longestMs));
    const dc = random.chance(0.65) ? victim : random.pick(dataCenters);
    faults.push({ kind, dc, atMs, untilMs, value: valueFor(kind, random) });
  }
  const operations: Operation[] = [];
  if (random.chance(0.3)) disaster(random, victim, faults, operations, dataCenters);
  if (several && random.chance(0.35)) oneAfterTheOther(random, dataCenters, faults, operations);
  for (let atMs = 2500; atMs < faultsUntilMs; atMs += random.between(150, 900)) {
    const from = random.pick(dataCenters);
    const roll = random.next();
    if (roll < 0.06) operations.push({ kind: 'switch', atMs, from });
    else if (roll < 0.11) operations.push({ kind: 'return', atMs, from });
    else if (roll < 0.13) operations.push({ kind: 'failover', atMs, from });
    else operations.push({ kind: 'move', atMs, account: `a${random.between(1, 4)}`, to: from });
  }
  faults.sort((a, b) => a.atMs - b.atMs);
  return { seed, dataCenters, manual: random.chance(0.1), faults, operations };
}

/** A data center is lost shortly after it could no longer be heard: what it wrote meanwhile is stranded. */
function disaster(
  random: Random,
  dc: string,
  faults: Fault[],
  operations: Operation[],
  dataCenters: readonly string[],
): void {
  const atMs = random.between(faultsFromMs, 9000);
  const lostMs = atMs + random.between(50, 1500);
  const untilMs = lostMs + random.between(6000, 9000);
  const silence = random.pick(['links cut', 'apply blocked', 'link cut one way']);
  const others = dataCenters.filter((name) => name !== dc);
  const heard = silence === 'apply blocked' ? (others.length > 1 ? random.pick(others) : (others[0] as string)) : dc;
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

/**
 * One is lost while what it wrote last has reached only one of the others, and then another one, before or after the third has
 * what it lacks. They come back in any order.
 */
function oneAfterTheOther(
  random: Random,
  dataCenters: readonly string[],
  faults: Fault[],
  operations: Operation[],
): void {
  const [first, second, third] = random.chance(0.5)
    ? (dataCenters.toSorted(() => random.next() - 0.5) as [string, string, string])
    : ([...dataCenters].reverse() as [string, string, string]);
  const atMs = random.between(faultsFromMs, 7500);
  const lost = () =>
    random.pick(['data center lost', 'data center lost', 'data center stopped', 'cut off from the store']);
  const lostMs = atMs + random.between(50, 2500);
  const behind = random.pick(['links cut', 'apply blocked', 'link slow']);
  const unequal = {
    kind: behind,
    atMs,
    untilMs: random.between(lostMs, lostMs + 6000),
    value: behind === 'link slow' ? 700 : 0,
  };
  if (behind === 'apply blocked') faults.push({ ...unequal, dc: third, peer: first });
  else faults.push({ ...unequal, dc: first, peer: third });
  faults.push({ kind: lost(), dc: first, atMs: lostMs, untilMs: lostMs + random.between(5000, 11_000), value: 0 });
  if (random.chance(0.75)) {
    const nextMs = lostMs + random.between(500, 7500);
    faults.push({ kind: lost(), dc: second, atMs: nextMs, untilMs: nextMs + random.between(3000, 9000), value: 0 });
    if (random.chance(0.4))
      operations.push({ kind: 'failover', atMs: nextMs + random.between(500, 6000), from: second, to: third });
  }
  if (random.chance(0.4))
    faults.push({
      kind: 'agent killed at a step',
      dc: random.pick([second, third]),
      atMs: lostMs + random.between(0, 6000),
      untilMs: 0,
      value: valueFor('agent killed at a step', random),
    });
  if (random.chance(0.3))
    operations.push({ kind: 'failover', atMs: lostMs + random.between(500, 6000), from: first, to: second });
}

/** Moves under smaller faults, and rows that get lost without a word: what has no remedy but that the account stays. */
function movesOnly(seed: number, random: Random, dataCenters: readonly string[]): Schedule {
  const small = [
    'agent killed at a step',
    'agent left',
    'answers lost',
    'request stuck',
    'instance died',
    'links cut',
    'rows swallowed',
    ...(dataCenters.length > 2 ? ['link slow', 'link slow', 'apply blocked', 'cut off from the store'] : []),
  ];
  const faults = Array.from({ length: random.between(3, 7) }, () => {
    const kind = random.pick(small);
    const atMs = random.between(faultsFromMs, faultsUntilMs - 4000);
    const value = kind === 'rows swallowed' ? random.between(0, 3) : valueFor(kind, random);
    return { kind, dc: random.pick(dataCenters), atMs, untilMs: atMs + random.between(500, 4000), value };
  });
  const operations: Operation[] = [];
  for (let atMs = 2500; atMs < faultsUntilMs; atMs += random.between(50, 300))
    operations.push({ kind: 'move', atMs, account: `a${random.between(1, 4)}`, to: random.pick(dataCenters) });
  return { seed, dataCenters, manual: true, faults: faults.sort((a, b) => a.atMs - b.atMs), operations };
}

function valueFor(kind: string, random: Random): number {
  if (kind === 'agent killed at a step') return random.between(0, 25) * 2 + random.between(0, 1);
  if (kind === 'clock jumps') return random.pick([-3_600_000, -3000, -600, 600, 3000, 3_600_000]);
  if (kind === 'clock drifts') return random.pick([-0.06, -0.02, 0.02, 0.06]);
  if (kind === 'store ends leases early') return random.between(500, 4000);
  if (kind === 'store prolongs leases') return random.between(500, 2500);
  if (kind === 'link slow') return random.pick([200, 500, 1200]);
  if (kind === 'commit stalls') return random.between(200, 9000);
  return 0;
}

export function describe({ seed, dataCenters, manual, faults, operations }: Schedule): string {
  const lines = faults.map(({ kind, dc, atMs, untilMs, value, peer }) => {
    const extra = value === 0 ? '' : ` (${value})`;
    return `  ${String(atMs).padStart(6)} to ${String(untilMs).padStart(6)} ms  ${dc}${peer === undefined ? '' : `, ${peer}`}  ${kind}${extra}`;
  });
  const asked = operations
    .filter(({ kind }) => kind !== 'move')
    .map(
      (one) =>
        `${one.kind} ${'from' in one ? one.from : ''}${'to' in one && one.kind !== 'return' ? ` to ${one.to}` : ''} at ${one.atMs}`,
    );
  const moves = operations.length - asked.length;
  return [
    `seed ${seed}, ${dataCenters.length} data centers${manual ? ', failover and rejoin by hand' : ''}: ${faults.length} faults, ${operations.length} requests`,
    ...lines,
    `  asked for: ${asked.join(', ') || 'no succession'}; moves: ${moves}`,
  ].join('\n');
}
