/**
 * What one data center's leading agent knows, as one value. Every phase owns the data that exist in it and no other.
 * Times named `…Ms` without further word are readings of the agent's own steadily running clock, never of a wall clock.
 */
import type {
  AccountId,
  DataCenterName,
  Epoch,
  Incarnation,
  LeaseCredential,
  LeaseView,
  Positions,
} from 'lanekeeper/model';
import type { Rejoin, Sync, TailState, Takeover, Turnover, View } from './handover-state.ts';
import type { Reason } from './reasons.ts';

export type Settings = {
  readonly here: DataCenterName;
  /** Names this agent process in the lease store. */
  readonly holder: string;
  readonly ttlMs: number;
  readonly renewEveryMs: number;
  /** By how much two clocks may come apart over one lease. */
  readonly skewMs: number;
  /** A question to the lease store or about the lease that is not answered by then is asked again. */
  readonly answerWithinMs: number;
  /** An observation of the streams older than this says nothing about them any more. */
  readonly observationMaxAgeMs: number;
  /** What was given to us is given back when the gate kept it from being accepted for this long. */
  readonly acceptWithinMs: number;
  /** A move is aborted when the account's requests in flight have not finished by then. */
  readonly drainMs: number;
  /** Moves on their way at the same time; others wait their turn. */
  readonly maxMoves: number;
  readonly dwellMs: number;
  readonly perHour: number;
  /** The other data centers. */
  readonly peers: readonly DataCenterName[];
  /** How often the lease store is looked at for what the others do. */
  readonly watchEveryMs: number;
  /** A dc whose lease ran out is taken over without a person's word. */
  readonly automaticFailover: boolean;
  /** A dc that stopped its agents in order is given this long to start them again. */
  readonly releasedGraceMs: number;
  readonly automaticRejoin: boolean;
  /** A peer that was not heard of for this long is no longer waited for. */
  readonly peerTimeoutMs: number;
};

/** One reading of the database's clocks, taken between two readings of the agent's own clock. */
export type ClockSample = {
  readonly sentMs: number;
  readonly receivedMs: number;
  /** The database server's wall clock, milliseconds since 1970. */
  readonly wallMs: number;
  /** That machine's uptime; null where PostgreSQL may not read it. */
  readonly uptimeMs: number | null;
};

/** What the database answered when asked whether this dc may have a lease at all. */
export type Proof = {
  readonly incarnation: Incarnation;
  readonly positions: Positions;
  readonly clock: ClockSample;
  /** The database lets writes pass at this moment. */
  readonly holdsLease: boolean;
  /** Who reads from here; absent in a database that was never promoted. */
  readonly readers?: Readonly<Record<DataCenterName, Reader>>;
};

/** Of both streams of a peer: it reads them now; they have their slots here; what it reads cannot come from here. */
export type Reader = 'reads' | 'away' | 'no-slot';

/** A lease that the store granted, in the agent's clock (`untilMs`) and in the ones the fence reads. */
export type Grant = {
  readonly revision: number;
  readonly untilMs: number;
  readonly validUntilMs: number;
  readonly validUntilUptimeMs: number | null;
  /** When the request was sent: the lease counts from there. */
  readonly sentMs: number;
  /** The reading that ties the clocks together for this grant. */
  readonly clock: ClockSample;
  /** The store's answer: the next proof, which is newer, is held against it. */
  readonly view: LeaseView;
};

/** One attempt to get or to keep the lease. `round` ties an answer to its question: late answers mean nothing. */
export type Attempt =
  | { readonly step: 'idle'; readonly nextMs: number }
  | {
      readonly step: 'proving';
      readonly round: number;
      readonly deadlineMs: number;
      /** The view that this proof is to be held against; null when the store has not been read yet. */
      readonly view: LeaseView | null;
    }
  | { readonly step: 'reading'; readonly round: number; readonly deadlineMs: number }
  | {
      readonly step: 'asking';
      readonly round: number;
      readonly deadlineMs: number;
      readonly proof: Proof;
      readonly sentMs: number;
    }
  | { readonly step: 'writing'; readonly round: number; readonly deadlineMs: number; readonly grant: Grant };

export type Lease =
  /** No lease of ours. `credential` is what the store granted last, to us or to the agent that led before. */
  | {
      readonly phase: 'without';
      readonly reasons: readonly Reason[];
      readonly credential: LeaseCredential | null;
      readonly attempt: Attempt;
      /** No lease is written in the database, not even one that ran out: a clock set back would bring it to life again. */
      readonly cleared: boolean;
    }
  | { readonly phase: 'held'; readonly grant: Grant; readonly attempt: Attempt }
  /** The database may hold a lease that must not count any more; nothing else happens until it has let go of it. */
  | {
      readonly phase: 'voiding';
      readonly reasons: readonly Reason[];
      readonly credential: LeaseCredential | null;
      readonly round: number;
      readonly deadlineMs: number;
    }
  | { readonly phase: 'releasing'; readonly round: number; readonly deadlineMs: number }
  | { readonly phase: 'left' };

/** What is known about the streams between here and one peer (faults.md, remedy 10). */
export type Gate = { readonly observedMs: number; readonly reasons: readonly Reason[] };

export type GiveRequest = {
  readonly account: AccountId;
  /** The data center that asks for the account, having looked at its own gate. */
  readonly to: DataCenterName;
  /** Only when nobody uses the account here; then dwell and budget apply as well. */
  readonly ifIdle: boolean;
  /** What the one who asks has seen; null: whatever it is now. */
  readonly expected: Epoch | null;
  /** It is no use later than this: when it was not given by then, it is kept. At most `drainMs` counts. */
  readonly withinMs: number;
};

type GivingBase = {
  readonly role: 'giver';
  readonly request: GiveRequest;
  /** Whom to answer. */
  readonly asked: readonly string[];
};

/** An account on its way out. Until `giving` it can be kept; afterwards only the receiver decides. */
export type Giving = GivingBase &
  (
    | { readonly phase: 'queued'; readonly deadlineMs: number }
    | { readonly phase: 'reading'; readonly round: number; readonly deadlineMs: number }
    | { readonly phase: 'opening'; readonly round: number; readonly epoch: Epoch; readonly deadlineMs: number }
    | {
        readonly phase: 'draining';
        readonly epoch: Epoch;
        /** The database's number for this drain. */
        readonly move: number;
        readonly waitingFor: readonly string[];
        readonly deadlineMs: number;
        readonly nextLookMs: number;
      }
    | {
        readonly phase: 'giving';
        readonly round: number;
        readonly epoch: Epoch;
        readonly move: number;
        readonly deadlineMs: number;
      }
    /** The answer to `give` was lost: whether the account is still ours is not known until the database says so. */
    | {
        readonly phase: 'resolving';
        readonly round: number | null;
        readonly epoch: Epoch;
        readonly move: number;
        readonly retryMs: number;
      }
    /** Kept after all; the applications are being told. `move` is null when the drain's number never came back. */
    | {
        readonly phase: 'closing';
        readonly move: number | null;
        readonly round: number | null;
        readonly retryMs: number;
      }
  );

export type ArrivedDeed = {
  readonly epoch: Epoch;
  readonly giver: DataCenterName;
  /** Given back by one who declined it: our own rows, written nowhere since, so there is nothing to compare. */
  readonly returned: boolean;
};

/** A deed that names this dc and is not accepted yet. It is ours to accept or to give back, and nobody else's. */
export type Receiving = {
  readonly role: 'receiver';
  readonly deed: ArrivedDeed;
  readonly sinceMs: number;
  /** Those that have the deed as well. */
  readonly seenBy: readonly DataCenterName[];
} & (
  | {
      readonly phase: 'examining';
      readonly reasons: readonly Reason[];
      readonly retryMs: number;
      /** When those that have not said that they have the deed are asked. */
      readonly askMs: number;
      /** The question whether the rows are the ones that were given, while it is open. */
      readonly comparing: number | null;
      /** They are, and stay so: until the deed is accepted nobody writes them. */
      readonly compared: boolean;
    }
  | { readonly phase: 'accepting'; readonly round: number }
  | { readonly phase: 'declining'; readonly round: number; readonly reasons: readonly Reason[] }
);

export type Move = Giving | Receiving;

/** What the one who asked for an account is told. */
export type GiveOutcome =
  | { readonly kind: 'given'; readonly epoch: Epoch }
  | { readonly kind: 'elsewhere'; readonly home: DataCenterName; readonly epoch: Epoch }
  | { readonly kind: 'unknown-account' }
  | { readonly kind: 'in-use'; readonly epoch: Epoch }
  | { readonly kind: 'dwelling'; readonly epoch: Epoch; readonly retryAfterMs: number }
  | { readonly kind: 'over-budget'; readonly epoch: Epoch; readonly retryAfterMs: number }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

export type Ownership = {
  readonly settings: Settings;
  readonly view: View;
  readonly takeover: Takeover;
  /** By the dc that was taken over, while it is not back. */
  readonly tails: ReadonlyMap<DataCenterName, TailState>;
  readonly turnover: Turnover | null;
  readonly sync: Sync;
  readonly rejoin: Rejoin | null;
  /** The highest term seen. It never falls (E1). */
  readonly term: number;
  /** Numbers the questions, so that each answer finds its own. */
  readonly round: number;
  readonly lease: Lease;
  readonly gates: ReadonlyMap<DataCenterName, Gate>;
  /** At most one move per account. */
  readonly moves: ReadonlyMap<AccountId, Move>;
  /** Instances that reported a drain before its number had come back to us. */
  readonly early: readonly { readonly move: number; readonly instance: string; readonly atMs: number }[];
  /** Deeds that others have, and that had not arrived here when they said so. */
  readonly seen: readonly {
    readonly account: AccountId;
    readonly peer: DataCenterName;
    readonly epoch: Epoch;
    readonly atMs: number;
  }[];
  /** Set once the agent is asked to leave: nothing new is begun. */
  readonly leaving: 'no' | 'release' | 'hand-over';
};
