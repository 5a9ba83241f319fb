/** What happens in one run, step by step. Made from a seed, printed, made smaller. */
import { type Random, seeded } from '../timeline.ts';
import type { Operation } from './data-center.ts';
import type { MergePolicy, Shape } from './rules.ts';

export type Step =
  | {
      readonly do: 'write';
      readonly dc: number;
      readonly operation: Operation;
      readonly key: number;
      readonly application: number;
    }
  /** A transaction that has written and goes on: what arrives for the row meanwhile has to wait. */
  | {
      readonly do: 'begin';
      readonly dc: number;
      readonly operation: Operation;
      readonly key: number;
      readonly application: number;
    }
  | { readonly do: 'end'; readonly dc: number; readonly key: number; readonly commits: boolean }
  | { readonly do: 'deliver'; readonly from: number; readonly to: number; readonly count: number }
  | { readonly do: 'cut' | 'heal'; readonly from: number; readonly to: number }
  /** The agent goes through what waits. */
  | { readonly do: 'finish'; readonly dc: number }
  | { readonly do: 'purge'; readonly dc: number; readonly key: number }
  /** This data center gets the next configuration. */
  | { readonly do: 'roll'; readonly dc: number }
  | { readonly do: 'clock'; readonly dc: number; readonly byMs: number };

export type Schedule = {
  readonly seed: number;
  readonly policy: MergePolicy;
  readonly dcs: number;
  /** The configurations, one after another. */
  readonly shapes: readonly Shape[];
  readonly steps: readonly Step[];
};

export type ScheduleOptions = {
  readonly policy?: MergePolicy;
  readonly dcs?: number;
  readonly steps?: number;
  /** What a real server is not asked for: clocks that jump. */
  readonly clocks?: boolean;
};

const convergent = ['timestamp-weight', 'locality-weight', 'application-weight'] as const;
const operations: readonly Operation[] = [
  'insert',
  'update',
  'update',
  'update',
  'delete',
  'upsert',
  'upsert',
  'upsert',
];
export const applications = [0, 1, 2] as const;
export const keys = [1, 2, 3] as const;

export function scheduleOf(seed: number, options: ScheduleOptions = {}): Schedule {
  const random = seeded(seed * 31 + 7);
  const policy = options.policy ?? random.pick(convergent);
  const dcs = options.dcs ?? random.between(2, 3);
  const numbers = Array.from({ length: dcs }, (_, index) => index + 1);
  // A quiet schedule has room for purges, a busy one for conflicts.
  const busy = random.next();
  const count = options.steps ?? random.between(15, 90);
  const hot = random.chance(0.5) ? [1] : keys;
  const steps: Step[] = [];
  while (steps.length < count) {
    if (random.chance(0.04)) steps.push(...oblivion(random, numbers, random.pick(hot)));
    else steps.push(stepOf(random, numbers, hot, busy, options.clocks ?? true));
  }
  return { seed, policy, dcs, shapes: shapesOf(random, numbers), steps };
}

function stepOf(random: Random, dcs: readonly number[], hot: readonly number[], busy: number, clocks: boolean): Step {
  const dc = random.pick(dcs);
  const other = random.pick(dcs.filter((one) => one !== dc));
  const key = random.pick(hot);
  const application = random.pick(applications);
  const roll = random.next();
  if (roll < 0.2 + 0.25 * busy) return { do: 'write', dc, operation: random.pick(operations), key, application };
  if (roll < 0.26 + 0.25 * busy) return { do: 'begin', dc, operation: random.pick(operations), key, application };
  if (roll < 0.32 + 0.25 * busy) return { do: 'end', dc, key, commits: random.chance(0.8) };
  if (roll < 0.35 + 0.25 * busy) return { do: 'finish', dc };
  if (roll < 0.42 + 0.2 * busy) return { do: 'purge', dc, key };
  if (roll < 0.45 + 0.2 * busy) return { do: 'roll', dc };
  if (roll < 0.47 + 0.2 * busy && clocks) return { do: 'clock', dc, byMs: random.between(-40, 40) };
  if (roll < 0.5 + 0.2 * busy) return { do: 'cut', from: dc, to: other };
  if (roll < 0.54 + 0.2 * busy) return { do: 'heal', from: dc, to: other };
  return { do: 'deliver', from: dc, to: other, count: random.pick([1, 1, 2, 10]) };
}

/** A row is deleted, everybody knows it, some forget it, and some of them write it again: chance alone seldom gets so far. */
function oblivion(random: Random, dcs: readonly number[], key: number): Step[] {
  const application = random.pick(applications);
  const all = dcs.flatMap((from) => dcs.filter((to) => to !== from).map((to) => ({ from, to })));
  const forgetful = dcs.filter(() => random.chance(0.6));
  return [
    ...all.map((pair): Step => ({ do: 'heal', ...pair })),
    { do: 'write', dc: random.pick(dcs), operation: 'upsert', key, application },
    ...all.map((pair): Step => ({ do: 'deliver', ...pair, count: 99 })),
    { do: 'write', dc: random.pick(dcs), operation: 'delete', key, application },
    ...all.map((pair): Step => ({ do: 'deliver', ...pair, count: 99 })),
    ...dcs.map((dc): Step => ({ do: 'finish', dc })),
    ...forgetful.map((dc): Step => ({ do: 'purge', dc, key })),
    ...(random.chance(0.5)
      ? [{ do: 'write', dc: random.pick(dcs), operation: 'upsert', key, application } as const]
      : []),
  ];
}

/** Other weights each time; sometimes a data center that is not there yet, whose counter makes the stamps longer. */
function shapesOf(random: Random, numbers: readonly number[]): readonly Shape[] {
  return [1, 2, 3].map((turn) => ({
    dcs: shuffled(random, turn > 1 && random.chance(0.4) ? [...numbers, numbers.length + 1] : numbers),
    // Those that nobody has weighed come last.
    applications: [
      ...shuffled(
        random,
        applications.filter((one) => one !== 0),
      ),
      0,
    ],
  }));
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const rest = [...items];
  const drawn: T[] = [];
  while (rest.length > 0) drawn.push(...rest.splice(random.between(0, rest.length - 1), 1));
  return drawn;
}

export function describe({ seed, policy, dcs, shapes, steps }: Schedule): string {
  const head = `seed ${seed}: ${policy}, ${dcs} data centers, ${steps.length} steps`;
  const eras = shapes.map(
    (shape, at) => `  configuration ${at}: dcs ${shape.dcs.join(' ')}, applications ${shape.applications.join(' ')}`,
  );
  return [head, ...eras, ...steps.map((step, at) => `  ${at}. ${said(step)}`)].join('\n');
}

function said(step: Step): string {
  switch (step.do) {
    case 'write':
      return `dc ${step.dc}: ${step.operation} ${step.key} by application ${step.application}`;
    case 'begin':
      return `dc ${step.dc}: begin, ${step.operation} ${step.key} by application ${step.application}`;
    case 'end':
      return `dc ${step.dc}: ${step.commits ? 'commit' : 'rollback'} of ${step.key}`;
    case 'deliver':
      return `${step.count} of what ${step.from} has sent to ${step.to}`;
    case 'cut':
    case 'heal':
      return `${step.do} ${step.from} → ${step.to}`;
    case 'finish':
      return `dc ${step.dc}: what waits is finished`;
    case 'purge':
      return `dc ${step.dc}: purge ${step.key}`;
    case 'roll':
      return `dc ${step.dc}: the next configuration`;
    case 'clock':
      return `dc ${step.dc}: its clock jumps by ${step.byMs} ms`;
  }
}
