/** The pages under docs/reliability: one for each fault, written by the command and by nothing else. Pure. */
import { type Invariant, invariants } from '../checker/index.ts';
import type { DrillReport } from './result.ts';
import { describeRecovery, seconds } from './text.ts';

/** `runs`: all of the same fault, made one after the other by one call of the command. `chart`: the file of the chart. */
export function renderMarkdown(runs: readonly DrillReport[], chart: string): string {
  const [first] = runs;
  if (first === undefined) throw new Error('a page needs a run');
  const { environment } = first;
  const passed = runs.filter((run) => run.passed).length;
  const rounds = runs.reduce((sum, run) => sum + run.rounds.length, 0);
  const sum = (of: (run: DrillReport) => number): number => runs.reduce((total, run) => total + of(run), 0);
  const back = runs.flatMap((run) =>
    run.recoveries.flatMap(({ lastClientMs }) => (lastClientMs === null ? [] : [lastClientMs])),
  );
  const lines = [
    `# Drill: ${pageName(first)}`,
    '',
    `Written by \`lanekeeper drill ${first.name}${ofThree(first) ? ' --data-centers ny,la,fra' : ''} --report\`; not edited.`,
    '',
    `What is done: ${first.description}. Expected: ${first.expectation}.`,
    '',
    `**${passed} of ${runs.length} runs passed**, the fault was brought about ${rounds} ${rounds === 1 ? 'time' : 'times'}.`,
    '',
    `![Attempts of customers over time](${chart})`,
    '',
    'The chart is of the last run.',
    '',
    '| what | how many |',
    '| --- | --- |',
    `| writes acknowledged | ${sum(({ tally }) => tally.acknowledged)} |`,
    `| of them acknowledged as stored remotely | ${sum(({ tally }) => tally.acknowledgedRemote)} |`,
    `| acknowledged and lost | ${sum(({ tally }) => tally.lost)} |`,
    `| duplicated | ${sum(({ tally }) => tally.duplicated)} |`,
    `| refused | ${sum(({ tally }) => tally.refused)} |`,
    `| outcome unknown to the customer | ${sum(({ tally }) => tally.unknown)} |`,
    `| stranded, in the ledger | ${sum(({ tally }) => tally.stranded)} |`,
    '',
    '## Until customers wrote again',
    '',
    back.length === 0
      ? 'No customer had to wait noticeably (1.5 s) in any run.'
      : `From the fault until the last customer was served again: ${seconds(Math.min(...back))} to ${seconds(Math.max(...back))} ${back.length === 1 ? 'in the one time' : `in ${back.length} times`} anybody waited.`,
    '',
    '| seed | in | detect | lease wait | promote | first write | last client |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...runs.flatMap((run) =>
      run.recoveries.map(
        (recovery, index) =>
          `| ${run.seed} | ${run.rounds[index]?.at ?? ''} | ${cell(recovery.detectMs)} | ${cell(recovery.leaseWaitMs)} | ${cell(recovery.promoteMs)} | ${cell(recovery.firstWriteMs)} | ${cell(recovery.lastClientMs)} |`,
      ),
    ),
    '',
    'Detect: until another data center’s agent said that its peer does not answer. Lease wait: from then until the lease store',
    'had a new view. Promote: from then until the successor could write. The last two columns count from the fault.',
    '',
    '## Verdicts',
    '',
    '| invariant | held in | not checked in |',
    '| --- | --- | --- |',
    ...(Object.keys(invariants) as Invariant[]).map((name) => {
      const kinds = runs.map((run) => run.verdicts[name].kind);
      const count = (kind: string): number => kinds.filter((one) => one === kind).length;
      return `| ${name}: ${invariants[name]} | ${count('holds')} of ${runs.length} | ${count('not checked')} |`;
    }),
    '',
    ...failuresOf(runs),
    '## The last run',
    '',
    ...lastRun(runs.at(-1) as DrillReport),
    '',
    '## How it was run',
    '',
    `Commit ${environment.commit ?? 'unknown'}${environment.changed ? ' with changes on top' : ''}, Node ${environment.node}, PostgreSQL ${environment.postgres}, leases in ${environment.leases}, ${environment.roundTripMs} ms between`,
    `${environment.dataCenters === 2 ? 'two' : 'three'} data centers; links broken by ${environment.links === 'packets' ? 'the kernel, packet by packet' : 'the lab’s process, connection by connection'}. ${runs.length} ${runs.length === 1 ? 'run' : 'runs'}, seeds ${runs.map(({ seed }) => seed).join(', ')}, ${new Date(first.startedAtMs).toISOString().slice(0, 10)}.`,
    '',
  ];
  return lines.join('\n');
}

/** What was drilled in two data centers has a page of its own when it is drilled in three. */
export function pageName(report: DrillReport): string {
  return ofThree(report) ? `${report.name}-of-three` : report.name;
}

function ofThree({ environment, needsThree }: DrillReport): boolean {
  return environment.dataCenters > 2 && !needsThree;
}

/** The list of all pages in one folder: `text` is what is in each. Pure. */
export function renderIndex(pages: readonly { readonly file: string; readonly text: string }[]): string {
  const rows = pages.map(({ file, text }) => {
    const name = /^# Drill: (.+)$/m.exec(text)?.[1] ?? file;
    const passed = /^\*\*(\d+ of \d+) runs passed\*\*/m.exec(text)?.[1] ?? '';
    const back =
      /^From the fault until the last customer was served again: (.+?) in /m.exec(text)?.[1] ?? 'nobody waited';
    const commit = /^Commit ([0-9a-f]+)/m.exec(text)?.[1] ?? '';
    const count = (what: string): string => new RegExp(`^\\| ${what} \\| (\\d+) \\|$`, 'm').exec(text)?.[1] ?? '';
    return `| [${name}](${file}) | ${passed} | ${back} | ${count('writes acknowledged')} | ${count('acknowledged and lost')} | ${commit} |`;
  });
  return [
    '# Reliability',
    '',
    'What `lanekeeper drill` found, fault by fault: how often each was drilled, how long the last customer waited, and what',
    'became of what had been acknowledged. Written by `lanekeeper drill … --report`, as are the pages.',
    '',
    '| fault | passed | last customer served after | acknowledged | lost | commit |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

function failuresOf(runs: readonly DrillReport[]): readonly string[] {
  const failed = runs.filter((run) => !run.passed);
  if (failed.length === 0) return [];
  return [
    '## What failed',
    '',
    ...failed.flatMap((run) => [
      `Seed ${run.seed}:`,
      '',
      ...run.failures.map((failure) => `- ${failure}`),
      ...Object.entries(run.verdicts).flatMap(([name, verdict]) =>
        verdict.kind === 'violated' ? verdict.violations.slice(0, 8).map((one) => `- ${name}: ${one}`) : [],
      ),
      '',
    ]),
  ];
}

function lastRun(run: DrillReport): readonly string[] {
  return [
    '| at | what |',
    '| --- | --- |',
    ...run.timeline.map(({ atMs, text }) => `| ${seconds(atMs)} | ${text.replaceAll('|', '\\|')} |`),
    '',
    ...run.recoveries.map((recovery, index) => `- ${describeRecovery(recovery, index, run.recoveries.length)}`),
    ...run.answers.slice(0, 8).map(([name, count]) => `- ${count} × ${name}`),
  ];
}

function cell(ms: number | null): string {
  return ms === null ? '' : seconds(ms);
}
