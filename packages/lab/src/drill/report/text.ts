/** A drill's report for a terminal. Pure. */
import { type Invariant, invariants, type Verdict } from '../checker/index.ts';
import { faultLine, sparkline } from './chart.ts';
import type { DrillReport, Recovery } from './result.ts';

type Colors = {
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  red(text: string): string;
};

/** The one line that says how it went. */
export function renderLine(report: DrillReport, colors: Colors): string {
  const sign = report.passed ? colors.green('✓') : colors.red('✗');
  const { acknowledged, lost, duplicated, unknown, stranded } = report.tally;
  const worst = longest(report.recoveries);
  const back = worst === null ? 'nobody waited' : `back after ${seconds(worst)}`;
  return `${sign} ${report.name.padEnd(26)} ${back.padEnd(20)} ${colors.dim(
    `${acknowledged} acknowledged, ${lost} lost, ${duplicated} duplicated, ${unknown} unknown, ${stranded} stranded, ${seconds(report.tookMs)}`,
  )}`;
}

export function renderReport(report: DrillReport, colors: Colors): string {
  const lines = [
    colors.bold(`${report.name} in ${report.at}`),
    `  ${report.description}`,
    `  ${colors.dim(`expected: ${report.expectation}`)}`,
    '',
    `  ${sparkline(report.buckets)}`,
    `  ${colors.dim(faultLine(report))}`,
    '',
    ...report.timeline.map(({ atMs, text }) => `  ${colors.dim(seconds(atMs).padStart(8))}  ${text}`),
    '',
    ...report.recoveries.map((recovery, index) => `  ${describeRecovery(recovery, index, report.recoveries.length)}`),
    `  ${describeTally(report)}`,
    ...(report.answers.length === 0
      ? []
      : [
          `  ${colors.dim(
            `other answers: ${report.answers
              .slice(0, 6)
              .map(([name, count]) => `${count} × ${name}`)
              .join(', ')}`,
          )}`,
        ]),
    '',
    ...Object.entries(report.verdicts).map(([name, verdict]) => verdictLine(name as Invariant, verdict, colors)),
    ...report.failures.map((failure) => `  ${colors.red('✗')} ${failure}`),
    '',
    report.passed
      ? `  ${colors.green('passed')}`
      : `  ${colors.red('FAILED')}; once more with: lanekeeper drill ${report.name} --seed ${report.seed}`,
  ];
  return lines.join('\n');
}

export function describeRecovery(recovery: Recovery, index = 0, of = 1): string {
  const which = of > 1 ? `round ${index + 1}: ` : '';
  if (recovery.lastClientMs === null) return `${which}none of ${recovery.customers} customers had to wait noticeably`;
  const { detectMs, leaseWaitMs, promoteMs, firstWriteMs } = recovery;
  const parts = [
    detectMs === null ? null : `detect ${seconds(detectMs)}`,
    leaseWaitMs === null ? null : `lease wait ${seconds(leaseWaitMs)}`,
    promoteMs === null ? null : `promote ${seconds(promoteMs)}`,
    firstWriteMs === null ? null : `first write after ${seconds(firstWriteMs)}`,
    `last client after ${seconds(recovery.lastClientMs)}`,
  ].filter((part) => part !== null);
  return `${which}${recovery.noticed} of ${recovery.customers} customers waited: ${parts.join(', ')}`;
}

export function describeTally({ tally }: Pick<DrillReport, 'tally'>): string {
  const remote =
    tally.acknowledgedRemote > 0
      ? ` (${tally.acknowledgedRemote} as stored remotely, ${tally.lostRemote} of them lost)`
      : '';
  return `${tally.acknowledged} acknowledged${remote}, ${tally.lost} lost, ${tally.duplicated} duplicated, ${tally.refused} refused, ${tally.unknown} unknown, ${tally.stranded} stranded`;
}

const shownViolations = 8;

function verdictLine(name: Invariant, verdict: Verdict, colors: Colors): string {
  const title = `${name} ${invariants[name]}`;
  if (verdict.kind === 'holds') return `  ${colors.green('✓')} ${title} ${colors.dim(`(${verdict.looked})`)}`;
  if (verdict.kind === 'not checked') return `  ${colors.dim(`· ${title}: not checked, ${verdict.why}`)}`;
  const shown = verdict.violations.slice(0, shownViolations).map((one) => `      ${one}`);
  const more = verdict.violations.length - shown.length;
  return [`  ${colors.red('✗')} ${title}`, ...shown, ...(more > 0 ? [`      … and ${more} more`] : [])].join('\n');
}

export function longest(recoveries: readonly Recovery[]): number | null {
  const all = recoveries.flatMap(({ lastClientMs }) => (lastClientMs === null ? [] : [lastClientMs]));
  return all.length === 0 ? null : Math.max(...all);
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}
