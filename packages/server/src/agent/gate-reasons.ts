/**
 * From what is wrong with the streams to what that stops. Only the stream of homed rows counts: a catalog that is behind
 * keeps no account from moving. Errors that are tried again until they succeed lose nothing, so they do not count by
 * themselves; a stream that cannot go on is behind.
 */

import type { DataCenterName } from 'lanekeeper/model';
import { type Reason, type ReasonCode, reason } from '../ownership/index.ts';
import {
  compareReports,
  judgeIncoming,
  judgeOutgoing,
  type StreamProblem,
  type StreamsReport,
} from '../postgres/index.ts';

const codes: Readonly<Record<StreamProblem['code'], ReasonCode | null>> = {
  'no-publication': 'not-streaming',
  'no-subscription': 'not-streaming',
  disabled: 'not-streaming',
  'not-running': 'not-streaming',
  'no-slot': 'not-streaming',
  'slot-lost': 'not-streaming',
  'slot-inactive': 'not-streaming',
  'slot-at-risk': 'lagging',
  blocked: 'lagging',
  lagging: 'lagging',
  skipping: 'new-conflicts',
  'table-not-ready': 'table-not-ready',
  'table-not-subscribed': 'table-not-subscribed',
  'schema-differs': 'schema-differs',
  'version-differs': 'version-differs',
  // Counted over restarts instead, see `unanswered`.
  conflicts: null,
  'apply-errors': null,
  // Red in `status`; no reason to keep an account where it is.
  'shared-schema-differs': null,
  'constraints-differ': null,
  'undeclared-table': null,
  'unfenced-table': null,
};

export type GateInput = {
  readonly peer: DataCenterName;
  readonly here: StreamsReport;
  /** Null while the peer's agent does not answer. */
  readonly there: StreamsReport | null;
  /** Conflicts in the stream from the peer that no clean `verify` has answered for. */
  readonly unanswered: number;
  /** Why the peer, by its own account, may lack some of what was written here. */
  readonly incomplete: readonly string[];
  readonly lagMs: number;
  readonly lagBytes: number;
};

export function gateReasons({
  peer,
  here,
  there,
  unanswered,
  incomplete,
  lagMs,
  lagBytes,
}: GateInput): readonly Reason[] {
  const incoming = here.incoming.filter((one) => one.publisher === peer && one.stream === 'homed');
  const outgoing = here.outgoing.filter((one) => one.subscriber === peer && one.stream === 'homed');
  const problems = [
    ...incoming.flatMap((one) => judgeIncoming(one)),
    ...outgoing.flatMap((one) => judgeOutgoing(one, lagBytes)),
    ...(there === null ? [] : compareReports(here, there)),
  ];
  const reasons = problems.flatMap(({ code, message }) => {
    const because = codes[code];
    return because === null ? [] : [reason(because, message)];
  });
  for (const one of outgoing)
    if ((one.lagMs ?? 0) > lagMs) reasons.push(reason('lagging', `the stream to ${peer} is ${one.lagMs} ms behind`));
  if (there === null) reasons.push(reason('peer-not-observed', peer));
  for (const gap of incomplete) reasons.push(reason('peer-incomplete', `${peer}: ${gap}`));
  if (unanswered > 0) reasons.push(reason('new-conflicts', `${unanswered} in the stream from ${peer}`));
  return reasons;
}
