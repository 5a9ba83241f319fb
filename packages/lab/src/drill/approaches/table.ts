/** From measurements to the table by which one chooses. Pure. */
import { approaches } from 'lanekeeper/model';
import type { ApproachResult, Way } from './measure.ts';
import { stated } from './stated.ts';

/** A line through (round trip, latency): so many round trips per request, and what is left without distance. */
export type Fit = { readonly perRoundTrip: number; readonly baseMs: number };

export type ApproachRow = {
  readonly approach: ApproachResult['approach'];
  readonly activeDatabases: number;
  readonly acknowledgedLost: number;
  readonly acknowledged: number;
  readonly stranded: number;
  readonly recoveryMs: number | null;
  /** Median of writes and reads by way, in the order of the round trips. */
  readonly latenciesMs: Readonly<
    Record<Way, { readonly writes: readonly number[]; readonly reads: readonly number[] }>
  >;
  readonly fits: Readonly<Record<Way, { readonly writes: Fit; readonly reads: Fit }>>;
  /**
   * The round trip at which a write of the customer who is worst off takes `budgetMs`; null when no distance of this machine's
   * brings it there.
   */
  readonly usefulRoundTripMs: number | null;
  readonly replication: 'one way' | 'both ways';
  readonly violated: readonly string[];
};

const ways = ['first', 'second', 'away'] as const satisfies readonly Way[];

export function median(sorted: readonly number[]): number {
  if (sorted.length === 0) return Number.NaN;
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** Least squares. With one distance nothing is known of the slope. */
export function fitLine(points: readonly (readonly [number, number])[]): Fit {
  const known = points.filter(([, y]) => Number.isFinite(y));
  const meanX = mean(known.map(([x]) => x));
  const meanY = mean(known.map(([, y]) => y));
  const spread = known.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const perRoundTrip =
    spread === 0 ? Number.NaN : known.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
  return { perRoundTrip, baseMs: meanY - (Number.isNaN(perRoundTrip) ? 0 : perRoundTrip * meanX) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function rowOf(result: ApproachResult, budgetMs: number): ApproachRow {
  const seriesOf = (way: Way, kind: 'writesMs' | 'readsMs') =>
    result.distances.map(({ ways: measured }) => median(measured[way][kind]));
  const fitOf = (series: readonly number[]) =>
    fitLine(series.map((ms, index) => [result.distances[index]?.roundTripMs ?? 0, ms] as const));
  const latenciesMs = perWay((way) => ({ writes: seriesOf(way, 'writesMs'), reads: seriesOf(way, 'readsMs') }));
  const fits = perWay((way) => ({ writes: fitOf(latenciesMs[way].writes), reads: fitOf(latenciesMs[way].reads) }));
  const limits = ways.flatMap((way) => usefulDistance(fits[way].writes, budgetMs) ?? []);
  return {
    approach: result.approach,
    activeDatabases: result.writers.length,
    acknowledgedLost: result.failure.lost,
    acknowledged: result.failure.acknowledged,
    stranded: result.failure.stranded,
    recoveryMs: result.failure.recoveryMs,
    latenciesMs,
    fits,
    usefulRoundTripMs: limits.length === 0 ? null : Math.min(...limits),
    replication: result.writers.length > 1 ? 'both ways' : 'one way',
    violated: result.failure.violated,
  };
}

function perWay<Value>(of: (way: Way) => Value): Record<Way, Value> {
  return { first: of('first'), second: of('second'), away: of('away') };
}

/** Less than this of a round trip per request is noise. */
const noRoundTrip = 0.25;

function usefulDistance({ perRoundTrip, baseMs }: Fit, budgetMs: number): number | null {
  if (!(perRoundTrip > noRoundTrip)) return null;
  return Math.max(0, (budgetMs - baseMs) / perRoundTrip);
}

export type TableOptions = {
  readonly budgetMs: number;
  readonly roundTripsMs: readonly number[];
};

/** [title, cells] for every line of the table. */
export function linesOf(
  rows: readonly ApproachRow[],
  { budgetMs, roundTripsMs }: TableOptions,
): readonly (readonly [string, readonly string[]])[] {
  const at = roundTripsMs.join(' / ');
  const cells = (of: (row: ApproachRow) => string) => rows.map(of);
  const latency = (way: Way, kind: 'writes' | 'reads') =>
    cells(({ latenciesMs }) => latenciesMs[way][kind].map(whole).join(' / '));
  return [
    ['homes, and what is routed', cells(({ approach }) => `${homesOf(approach)}, the ${approaches[approach].routing}`)],
    ['databases that customers write', cells(({ activeDatabases }) => String(activeDatabases))],
    ['replication in use', cells(({ replication }) => replication)],
    [
      'RPO: acknowledged writes lost when a data center is killed',
      cells(({ acknowledgedLost, acknowledged, stranded }) => {
        const kept = stranded === 0 ? '' : `, ${stranded} in the ledger`;
        return `${acknowledgedLost} of ${acknowledged}${kept}`;
      }),
    ],
    [
      'RTO: until the last customer writes again',
      cells(({ recoveryMs }) => (recoveryMs === null ? 'nobody waited' : `${(recoveryMs / 1000).toFixed(1)} s`)),
    ],
    [`write in the first data center, at ${at} ms round trip`, latency('first', 'writes')],
    ['write in the second data center', latency('second', 'writes')],
    ['write in the second, signed in at the first as well', latency('away', 'writes')],
    ['read in the second data center', latency('second', 'reads')],
    ['read in the second, signed in at the first as well', latency('away', 'reads')],
    [
      'round trips between data centers per write: first / second / away',
      cells(({ fits }) => ways.map((way) => trips(fits[way].writes)).join(' / ')),
    ],
    [
      'round trips per read: second / away',
      cells(({ fits }) => (['second', 'away'] as const).map((way) => trips(fits[way].reads)).join(' / ')),
    ],
    [
      `largest round trip at which every write is answered within ${budgetMs} ms`,
      cells(({ usefulRoundTripMs }) => (usefulRoundTripMs === null ? 'any' : `${Math.round(usefulRoundTripMs)} ms`)),
    ],
    ['changes to the application (stated)', cells(({ approach }) => stated[approach].changes)],
    ['competence needed (stated)', cells(({ approach }) => stated[approach].competence)],
  ];
}

function homesOf(approach: ApproachRow['approach']): string {
  return approaches[approach].homes === 'single' ? 'one home for all' : 'a home for each account';
}

function whole(ms: number): string {
  return Number.isFinite(ms) ? ms.toFixed(ms < 10 ? 1 : 0) : '–';
}

function trips({ perRoundTrip }: Fit): string {
  return Number.isFinite(perRoundTrip) ? Math.max(0, perRoundTrip).toFixed(1) : '–';
}

/** For a terminal: one block per approach, because five columns of words do not fit. */
export function renderApproaches(
  results: readonly ApproachResult[],
  options: TableOptions,
  colors: { bold(text: string): string; dim(text: string): string; red(text: string): string },
): string {
  const rows = results.map((result) => rowOf(result, options.budgetMs));
  const lines = linesOf(rows, options);
  const width = Math.max(...lines.map(([title]) => title.length));
  return rows
    .map((row, index) =>
      [
        colors.bold(row.approach),
        ...lines.map(([title, cells]) => `  ${colors.dim(title.padEnd(width))}  ${cells[index]}`),
        ...row.violated.map((what) => `  ${colors.red('✗')} ${what}`),
      ].join('\n'),
    )
    .join('\n\n');
}

export function renderApproachesMarkdown(results: readonly ApproachResult[], options: TableOptions): string {
  const rows = results.map((result) => rowOf(result, options.budgetMs));
  const lines = [
    ['', ...rows.map(({ approach }) => `\`${approach}\``)],
    ['---', ...rows.map(() => '---')],
    ...linesOf(rows, options).map(([title, cells]) => [title, ...cells]),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
