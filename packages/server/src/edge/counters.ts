/** What the edge counts, and how Prometheus reads it. Plain numbers, because they rise with every request. */
import type { ErrorCode } from 'lanekeeper/model';

/** Upper bounds in seconds of the buckets of time until an answer was through. */
const bucketsSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;

type Histogram = { readonly counts: number[]; sumSeconds: number; count: number };

export type Counters = {
  /** Answers that were passed back, by who gave them. */
  readonly served: { readonly application: Histogram; readonly edge: Histogram };
  readonly refused: Map<ErrorCode, number>;
  redirected: number;
  /** Requests repeated elsewhere because the application said so. */
  replayed: number;
  /** `Lanekeeper-Replay` where it has no business: on an answer that is no refusal, or from another edge. */
  replaysIgnored: number;
  /** Requests sent elsewhere than their session says, because a succession moved its home. */
  rerouted: number;
  /** Times that a request waited for its home, or for the application here to hear of a succession. */
  held: number;
  retried: number;
  ejected: number;
  /** Answers that broke off after they had begun. */
  truncated: number;
  clientsGone: number;
  clientsTooSlow: number;
  parseErrors: number;
  sessionsRefused: number;
  edgeTokensRefused: number;
  tunnels: number;
};

export function newCounters(): Counters {
  return {
    served: { application: newHistogram(), edge: newHistogram() },
    refused: new Map(),
    redirected: 0,
    replayed: 0,
    replaysIgnored: 0,
    rerouted: 0,
    held: 0,
    retried: 0,
    ejected: 0,
    truncated: 0,
    clientsGone: 0,
    clientsTooSlow: 0,
    parseErrors: 0,
    sessionsRefused: 0,
    edgeTokensRefused: 0,
    tunnels: 0,
  };
}

function newHistogram(): Histogram {
  return { counts: bucketsSeconds.map(() => 0), sumSeconds: 0, count: 0 };
}

export function observe(histogram: Histogram, ms: number): void {
  const seconds = ms / 1_000;
  histogram.count += 1;
  histogram.sumSeconds += seconds;
  for (let i = 0; i < bucketsSeconds.length; i += 1) {
    if (seconds > (bucketsSeconds[i] as number)) continue;
    (histogram.counts[i] as number) += 1;
    return;
  }
}

export function countRefusal(counters: Counters, code: ErrorCode): void {
  counters.refused.set(code, (counters.refused.get(code) ?? 0) + 1);
}

export type Gauge = {
  readonly name: string;
  readonly help: string;
  readonly values: readonly (readonly [labels: string, value: number])[];
};

const help: Readonly<
  Record<keyof Omit<Counters, 'served' | 'refused' | 'tunnels'>, readonly [name: string, help: string]>
> = {
  redirected: ['redirects_total', 'Customers sent to another data center themselves (307).'],
  replayed: ['replays_total', 'Requests repeated in another data center because the application said so.'],
  replaysIgnored: [
    'replays_ignored_total',
    'Lanekeeper-Replay headers dropped because they came with an answer, or from an edge.',
  ],
  retried: ['retries_total', 'Requests sent to another instance after a failure.'],
  rerouted: ['rerouted_total', 'Requests sent elsewhere than their session says, because of a succession.'],
  held: ['holds_total', 'Times that a request waited for its home, or for news of a succession.'],
  ejected: ['ejections_total', 'Times an application instance was left out after failures.'],
  truncated: ['answers_truncated_total', 'Answers that broke off after they had begun.'],
  clientsGone: ['clients_gone_total', 'Clients that went away before their answer was through.'],
  clientsTooSlow: ['clients_too_slow_total', 'Clients cut off because they sent or read too slowly.'],
  parseErrors: ['parse_errors_total', 'Connections closed because what came was not HTTP.'],
  sessionsRefused: ['sessions_refused_total', 'Session cookies that did not verify.'],
  edgeTokensRefused: ['tokens_refused_total', 'Requests that claimed to come from an edge and could not prove it.'],
};

/** Prometheus text format, version 0.0.4. */
export function exposition(counters: Counters, gauges: readonly Gauge[]): string {
  const lines: string[] = [];
  const metric = (name: string, type: string, text: string): string => {
    const full = `lanekeeper_edge_${name}`;
    lines.push(`# HELP ${full} ${text}`, `# TYPE ${full} ${type}`);
    return full;
  };
  const served = metric('request_seconds', 'histogram', 'Time from a request until its answer was through.');
  for (const [by, histogram] of Object.entries(counters.served)) {
    let below = 0;
    bucketsSeconds.forEach((bound, i) => {
      below += histogram.counts[i] as number;
      lines.push(`${served}_bucket{by="${by}",le="${bound}"} ${below}`);
    });
    lines.push(`${served}_bucket{by="${by}",le="+Inf"} ${histogram.count}`);
    lines.push(`${served}_sum{by="${by}"} ${histogram.sumSeconds}`, `${served}_count{by="${by}"} ${histogram.count}`);
  }
  const refused = metric('refusals_total', 'counter', 'Requests the edge refused itself, by code.');
  for (const [code, count] of counters.refused) lines.push(`${refused}{code="${code}"} ${count}`);
  for (const [key, [name, text]] of Object.entries(help)) {
    lines.push(`${metric(name, 'counter', text)} ${counters[key as keyof typeof help]}`);
  }
  lines.push(`${metric('tunnels', 'gauge', 'WebSocket connections open.')} ${counters.tunnels}`);
  for (const gauge of gauges) {
    const name = metric(gauge.name, 'gauge', gauge.help);
    for (const [labels, value] of gauge.values) lines.push(`${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}
