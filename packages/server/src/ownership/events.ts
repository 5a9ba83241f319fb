/**
 * What can happen to the protocol, and what it can ask for. Contract with whoever carries out the actions: every action
 * with a `round` is answered by exactly one event with that round, also when it failed; events are handed in one by one;
 * `write-lease` actions reach the database in the order in which they were asked for.
 */
import type {
  AccountId,
  DataCenterName,
  Epoch,
  LeaseClaim,
  LeaseCredential,
  LeaseResult,
  LeaseView,
  Succession,
  SuccessionRequest,
  SuccessionResult,
} from 'lanekeeper/model';
import type {
  Cut,
  FailoverOutcome,
  Link,
  RecordableCut,
  RejoinStage,
  SwitchOutcome,
  SwitchRequest,
} from './handover-state.ts';
import type { Reason } from './reasons.ts';
import type { ArrivedDeed, ClockSample, GiveOutcome, GiveRequest, Proof } from './state.ts';

/** What the database knows about an account when its move is asked for. */
export type Facts = {
  readonly home: DataCenterName;
  readonly epoch: Epoch;
  readonly accepted: boolean;
  /** Signed in or written here within the configured stickiness. */
  readonly inUse: boolean;
  /** How long ago it came here; null when it was born here. */
  readonly arrivedAgoMs: number | null;
  /** How long ago each move of the last hour was, the latest first. */
  readonly movesAgoMs: readonly number[];
};

type Answered<Kind extends string, Fields> = { readonly kind: Kind; readonly round: number } & Fields;
type AboutAccount<Kind extends string, Fields> = Answered<Kind, { readonly account: AccountId } & Fields>;

export type OwnershipEvent =
  | { readonly kind: 'tick' }
  /** Stop. `successor`: another agent of this dc stands by and takes over without a gap. */
  | { readonly kind: 'leave'; readonly successor: boolean }
  | Answered<
      'proof',
      {
        readonly result:
          | { readonly kind: 'proved'; readonly proof: Proof }
          | { readonly kind: 'lacking'; readonly reasons: readonly Reason[] }
          | { readonly kind: 'failed' };
      }
    >
  | Answered<'store-view', { readonly view: LeaseView | null }>
  | Answered<'store-answer', { readonly result: LeaseResult | null }>
  | Answered<'lease-written', { readonly ok: boolean }>
  | Answered<'released', object>
  | Answered<'watched', { readonly view: LeaseView | null }>
  /** The terms of the successions that our database has. */
  | { readonly kind: 'successions-read'; readonly terms: readonly number[] }
  | {
      readonly kind: 'replication';
      readonly links: Readonly<Record<DataCenterName, Link>>;
      /** Whom the database waits for by its own account; absent while that is being changed. */
      readonly waitsFor?: readonly DataCenterName[];
    }
  | { readonly kind: 'failover-asked'; readonly id: string; readonly from: DataCenterName; readonly forced: boolean }
  | { readonly kind: 'switch-asked'; readonly id: string; readonly request: SwitchRequest }
  | { readonly kind: 'rejoin-asked' }
  | Answered<'succeeded', { readonly result: SuccessionResult | null }>
  /** Null: not frozen, or not known to be. */
  | Answered<'frozen', { readonly cut: Cut | null }>
  | Answered<
      'mended',
      {
        readonly result:
          | { readonly kind: 'reached'; readonly cut: Cut }
          | { readonly kind: 'not-yet'; readonly problem: string }
          /** What is missing can be had from nobody any more: the proof of the lease says so as well. */
          | { readonly kind: 'lost'; readonly problem: string };
      }
    >
  | Answered<'recorded', { readonly ok: boolean }>
  | Answered<
      'all-draining',
      {
        readonly result:
          | { readonly kind: 'begun'; readonly move: number; readonly instances: readonly string[] }
          | { readonly kind: 'failed' };
      }
    >
  | Answered<'writers-locked', { readonly ok: boolean }>
  | Answered<'all-given', { readonly ok: boolean }>
  | Answered<'resumed', { readonly ok: boolean }>
  | Answered<'sync-set', { readonly ok: boolean }>
  | Answered<
      'rejoined',
      {
        readonly result: /** This stage or, in an earlier life, a later one. */
          | { readonly kind: 'reached'; readonly stage: RejoinStage }
          | { readonly kind: 'not-yet'; readonly problem: string };
      }
    >
  | { readonly kind: 'clock'; readonly clock: ClockSample }
  | { readonly kind: 'gate'; readonly peer: DataCenterName; readonly reasons: readonly Reason[] }
  | { readonly kind: 'give-asked'; readonly id: string; readonly request: GiveRequest }
  | AboutAccount<
      'facts',
      {
        readonly result:
          | { readonly kind: 'known'; readonly facts: Facts }
          | { readonly kind: 'unknown' }
          | { readonly kind: 'failed' };
      }
    >
  | AboutAccount<
      'drain-begun',
      {
        readonly result:
          | { readonly kind: 'begun'; readonly move: number; readonly instances: readonly string[] }
          | { readonly kind: 'already' }
          | { readonly kind: 'failed' };
      }
    >
  | { readonly kind: 'drained'; readonly move: number; readonly instance: string }
  | { readonly kind: 'instances'; readonly alive: readonly string[] }
  | AboutAccount<
      'give-answered',
      {
        readonly result:
          | { readonly kind: 'given'; readonly epoch: Epoch }
          | { readonly kind: 'kept'; readonly reason: Reason }
          /** The connection broke: it may have been given, or may still be. */
          | { readonly kind: 'lost' };
      }
    >
  /** The deed, read under its lock; null when the database did not answer. */
  | AboutAccount<'deed-read', { readonly deed: { readonly home: DataCenterName; readonly epoch: Epoch } | null }>
  | AboutAccount<'drain-ended', { readonly ok: boolean }>
  | { readonly kind: 'deed-arrived'; readonly account: AccountId; readonly deed: ArrivedDeed }
  /** `peer` has the deed of that epoch, or a later one. */
  | { readonly kind: 'deed-seen'; readonly account: AccountId; readonly peer: DataCenterName; readonly epoch: Epoch }
  | AboutAccount<'compared', { readonly same: boolean }>
  | AboutAccount<
      'accept-answered',
      { readonly result: 'accepted' | 'already' | 'digest-differs' | 'stale' | 'no-lease' | 'failed' }
    >
  | AboutAccount<'decline-answered', { readonly result: 'declined' | 'already' | 'stale' | 'no-lease' | 'failed' }>;

type Asked<Kind extends string, Fields> = { readonly kind: Kind; readonly round: number } & Fields;
type AskedAbout<Kind extends string, Fields> = Asked<Kind, { readonly account: AccountId } & Fields>;

export type Action =
  /** Answered by `proof`. */
  | Asked<'prove', object>
  /** Answered by `store-view`. */
  | Asked<'read-store', object>
  /** Answered by `store-answer`. */
  | Asked<'acquire', { readonly claim: LeaseClaim; readonly predecessor: LeaseCredential | null }>
  | Asked<'renew', { readonly claim: LeaseClaim; readonly revision: number }>
  /** Answered by `lease-written`. Null takes the right to write back; `credential` is kept for the agent that leads next. */
  | Asked<
      'write-lease',
      {
        readonly lease: { readonly validUntilMs: number; readonly validUntilUptimeMs: number | null } | null;
        readonly credential: LeaseCredential | null;
      }
    >
  /** Answered by `released`. */
  | Asked<'release', { readonly credential: LeaseCredential }>
  /** Answered by `watched`. */
  | Asked<'watch-store', object>
  /** Answered by `succeeded`. */
  | Asked<'succeed', { readonly request: SuccessionRequest }>
  /** Ends every stream from there, sees them gone, and reads how far they came. Answered by `frozen`. */
  | Asked<'freeze', { readonly from: DataCenterName; readonly term: number }>
  /** Fetches what `from` has applied of the log of `of` up to there and we have not. Answered by `mended`. */
  | Asked<
      'mend',
      {
        readonly of: DataCenterName;
        /** In which `of` was taken over. */
        readonly term: number;
        readonly from: DataCenterName;
        readonly upTo: Cut;
      }
    >
  /** Copies of the store's successions, each takeover with the cuts of all who were gone by then. Answered by `recorded`. */
  | Asked<
      'record',
      { readonly successions: readonly Succession[]; readonly cuts: Readonly<Record<DataCenterName, RecordableCut>> }
    >
  /** Holds the requests of all accounts. Answered by `all-draining`. */
  | Asked<'drain-all', { readonly to: DataCenterName; readonly forMs: number }>
  /** Waits for every writer and keeps new ones waiting. Answered by `writers-locked`. */
  | Asked<'lock-writers', { readonly withinMs: number }>
  /** Writes the succession, lets the writers go on and ends the drain. Answered by `all-given`. */
  | Asked<'give-all', { readonly succession: Succession }>
  /** Lets writers and requests go on as before. Answered by `resumed`. */
  | Asked<'resume', object>
  /** Answered by `sync-set`, when growing only once the peers hold everything. */
  | Asked<'set-sync', { readonly members: readonly DataCenterName[]; readonly grows: boolean }>
  /** Answered by `rejoined`. */
  | Asked<
      'rejoin',
      {
        /** Of the takeover that is come back from. */
        readonly term: number;
        /** What the store has to forget at the end. */
        readonly takenOver: number;
        readonly successor: DataCenterName;
        readonly stage: RejoinStage;
      }
    >
  | { readonly kind: 'answer-failover'; readonly ids: readonly string[]; readonly outcome: FailoverOutcome }
  | { readonly kind: 'answer-switch'; readonly ids: readonly string[]; readonly outcome: SwitchOutcome }
  /** Nothing is left to do here: the agent may end. */
  | { readonly kind: 'left' }
  | {
      readonly kind: 'answer';
      readonly ids: readonly string[];
      readonly account: AccountId;
      readonly outcome: GiveOutcome;
    }
  /** Answered by `facts`. */
  | AskedAbout<'read-facts', object>
  /** Answered by `drain-begun`. */
  | AskedAbout<'begin-drain', { readonly to: DataCenterName; readonly forMs: number }>
  /** Answered by `instances`. */
  | { readonly kind: 'list-instances' }
  /** Hardens the drain, then gives. Answered by `give-answered`. */
  | AskedAbout<
      'give',
      { readonly to: DataCenterName; readonly epoch: Epoch; readonly move: number; readonly withinMs: number }
    >
  /** Reads the deed under its lock, and so after whatever else holds it. Answered by `deed-read`. */
  | AskedAbout<'read-deed', object>
  /** Answered by `drain-ended`. */
  | AskedAbout<'end-drain', { readonly move: number | null }>
  /** Whether the rows are the ones that were given. Answered by `compared`. */
  | AskedAbout<'compare', { readonly epoch: Epoch }>
  /** Compares the rows, unless that was done since the deed arrived. Answered by `accept-answered`. */
  | AskedAbout<'accept', { readonly epoch: Epoch; readonly compared: boolean }>
  /** Whether they have the deed of that epoch. Each that has is told by `deed-seen`, sooner or later or not at all. */
  | {
      readonly kind: 'ask-seen';
      readonly account: AccountId;
      readonly epoch: Epoch;
      readonly peers: readonly DataCenterName[];
    }
  /** Answered by `decline-answered`. */
  | AskedAbout<'decline', { readonly epoch: Epoch; readonly reasons: readonly Reason[] }>
  /** An arrived account is no longer open. */
  | {
      readonly kind: 'settled';
      readonly account: AccountId;
      readonly epoch: Epoch;
      readonly outcome: 'accepted' | 'declined' | 'superseded';
      readonly reasons: readonly Reason[];
    };
