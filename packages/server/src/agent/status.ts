/** What an agent shows of its data center: for people (`lanekeeper status`), for the other agents, for monitoring. */
import type { Configuration } from 'lanekeeper/config';
import { type AccountId, bytesBetween, type DataCenterName } from 'lanekeeper/model';
import {
  explain,
  lapsesInMs,
  type Ownership,
  type Reason,
  type RejoinStage,
  reason,
  reasonsNotToTake,
  speaksOfGaps,
} from '../ownership/index.ts';
import {
  type AgentRow,
  type CopyState,
  type Incident,
  judgeIncoming,
  judgeOutgoing,
  type MergeStanding,
  type MoveEntry,
  type PublishingEntry,
  type RecordedSuccession,
  type ReplicationReport,
  type StreamsReport,
} from '../postgres/index.ts';
import { type BufferStatus, bufferProblems } from './buffering.ts';
import type { RelayStatus } from './relay-slots.ts';
import { type StandbyStatus, standbyProblems, standbyStatus } from './standby-list.ts';

export type AgentStatus = {
  readonly dataCenter: DataCenterName;
  /** The agent that leads and gives this answer. */
  readonly instance: string;
  readonly version: string;
  readonly at: string;
  readonly lease:
    | { readonly kind: 'held'; readonly leftMs: number; readonly term: number }
    | { readonly kind: 'none'; readonly reasons: readonly string[] };
  readonly agents: readonly { readonly instance: string; readonly url: string; readonly leads: boolean }[];
  readonly peers: Readonly<Record<DataCenterName, PeerStatus>>;
  readonly streams: StreamsReport | null;
  /** Failovers and switchovers so far, as this database has them, and what is under way. */
  readonly succession: {
    readonly history: readonly RecordedSuccession[];
    readonly underWay: string | null;
    /** What the lease store says of the others; empty while it was not reached. */
    readonly others: Readonly<Record<DataCenterName, StandingOfPeer>>;
  };
  /** Who holds what is acknowledged as `remote`. */
  readonly sync: {
    /** Whom `remote` commits wait for. */
    readonly waitsFor: readonly DataCenterName[];
    /** What the lease store has recorded: one of them may take over. */
    readonly recorded: readonly DataCenterName[];
    /** Nobody: what is acknowledged now is held here only. */
    readonly alone: boolean;
    /** How many bytes of our log each peer has yet to store; null while it does not read. */
    readonly atRiskBytes: Readonly<Record<DataCenterName, number | null>>;
    readonly problem: string | null;
  };
  /** Physical standbys of this data center's own, as configured. */
  readonly standbys: readonly StandbyStatus[];
  /** With three data centers: what is kept here for each other one, should the third fail; null with two. */
  readonly relay: RelayStatus | null;
  /** How far this data center has come back after it was taken over; null when it was not. */
  readonly rejoin: {
    readonly term: number;
    readonly successor: DataCenterName;
    readonly next: RejoinStage;
    readonly problem: string | null;
  } | null;
  /** Transactions in the ledger here that wait for a decision. */
  readonly stranded: number;
  /** Writes on their way to every data center; null where no table is written so. */
  readonly buffer: BufferStatus | null;
  /** Shared rows: what waits to be merged, and conflicts; null where no table is merged. */
  readonly merge: MergeStanding | null;
  /** Accounts by home, as known here; null before the first count. */
  readonly homes: Readonly<Record<DataCenterName, number>> | null;
  readonly moves: {
    readonly underWay: readonly { readonly account: AccountId; readonly role: string; readonly phase: string }[];
    readonly recent: readonly MoveEntry[];
  };
  readonly incidents: readonly Incident[];
  /** Of when the copies of other tables are, as this database has them. */
  readonly copies: readonly CopyState[];
  /** Read-only tables that may be written now, by whom and until when. */
  readonly publishing: readonly PublishingEntry[];
  /** Which one this agent has, since when this data center has it, and since when in good health; null before the first note. */
  readonly configuration: {
    readonly digest: string;
    readonly since: string | null;
    readonly healthySince: string | null;
  };
  /** What needs somebody's attention, in words. Empty when all is well. */
  readonly problems: readonly string[];
};

export type PeerStatus = {
  /** Its agent answers. */
  readonly reachable: boolean;
  /** Moves to and from there may begin. */
  readonly open: boolean;
  readonly reasons: readonly string[];
  /** Why what has arrived from there may not be everything; null before the first look. */
  readonly incomplete: readonly string[] | null;
};

export type StandingOfPeer = {
  readonly lease: 'held' | 'released' | 'yielded' | 'expired';
  /** Who may take over from it without losing anything acknowledged as `remote`. */
  readonly inSync: readonly DataCenterName[];
  readonly takenOver: number | null;
  /** Until nobody can hold its lease any more; 0: now. */
  readonly lapsesInMs: number;
  /** How much of its log, as far as it had told the lease store, has not been received here; null when nobody knows. */
  readonly behindBytes: number | null;
  /** Why it may not be taken over now, in words; empty when it may. */
  readonly objections: readonly string[];
  /** What still stands in the way when a person forces it. */
  readonly forcedObjections: readonly string[];
};

export type StatusInput = {
  readonly configuration: Configuration;
  readonly instance: string;
  readonly version: string;
  readonly state: Ownership;
  readonly leaseLeftMs: number;
  readonly agents: readonly AgentRow[];
  readonly peers: Readonly<Record<DataCenterName, { reachable: boolean; gate: readonly Reason[] | null }>>;
  readonly streams: StreamsReport | null;
  readonly homes: AgentStatus['homes'];
  readonly recent: readonly MoveEntry[];
  readonly incidents: readonly Incident[];
  readonly mayFreeze: boolean;
  readonly transactionProblem: string | null;
  readonly successions: readonly RecordedSuccession[];
  readonly replication: ReplicationReport | null;
  readonly syncProblem: string | null;
  readonly relay: RelayStatus | null;
  readonly stranded: number;
  readonly rollout: AgentStatus['configuration'];
  readonly buffer: BufferStatus | null;
  readonly merge: (MergeStanding & { readonly problems: readonly string[] }) | null;
  readonly hookProblems: readonly string[];
  readonly classes: Pick<AgentStatus, 'copies' | 'publishing'> & { readonly problems: readonly string[] };
};

export function buildStatus(input: StatusInput): AgentStatus {
  const { configuration, instance, state, leaseLeftMs, streams } = input;
  const peers = Object.fromEntries(
    Object.entries(input.peers).map(([name, { reachable, gate }]): [string, PeerStatus] => {
      if (streams?.absent?.includes(name))
        return [name, { reachable, open: false, reasons: ['it has not joined yet'], incomplete: null }];
      const reasons = gate === null ? ['the streams have not been looked at yet'] : gate.map(explain);
      const incomplete = gate === null ? null : gate.filter(speaksOfGaps).map(explain);
      return [name, { reachable, open: reasons.length === 0, reasons, incomplete }];
    }),
  );
  const lease: AgentStatus['lease'] =
    leaseLeftMs > 0
      ? { kind: 'held', leftMs: Math.round(leaseLeftMs), term: state.term }
      : { kind: 'none', reasons: 'reasons' in state.lease ? state.lease.reasons.map(explain) : [] };
  return {
    dataCenter: configuration.here,
    instance,
    version: input.version,
    at: new Date().toISOString(),
    lease,
    agents: input.agents.map(({ instance: name, url }) => ({ instance: name, url, leads: name === instance })),
    peers,
    streams,
    succession: { history: input.successions, underWay: underWay(state), others: standings(state) },
    sync: syncStatus(input),
    standbys: standbyStatus(input.replication),
    rejoin: rejoinStatus(state),
    stranded: input.stranded,
    relay: input.relay,
    buffer: input.buffer,
    merge: input.merge === null ? null : standingOf(input.merge),
    homes: input.homes,
    moves: {
      underWay: [...state.moves].map(([account, { role, phase }]) => ({ account, role, phase })),
      recent: input.recent,
    },
    incidents: input.incidents,
    copies: input.classes.copies,
    publishing: input.classes.publishing,
    configuration: input.rollout,
    problems: problemsIn(input, lease, peers),
  };
}

function standingOf({ problems: _, ...standing }: NonNullable<StatusInput['merge']>): MergeStanding {
  return standing;
}

function underWay({ takeover, turnover }: Ownership): string | null {
  if (takeover.phase !== 'none') {
    const from = takeover.phase === 'claiming' ? takeover.from : takeover.succession.from;
    return `taking over ${from}: ${takeover.phase}`;
  }
  return turnover === null ? null : `giving everything to ${turnover.request.to}: ${turnover.phase}`;
}

function standings(state: Ownership): AgentStatus['succession']['others'] {
  const nowMs = performance.now();
  const { view } = state;
  return Object.fromEntries(
    [...view.peers].map(([peer, { record }]): [DataCenterName, StandingOfPeer] => {
      // A stream that does not run says nothing of what it had received: then what was applied of it counts.
      const received = view.own?.positions.received[peer] ?? view.own?.positions.applied[peer];
      return [
        peer,
        {
          lease: record.state,
          inSync: record.inSync,
          takenOver: record.takenOver,
          lapsesInMs: Math.round(lapsesInMs(state, peer, nowMs) ?? 0),
          behindBytes: received === undefined ? null : bytesBetween(received, record.positions.log),
          objections: reasonsNotToTake(state, peer, false, nowMs).map(explain),
          forcedObjections: reasonsNotToTake(state, peer, true, nowMs).map(explain),
        },
      ];
    }),
  );
}

function syncStatus({ state, replication, syncProblem }: StatusInput): AgentStatus['sync'] {
  const { waits, recorded } = state.sync;
  const atRiskBytes = Object.fromEntries(
    Object.entries(replication?.peers ?? {}).map(([peer, { flushedLsn }]) => [
      peer,
      flushedLsn === null || replication === null ? null : bytesBetween(flushedLsn, replication.currentLsn),
    ]),
  );
  return { waitsFor: waits, recorded, alone: waits.length === 0, atRiskBytes, problem: syncProblem };
}

function rejoinStatus({ rejoin }: Ownership): AgentStatus['rejoin'] {
  if (rejoin === null) return null;
  const { term, successor, next, problem } = rejoin;
  return { term, successor, next, problem };
}

function problemsIn(
  {
    state,
    streams,
    incidents,
    hookProblems,
    mayFreeze,
    transactionProblem,
    syncProblem,
    replication,
    stranded,
    relay,
    buffer,
    merge,
    classes,
  }: StatusInput,
  lease: AgentStatus['lease'],
  peers: AgentStatus['peers'],
): readonly string[] {
  const problems: string[] = [];
  if (lease.kind === 'none') problems.push(`no lease: ${lease.reasons.join('; ') || 'not asked for yet'}`);
  const joined = Object.entries(peers).filter(([name]) => !streams?.absent?.includes(name));
  for (const [name, { reasons }] of joined)
    for (const one of reasons) problems.push(`no moves to or from ${name}: ${one}`);
  for (const table of streams?.unfenced ?? []) problems.push(`${table} has no fence yet: run \`lanekeeper apply\``);
  for (const table of streams?.undeclared ?? []) problems.push(`${table} is not declared, so nothing fences it`);
  for (const [table, columns] of Object.entries(streams?.leftOut ?? {}))
    problems.push(`${columns.join(', ')} of ${table} is not sent: \`lanekeeper migrate check\` says what is next`);
  for (const one of streams?.outgoing ?? [])
    for (const { code, message } of judgeOutgoing(one, Number.POSITIVE_INFINITY))
      if (code === 'slot-lost' || code === 'slot-at-risk') problems.push(message);
  for (const one of (streams?.incoming ?? []).filter(({ stream }) => stream === 'rest')) {
    if (one.subscription !== null && !one.running)
      problems.push(`the ${one.stream} stream from ${one.publisher} does not run`);
    for (const { code, message } of judgeIncoming(one)) if (code === 'blocked') problems.push(message);
  }
  if (stranded > 0)
    problems.push(
      `${stranded} stranded transaction${stranded === 1 ? ' waits' : 's wait'} for a decision: \`lanekeeper stranded list\``,
    );
  problems.push(...(relay?.problems ?? []), ...bufferProblems(buffer));
  const kinds = new Map<string, number>();
  for (const { kind } of incidents) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  for (const [kind, count] of kinds) problems.push(`${count} incident${count === 1 ? '' : 's'} within a day: ${kind}`);
  problems.push(...(merge?.problems ?? []), ...classes.problems, ...hookProblems);
  if (!mayFreeze) problems.push(`nothing can be taken over: ${explain(reason('cannot-freeze'))}`);
  if (transactionProblem !== null) problems.push(transactionProblem);
  problems.push(...standbyProblems(standbyStatus(replication)));
  if (syncProblem !== null) problems.push(`\`remote\` commits cannot wait: ${syncProblem}`);
  else if (lease.kind === 'held' && state.sync.waits.length === 0 && joined.length > 0)
    problems.push('alone: what is acknowledged now is held in this data center only');
  for (const [of, { problem }] of state.tails)
    if (problem !== null) problems.push(`what others have of ${of}, which was taken over, is not here: ${problem}`);
  if (state.rejoin !== null)
    problems.push(
      `taken over by ${state.rejoin.successor} in term ${state.rejoin.term}, coming back: next is ${state.rejoin.next}${state.rejoin.problem === null ? '' : ` (${state.rejoin.problem})`}`,
    );
  return problems;
}
