/**
 * What is wrong with the streams between two data centers. Pure; the gate of a move (faults.md, remedy 10) is open when
 * this finds nothing, and `status` shows what it finds.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { IncomingStream, OutgoingStream, StreamsReport } from './read.ts';

export type StreamProblem = {
  readonly code:
    | 'no-publication'
    | 'no-subscription'
    | 'disabled'
    | 'not-running'
    | 'skipping'
    | 'blocked'
    | 'table-not-ready'
    | 'table-not-subscribed'
    | 'apply-errors'
    | 'conflicts'
    | 'no-slot'
    | 'slot-lost'
    | 'slot-at-risk'
    | 'slot-inactive'
    | 'lagging'
    | 'schema-differs'
    | 'shared-schema-differs'
    | 'constraints-differ'
    | 'version-differs'
    | 'undeclared-table'
    | 'unfenced-table';
  readonly message: string;
};

/** Counters at a moment when everything was known to be well: only what came after counts against the gate. */
export type Baseline = { readonly applyErrors: number; readonly conflicts: number };

/**
 * Conflicts that mean a change was lost or doubled. A row whose last writer was another data center is none: it is what
 * the first change after a move looks like.
 */
const harmful = new Set([
  'insert_exists',
  'update_exists',
  'update_missing',
  'delete_missing',
  'multiple_unique_conflicts',
]);

export function countConflicts(incoming: IncomingStream): number {
  return Object.entries(incoming.conflicts ?? {}).reduce((sum, [kind, n]) => sum + (harmful.has(kind) ? n : 0), 0);
}

export function baselineOf(incoming: IncomingStream): Baseline {
  return { applyErrors: incoming.applyErrors + incoming.syncErrors, conflicts: countConflicts(incoming) };
}

/** Applying waits for a moment wherever somebody writes; longer, and every account behind it waits, too. */
const blockedMsMax = 2_000;
/** Of what the server may keep for a slot: the alarm has to come while there is time to do something about it. */
const spareShareMin = 0.5;

/** What one report shows by itself about reading `publisher`. */
export function judgeIncoming(
  incoming: IncomingStream,
  since: Baseline = { applyErrors: 0, conflicts: 0 },
): StreamProblem[] {
  const { publisher, stream, subscription } = incoming;
  const what = `the ${stream} stream from ${publisher}`;
  if (subscription === null) return [{ code: 'no-subscription', message: `nothing subscribes to ${what}` }];
  const problems: StreamProblem[] = [];
  if (!subscription.enabled) problems.push({ code: 'disabled', message: `${what} is disabled` });
  else if (!incoming.running) problems.push({ code: 'not-running', message: `${what} has no worker` });
  if (subscription.skipLsn !== null) {
    problems.push({ code: 'skipping', message: `${what} is told to skip the transaction at ${subscription.skipLsn}` });
  }
  for (const { table, state } of subscription.notReady) {
    problems.push({ code: 'table-not-ready', message: `${table} is not ready in ${what} (state ${state})` });
  }
  if ((incoming.blockedMs ?? 0) > blockedMsMax) {
    const seconds = Math.round((incoming.blockedMs ?? 0) / 1000);
    problems.push({
      code: 'blocked',
      message: `${what} has waited for ${seconds} s for a lock that a transaction here holds`,
    });
  }
  const errors = incoming.applyErrors + incoming.syncErrors - since.applyErrors;
  if (errors > 0) problems.push({ code: 'apply-errors', message: `${what} failed ${errors} times to apply a change` });
  const conflicts = countConflicts(incoming) - since.conflicts;
  if (conflicts > 0) problems.push({ code: 'conflicts', message: `${what} met ${conflicts} conflicts` });
  return problems;
}

/** What one report shows by itself about being read by `subscriber`. */
export function judgeOutgoing(outgoing: OutgoingStream, lagBytesMax: number): StreamProblem[] {
  const what = `${outgoing.subscriber}'s ${outgoing.stream} slot`;
  if (!outgoing.exists)
    return [{ code: 'no-slot', message: `there is no slot for ${what.replace(' slot', ' stream')}` }];
  if (outgoing.walStatus === 'lost') return [{ code: 'slot-lost', message: `${what} has lost changes` }];
  const problems: StreamProblem[] = [];
  const { spareBytes, retainedBytes } = outgoing;
  const limitBytes = (spareBytes ?? 0) + (retainedBytes ?? 0);
  if (outgoing.walStatus === 'unreserved') {
    problems.push({ code: 'slot-at-risk', message: `${what} is about to lose changes` });
  } else if (spareBytes !== null && spareBytes < spareShareMin * limitBytes) {
    const message = `${what} loses changes when another ${Math.max(0, Math.round(spareBytes / 1_048_576))} MiB have been written`;
    problems.push({ code: 'slot-at-risk', message });
  }
  if (!outgoing.active) problems.push({ code: 'slot-inactive', message: `nobody reads ${what}` });
  if ((outgoing.lagBytes ?? 0) > lagBytesMax) {
    problems.push({ code: 'lagging', message: `${what} is ${outgoing.lagBytes} bytes behind` });
  }
  return problems;
}

/** What only both reports together show: `here` must be able to apply everything that `there` publishes. */
export function compareReports(here: StreamsReport, there: StreamsReport): StreamProblem[] {
  const problems: StreamProblem[] = [];
  const from: DataCenterName = there.dataCenter;
  for (const incoming of here.incoming.filter((one) => one.publisher === from)) {
    const published = there.published[incoming.stream];
    if (published === null) {
      problems.push({ code: 'no-publication', message: `${from} publishes no ${incoming.stream} stream` });
      continue;
    }
    const subscribed = new Set(incoming.subscription?.tables ?? []);
    for (const table of incoming.subscription === null ? [] : published) {
      if (subscribed.has(table)) continue;
      problems.push({ code: 'table-not-subscribed', message: `${table} of ${from} is not in the subscription here` });
    }
  }
  for (const table of new Set([...Object.keys(here.tables), ...Object.keys(there.tables)])) {
    const both = `between ${here.dataCenter} and ${from}: \`lanekeeper migrate check\` says how`;
    if (here.tables[table] !== there.tables[table]) {
      // Accounts do not wait for a table that none of them has rows in.
      const shared = here.homed !== undefined && !here.homed.includes(table) && there.homed?.includes(table) !== true;
      problems.push({
        code: shared ? 'shared-schema-differs' : 'schema-differs',
        message: `${table} differs ${both}`,
      });
    }
    const [allowedHere, allowedThere] = [here.constraints?.[table], there.constraints?.[table]];
    if (allowedHere !== undefined && allowedThere !== undefined && allowedHere !== allowedThere)
      problems.push({ code: 'constraints-differ', message: `what ${table} allows differs ${both}` });
  }
  if (here.version !== there.version) {
    problems.push({
      code: 'version-differs',
      message: `Lanekeeper's schema is ${here.version} here and ${there.version} in ${from}`,
    });
  }
  return problems;
}

/** Everything: this data center's own view, and with the peer's report the comparison. */
export function judgeStreams(
  here: StreamsReport,
  there: StreamsReport | null,
  options: { readonly lagBytesMax: number },
): StreamProblem[] {
  return [
    ...here.undeclared.map(
      (table): StreamProblem => ({ code: 'undeclared-table', message: `${table} is not declared` }),
    ),
    ...here.unfenced.map((table): StreamProblem => ({ code: 'unfenced-table', message: `${table} has no fence yet` })),
    ...here.incoming.flatMap((incoming) => judgeIncoming(incoming)),
    ...here.outgoing.flatMap((outgoing) => judgeOutgoing(outgoing, options.lagBytesMax)),
    ...(there === null ? [] : compareReports(here, there)),
  ];
}
