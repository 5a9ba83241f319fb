/** What a drill came to: what is printed with `--json`, and what the pages under docs/reliability are made of. */
import type { Invariant, Tally, Verdict } from '../checker/index.ts';

/** Milliseconds since the drill began. */
export type Round = {
  /** The data center in which the fault was. */
  readonly at: string;
  readonly faultMs: number;
  readonly healMs: number;
  /** When every customer had written again; null when somebody could not. */
  readonly backMs: number | null;
};

/** Of a takeover; null what was not seen. */
export type Moments = {
  /** The other data center's agent says that its peer does not answer. */
  readonly detectedMs: number | null;
  /** The lease store has a new view. */
  readonly decidedMs: number | null;
  /** The succession is in the successor's database. */
  readonly promotedMs: number | null;
};

export type TimelineEntry = { readonly atMs: number; readonly text: string };

export type Recovery = {
  /** Customers who had to wait noticeably. */
  readonly noticed: number;
  readonly customers: number;
  /** From the fault until the last of them was served again; null when nobody noticed. */
  readonly lastClientMs: number | null;
  /** From the fault until the first of them was who is at home where it was. */
  readonly firstWriteMs: number | null;
  /** From the fault. Null where no takeover was seen. */
  readonly detectMs: number | null;
  /** From then until the lease store had a new view. */
  readonly leaseWaitMs: number | null;
  /** From then until the successor could write. */
  readonly promoteMs: number | null;
};

export type Bucket = {
  readonly fromMs: number;
  readonly done: number;
  readonly refused: number;
  readonly unknown: number;
};

export type DrillReport = {
  readonly name: string;
  readonly group: string;
  readonly description: string;
  /** Whether it has a meaning in three data centers only. */
  readonly needsThree: boolean;
  readonly expectation: string;
  readonly passed: boolean;
  /** Why it failed, in words; empty when it passed. */
  readonly failures: readonly string[];
  readonly seed: number;
  /** The data center in which it was first. */
  readonly at: string;
  /** How often the fault was brought about in this drill. */
  readonly rounds: readonly Round[];
  readonly verdicts: Readonly<Record<Invariant, Verdict>>;
  readonly tally: Tally;
  /** One for each round. */
  readonly recoveries: readonly Recovery[];
  readonly timeline: readonly TimelineEntry[];
  readonly buckets: readonly Bucket[];
  readonly bucketMs: number;
  /** Answers other than "done", with how often they were given. */
  readonly answers: readonly (readonly [string, number])[];
  /** What `lanekeeper status` complained about after the fault. */
  readonly said: readonly string[];
  readonly environment: Environment;
  /** Since 1970. */
  readonly startedAtMs: number;
  readonly tookMs: number;
};

/** It could not be carried out, and so says nothing; counts as failed. */
export type BrokenDrill = { readonly name: string; readonly seed: number; readonly broken: string };

export type SkippedDrill = { readonly name: string; readonly skipped: string };

export type Environment = {
  /** Of the checkout that runs; null outside one. */
  readonly commit: string | null;
  /** Whether there were changes on top of it. */
  readonly changed: boolean;
  readonly node: string;
  readonly postgres: string;
  readonly leases: string;
  readonly dataCenters: number;
  readonly roundTripMs: number;
  /** What breaks links: the lab's process, which works on connections, or the kernel, which works on packets. */
  readonly links: 'connections' | 'packets';
};
