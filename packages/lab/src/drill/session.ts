/**
 * Several drills one after the other: which can be run here, in which lab, and what came out. A lab is used again until a
 * drill failed in it or used it up.
 */
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LabDescription } from '../lab/description.ts';
import { type Assertion, ask } from './checker/index.ts';
import { DrillAborted, type DrillRun, runDrill } from './drill.ts';
import { type Fault, superusers } from './faults/index.ts';
import type { Means } from './means.ts';
import { type LabKind, type OwnLab, startOwnLab } from './own-lab.ts';
import {
  answersOf,
  type BrokenDrill,
  bucketsOf,
  type DrillReport,
  type Environment,
  lateness,
  type Moments,
  recoveryOf,
  type SkippedDrill,
} from './report/index.ts';

export type SessionOptions = {
  readonly faults: readonly Fault[];
  readonly runs: number;
  readonly seed: number;
  readonly durationMs: number | null;
  /** A lab that runs already; null: one is started for the drills. */
  readonly against: LabDescription | null;
  readonly roundTripMs: number;
  /** Of their own lab; faults that need three have three in any case. */
  readonly dataCenters: readonly string[];
  /** What their own lab keeps leases in. */
  readonly leases: 'postgres' | 'etcd';
  readonly buyers: number;
  readonly keepers: number;
  readonly assertion: Assertion | null;
  readonly means: Means;
  readonly aborted: () => boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly onNote: (name: string, atMs: number, text: string) => void;
  readonly onReport: (report: DrillReport | BrokenDrill | SkippedDrill) => void | Promise<void>;
};

/** How often attempts are counted in the chart. */
const bucketMs = 500;

export async function runSession(
  options: SessionOptions,
): Promise<{ readonly passed: number; readonly failed: number; readonly skipped: number }> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  let own: OwnLab | null = null;
  let ownKind = '';
  const close = async (): Promise<void> => {
    const stopping = own;
    own = null;
    await stopping?.stop();
  };
  try {
    for (let run = 0; run < options.runs; run += 1) {
      for (const [index, fault] of options.faults.entries()) {
        if (options.aborted()) throw new DrillAborted('The drills were broken off');
        const lacking = options.means.lacking(fault, options.against);
        if (lacking !== null) {
          counts.skipped += 1;
          await options.onReport({ name: fault.name, skipped: lacking });
          continue;
        }
        const kind = kindFor(fault, options.leases);
        const dataCenters = fault.needs?.third ? withThird(options.dataCenters) : options.dataCenters;
        const wanted = [kind, ...dataCenters].join(' ');
        if (own !== null && wanted !== ownKind) await close();
        ownKind = wanted;
        own ??=
          options.against === null
            ? await startOwnLab({ ...options, dataCenters, kind, clocks: options.means.clocks })
            : null;
        const lab = options.against ?? own?.description;
        if (lab === undefined) throw new Error('there is no lab');
        const seed = (options.seed + run * options.faults.length + index) >>> 0;
        const report = await reportOf(fault, lab, seed, options).catch((error: unknown): BrokenDrill => {
          if (error instanceof DrillAborted) throw error;
          return { name: fault.name, seed, broken: (error as Error).message };
        });
        const passed = 'passed' in report && report.passed;
        counts[passed ? 'passed' : 'failed'] += 1;
        await options.onReport(report);
        if (!passed || fault.usesUp === true) await close();
      }
    }
  } finally {
    await close();
  }
  return counts;
}

function withThird(names: readonly string[]): readonly string[] {
  if (names.length >= 3) return names;
  const third = ['fra', 'ny', 'la'].find((name) => !names.includes(name)) as string;
  return [...names, third];
}

function kindFor({ needs }: Fault, leases: SessionOptions['leases']): LabKind {
  if (needs?.etcd || leases === 'etcd') return needs?.clocks ? 'clocks' : 'etcd';
  if (needs?.clocks) return 'clocks';
  if (needs?.standbys) return 'standbys';
  return needs?.smallDisk ? 'small-disk' : 'plain';
}

async function reportOf(
  fault: Fault,
  lab: LabDescription,
  seed: number,
  options: SessionOptions,
): Promise<DrillReport> {
  const startedAtMs = Date.now();
  const environment = await environmentOf(lab, options);
  const run = await runDrill(fault, {
    lab,
    seed,
    durationMs: options.durationMs,
    buyers: options.buyers,
    keepers: options.keepers,
    assertion: options.assertion,
    aborted: options.aborted,
    onNote: (atMs, text) => options.onNote(fault.name, atMs, text),
  });
  return assemble(fault, run, { seed, startedAtMs, tookMs: Date.now() - startedAtMs, environment });
}

function assemble(
  fault: Fault,
  run: DrillRun,
  about: Pick<DrillReport, 'seed' | 'startedAtMs' | 'tookMs' | 'environment'>,
): DrillReport {
  const { history, checked, rounds } = run;
  const ends = rounds.map((_, index) => rounds[index + 1]?.faultMs ?? run.loadEndMs);
  const late = rounds.flatMap(
    (round, index) => lateness(history, round, fault.expectation, ends[index] as number) ?? [],
  );
  const failures = [...run.failures, ...late];
  const violated = Object.values(checked.verdicts).some(({ kind }) => kind === 'violated');
  return {
    name: fault.name,
    group: fault.group,
    description: fault.description,
    needsThree: fault.needs?.third === true,
    expectation: fault.expectation.text,
    passed: failures.length === 0 && !violated,
    failures,
    at: run.at,
    rounds,
    verdicts: checked.verdicts,
    tally: checked.tally,
    recoveries: rounds.map((round, index) =>
      recoveryOf(history, round, run.moments[index] as Moments, ends[index] as number),
    ),
    timeline: run.timeline,
    buckets: bucketsOf(history, bucketMs, run.loadEndMs),
    bucketMs,
    answers: answersOf(history),
    said: run.said,
    ...about,
  };
}

async function environmentOf(lab: LabDescription, options: SessionOptions): Promise<Environment> {
  const [url] = Object.values(superusers(lab));
  const [row] = await ask<{ version: string }>(url as string, "SELECT current_setting('server_version') AS version");
  const here = dirname(fileURLToPath(import.meta.url));
  const git = (...args: readonly string[]): Promise<string | null> =>
    promisify(execFile)('git', ['-C', here, ...args], { timeout: 10_000 }).then(
      ({ stdout }) => stdout.trim(),
      () => null,
    );
  const changes = await git('status', '--porcelain', '--untracked-files=no');
  return {
    commit: await git('rev-parse', '--short=12', 'HEAD'),
    changed: changes !== null && changes !== '',
    node: process.versions.node,
    postgres: row?.version ?? 'unknown',
    leases: lab.witness.endpoints.length > 0 ? `${lab.witness.endpoints.length} members of etcd` : 'PostgreSQL',
    dataCenters: Object.keys(lab.dataCenters).length,
    roundTripMs: options.roundTripMs,
    links: options.means.packets ? 'packets' : 'connections',
  };
}
