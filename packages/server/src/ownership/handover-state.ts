/**
 * What the protocol knows about whole data centers: their leases and successions, who takes over or gives away, who holds
 * what was acknowledged, how far one has come back. `state.ts` has the rest.
 */
import type { DataCenterName, LeaseRecord, Succession } from 'lanekeeper/model';
import type { Reason } from './reasons.ts';

/** The store's record of another dc. */
export type Watched = { readonly record: LeaseRecord; readonly sinceMs: number };

export type View = {
  readonly look:
    | { readonly step: 'idle'; readonly nextMs: number }
    | { readonly step: 'reading'; readonly round: number; readonly deadlineMs: number };
  readonly peers: ReadonlyMap<DataCenterName, Watched>;
  /** The store's record of this dc; null before it was seen, or when there is none yet. */
  readonly own: LeaseRecord | null;
  /** Since when its revision is known. */
  readonly ownSinceMs: number;
  /** Every succession, by term. */
  readonly history: readonly Succession[];
  /** Terms of the successions that our database has; null until it was asked. */
  readonly recorded: readonly number[] | null;
};

/** Up to where a failed dc's log had been applied here when its streams were frozen: positions of its own log. */
export type Cut = { readonly homed: string; readonly rest: string };

/** Of one who was taken over in a term, in a generation. */
export type RecordableCut = Cut & { readonly takenOver: number; readonly generation: number };

/** One peer's reading of our log. */
export type Link = {
  /** It is connected and reads what is written now. */
  readonly streaming: boolean;
  /** It has durably applied all but the last moments. */
  readonly caughtUp: boolean;
  /** Since it was last heard of; infinite when it is not connected. */
  readonly replyAgeMs: number;
};

export type FailoverOutcome =
  | { readonly kind: 'taken'; readonly term: number }
  /** No answer from the store: whether there is a new view will be seen. */
  | { readonly kind: 'pending' }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

export type SwitchOutcome =
  | {
      readonly kind: 'switched';
      readonly term: number;
      /** Requests were held for this long here. */
      readonly pauseMs: number;
    }
  | { readonly kind: 'pending' }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

/** What is known here of the log of a dc that was taken over, and is not back. */
export type TailState = {
  /** The term in which it was taken over. */
  readonly term: number;
  /** How far it is applied here; null until its streams have ended. */
  readonly cut: Cut | null;
  /** Up to where it was fetched from others, which they have to be told. */
  readonly fetched: Cut | null;
  readonly attempt:
    | { readonly step: 'idle'; readonly nextMs: number }
    | { readonly step: 'freezing'; readonly round: number; readonly deadlineMs: number }
    | { readonly step: 'mending'; readonly round: number; readonly deadlineMs: number; readonly upTo: Cut };
  /** Why what others have of it is not here yet, for a person; null while nothing is known to be wrong. */
  readonly problem: string | null;
};

export type Takeover = {
  /** Persons who wait until what the store has granted in a term is recorded. */
  readonly waiting: readonly { readonly term: number; readonly id: string }[];
} & (
  | { readonly phase: 'none'; readonly nextMs: number }
  | {
      readonly phase: 'claiming';
      readonly from: DataCenterName;
      readonly forced: boolean;
      /** Of our own lease, as the store was told. */
      readonly revision: number;
      readonly asked: readonly string[];
      readonly round: number;
      readonly deadlineMs: number;
    }
  | {
      readonly phase: 'recording';
      readonly succession: Succession;
      readonly round: number;
      readonly deadlineMs: number;
    }
);

export type SwitchRequest = {
  readonly to: DataCenterName;
  /** The term of the takeover or switchover whose accounts are handed back; null moves everything held here. */
  readonly undoes: number | null;
};

export type Held = {
  readonly request: SwitchRequest;
  readonly asked: readonly string[];
  /** When requests began to be held. */
  readonly sinceMs: number;
  readonly deadlineMs: number;
};

export type Turnover = Held &
  (
    | { readonly phase: 'opening'; readonly round: number }
    | {
        readonly phase: 'draining';
        readonly move: number;
        readonly waitingFor: readonly string[];
        readonly nextLookMs: number;
      }
    /** `succession`: the store has decided already, and the row is missing here. */
    | {
        readonly phase: 'locking';
        readonly move: number | null;
        readonly round: number;
        readonly succession: Succession | null;
      }
    | {
        readonly phase: 'claiming';
        readonly move: number | null;
        readonly round: number;
        /** Of our lease, as the store was told. */
        readonly revision: number;
      }
    | {
        readonly phase: 'recording';
        readonly move: number | null;
        readonly round: number;
        readonly succession: Succession;
      }
    | {
        readonly phase: 'closing';
        readonly move: number | null;
        readonly round: number | null;
        readonly outcome: SwitchOutcome;
      }
  );

export type Sync = {
  readonly links: ReadonlyMap<DataCenterName, Link & { readonly goodMs: number }>;
  /** Whom commits of class `remote` wait for at least. */
  readonly waits: readonly DataCenterName[];
  /** Since when the database may wait for others as well; null: for nobody else. */
  readonly unsettledMs: number | null;
  /** What the store said last of us. */
  readonly recorded: readonly DataCenterName[];
  /** What it may say by now: claims that were sent since, and not answered. */
  readonly claimed: readonly DataCenterName[];
  readonly setting: {
    readonly round: number;
    readonly members: readonly DataCenterName[];
    readonly deadlineMs: number;
  } | null;
  readonly nextMs: number;
};

/** In this order. `rejoinStages[0]` is where a dc begins that has just learned of it. */
export const rejoinStages = [
  /** Reads nothing from the successor. */
  'frozen',
  /** What was written here beyond the cut is in the successor's ledger, durably. */
  'stranded',
  /** And is gone from here: every row that it touched. */
  'undone',
  /** The successor's stream is applied, and the rows that it sent again. */
  'caught-up',
  /** The successor reads from here again, from new slots. */
  'streaming',
  /** Both hold the same. */
  'verified',
  /** A new generation, and the store knows it. */
  'readmitted',
] as const;
export type RejoinStage = (typeof rejoinStages)[number];

export type Rejoin = {
  /** The term in which this dc was taken over, by the store's record. */
  readonly takenOver: number;
  /** That of the takeover that it comes back from, and by whom: a successor may have been taken over itself since. */
  readonly term: number;
  readonly successor: DataCenterName;
  /** Asked for by a person, where it is not automatic. */
  readonly asked: boolean;
  /** The next stage to reach. */
  readonly next: RejoinStage;
  readonly attempt:
    | { readonly step: 'idle'; readonly nextMs: number }
    | { readonly step: 'working'; readonly round: number };
  /** Why the present stage is not reached yet, for a person; null while nothing is known to be wrong. */
  readonly problem: string | null;
};
