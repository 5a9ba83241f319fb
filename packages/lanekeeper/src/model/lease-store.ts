/**
 * The port to the lease store: a small, strongly consistent store outside any single data center, which decides who
 * may write at all (R4). Adapters live in the server's `lease/` room; every adapter passes one conformance suite.
 */
import type { Succession } from './succession.ts';
import type { DataCenterName } from './words.ts';

/** A data center's identity in time: a restored or re-seeded database is a different incarnation of the same dc. */
export type Incarnation = {
  /** PostgreSQL's system identifier, as text: it does not fit a double. */
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** Rises when the dc was taken over or restored. Starts at 1. */
  readonly generation: number;
  /**
   * In a claim: where the timelines ended that this one goes on from. Absent in a database that was never promoted, and where
   * that cannot be read. The store judges by it and does not keep it.
   */
  readonly ended?: readonly { readonly timeline: number; readonly at: string }[];
};

/**
 * How far a dc had come when it last spoke to the store, so that a database restored from an old copy is recognised
 * even while its peers are away. Positions in PostgreSQL's log, as it prints them: `16/B374D848`.
 */
export type Positions = {
  /** How far its own log was flushed. */
  readonly log: string;
  /** How far each peer's log had reached it. A peer that was not heard of since PostgreSQL started is absent. */
  readonly received: Readonly<Record<DataCenterName, string>>;
  /** How far it had durably applied each peer's log; empty where the agent may not read that. */
  readonly applied: Readonly<Record<DataCenterName, string>>;
  /** The same of the homed streams alone; absent: as `applied`. */
  readonly homed?: Readonly<Record<DataCenterName, string>>;
  /** And of the other streams alone; absent: not known. */
  readonly rest?: Readonly<Record<DataCenterName, string>>;
  /** Its tails of those that were taken over; absent: none. */
  readonly frozen?: Readonly<Record<DataCenterName, Tail>>;
};

/** How far the log of a dc that was taken over had been applied when nothing of it could arrive any more, in either stream. */
export type Tail = {
  /** The term in which it was taken over. */
  readonly term: number;
  readonly homed: string;
  readonly rest: string;
};

/** What the store knows of one data center. Times are the store's own clock, only ever compared with each other. */
export type LeaseRecord = {
  readonly dataCenter: DataCenterName;
  readonly incarnation: Incarnation;
  readonly positions: Positions;
  /** Names the agent process that holds it; a new holder gets a new one. */
  readonly holder: string;
  /** Rises with every acquire, renew and release: the compare-and-swap token. */
  readonly revision: number;
  /**
   * `released`: its agents stopped in order. `yielded`: its database is broken, so a successor need not wait. `expired`:
   * not renewed in time, by the store's clock.
   */
  readonly state: 'held' | 'released' | 'yielded' | 'expired';
  /** For how long it was granted the last time, in milliseconds. */
  readonly ttlMs: number;
  /** Its sync set: peers that hold every write it acknowledged as `remote`. One of them may take over. */
  readonly inSync: readonly DataCenterName[];
  /** The term in which it was taken over; null unless it has yet to come back (`readmit`). Until then it gets no lease. */
  readonly takenOver: number | null;
};

export type LeaseView = {
  /** The present term: the number of the latest entry in the history of views. Starts at 1. */
  readonly term: number;
  readonly leases: readonly LeaseRecord[];
  /** The history of views: every succession since term 1, in order of its term. */
  readonly successions: readonly Succession[];
  /** Data centers that left, and the generation that each had: it comes back as a later one. Absent: none. */
  readonly departed?: Readonly<Record<DataCenterName, number>>;
};

export type LeaseResult =
  | { readonly kind: 'held'; readonly revision: number; readonly view: LeaseView }
  | {
      readonly kind: 'refused';
      readonly reason: 'held-by-other' | 'other-incarnation' | 'stale-revision' | 'taken-over';
      readonly view: LeaseView;
    };

export type LeaseClaim = {
  readonly dataCenter: DataCenterName;
  readonly holder: string;
  readonly incarnation: Incarnation;
  readonly positions: Positions;
  /** Counted by the store from when it grants the claim; the holder itself counts from when it sent it. */
  readonly ttlMs: number;
  /** Never more than what its database waits for. */
  readonly inSync: readonly DataCenterName[];
};

/**
 * A new view. `term` is the present one, which must not have changed: the new one is the next. `take` is asked for by the
 * successor, whose own lease (`holder`, `revision`) must be held, once that of `from` is not: `fromRevision` is the
 * revision that it waited for, so that a renewal it did not see refuses it. `switch` and `return` are asked for by `from`
 * itself while it holds its lease; `return` names the term of the succession that it `undoes`.
 */
export type SuccessionRequest = {
  readonly term: number;
  readonly from: DataCenterName;
  readonly to: DataCenterName;
  readonly holder: string;
  readonly revision: number;
} & (
  | {
      readonly kind: 'take';
      readonly fromRevision: number;
      /** Also when the successor is not in the sync set of `from`: a person has seen what would be lost. */
      readonly forced: boolean;
    }
  | { readonly kind: 'switch' }
  | { readonly kind: 'return'; readonly undoes: number }
);

export type SuccessionResult =
  | { readonly kind: 'succeeded'; readonly term: number; readonly view: LeaseView }
  | {
      readonly kind: 'refused';
      readonly reason: SuccessionRefusal;
      readonly view: LeaseView;
    };

/**
 * `stale-term`: there is a newer view. `no-lease`: the one who asks holds none. `still-held`: `from` holds its lease, or
 * renewed it meanwhile. `taken-over`: it was taken over already, or one of both has left. `not-in-sync`: the successor may lack acknowledged writes.
 */
export type SuccessionRefusal = 'stale-term' | 'no-lease' | 'still-held' | 'taken-over' | 'not-in-sync';

/** A dc that was taken over comes back as a new incarnation: its generation must be higher than the recorded one. */
export type Readmission = {
  readonly dataCenter: DataCenterName;
  /** The term in which it was taken over. */
  readonly takenOver: number;
  /** The present term, by what this goes: refused when it is another one by now. Absent: whichever it is. */
  readonly term?: number;
  readonly incarnation: Incarnation;
  readonly positions: Positions;
};

/** A holder and the last revision it was told: together they prove that one knows all that it knew. */
export type LeaseCredential = { readonly holder: string; readonly revision: number };

/**
 * Every method throws when the store does not answer in time or answers nonsense; what became of the request is then
 * unknown, and repeating it is safe.
 */
export interface LeaseStore {
  /** Reads everything about the cluster. */
  read(): Promise<LeaseView>;
  /**
   * Takes the dc's lease if it is free: never held, released, expired, this holder's own, or still what `predecessor`
   * left behind (another agent of the same database takes over without a gap). Refused for another incarnation than
   * the recorded one, whatever its state, and to a dc that was taken over. A promoted standby that lacks nothing (`judgeStanding`)
   * gets it once it is not held by anybody, also not by this holder: the primary before may still go by it. From then on
   * its timeline is the recorded one.
   */
  acquire(claim: LeaseClaim, predecessor?: LeaseCredential): Promise<LeaseResult>;
  /** Extends it; refused when `revision` is not the present one, or when it expired or was released meanwhile. */
  renew(claim: LeaseClaim, revision: number): Promise<LeaseResult>;
  /**
   * Gives it up explicitly; `yields`: a successor need not wait. Does nothing unless `revision` is the present one.
   */
  release(dataCenter: DataCenterName, credential: LeaseCredential, yields: boolean): Promise<void>;
  /** Decides on a new view in one step, or refuses it. A repeated request is refused as `stale-term`: compare the view. */
  succeed(request: SuccessionRequest): Promise<SuccessionResult>;
  /**
   * Lets a dc that was taken over ask for a lease again. False unless it was taken over in that very term, `term` is the present one and the
   * generation is higher; also when it was readmitted already, so compare the view. Never an earlier timeline of the recorded
   * database: a standby of it was promoted since.
   */
  readmit(readmission: Readmission): Promise<boolean>;
  /**
   * Takes a dc out for good: it is in no view any more, and gets a lease again only as a later generation (`join`). The history of
   * views stays. False while it may hold a lease (`held`, or expired for this store and not for others), or when it is not there: compare the view.
   * `revision` is the one that was seen, so that nobody who came back meanwhile is forgotten.
   */
  forget(dataCenter: DataCenterName, revision: number): Promise<boolean>;
  close(): Promise<void>;
}

/** Compares two log positions: negative when `a` is before `b`. Throws for text that is no position. */
export function comparePositions(a: string, b: string): number {
  const difference = positionValue(a) - positionValue(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** How many bytes of log lie between two positions; 0 when `to` is not beyond `from`. */
export function bytesBetween(from: string, to: string): number {
  return Math.max(0, Number(positionValue(to) - positionValue(from)));
}

/** Whether this is a log position as PostgreSQL prints it. */
export function isPosition(text: unknown): text is string {
  return typeof text === 'string' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/.test(text);
}

function positionValue(text: string): bigint {
  if (!isPosition(text)) throw new RangeError(`Not a log position: ${JSON.stringify(text)}`);
  const [high, low] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
