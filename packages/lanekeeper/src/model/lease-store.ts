/**
 * The port to the lease store: a small, strongly consistent store outside any single data center, which decides who
 * may write at all (R4). Adapters live in the server's `lease/` room; every adapter passes one conformance suite.
 */
import type { DataCenterName } from './words.ts';

/** A data center's identity in time: a restored or re-seeded database is a different incarnation of the same dc. */
export type Incarnation = {
  /** PostgreSQL's system identifier, as text: it does not fit a double. */
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** Rises when the dc was taken over or restored. Starts at 1. */
  readonly generation: number;
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
  readonly state: 'held' | 'released' | 'expired';
};

export type LeaseView = {
  /** The present term: the number of the latest entry in the history of views. Starts at 1. */
  readonly term: number;
  readonly leases: readonly LeaseRecord[];
};

export type LeaseResult =
  | { readonly kind: 'held'; readonly revision: number; readonly view: LeaseView }
  | {
      readonly kind: 'refused';
      readonly reason: 'held-by-other' | 'other-incarnation' | 'stale-revision';
      readonly view: LeaseView;
    };

export type LeaseClaim = {
  readonly dataCenter: DataCenterName;
  readonly holder: string;
  readonly incarnation: Incarnation;
  readonly positions: Positions;
  /** Counted by the store from when it grants the claim; the holder itself counts from when it sent it. */
  readonly ttlMs: number;
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
   * the recorded one, whatever its state.
   */
  acquire(claim: LeaseClaim, predecessor?: LeaseCredential): Promise<LeaseResult>;
  /** Extends it; refused when `revision` is not the present one, or when it expired or was released meanwhile. */
  renew(claim: LeaseClaim, revision: number): Promise<LeaseResult>;
  /** Gives it up explicitly, so that a successor need not wait. Does nothing unless `revision` is the present one. */
  release(dataCenter: DataCenterName, credential: LeaseCredential): Promise<void>;
  close(): Promise<void>;
}

/** Compares two log positions: negative when `a` is before `b`. Throws for text that is no position. */
export function comparePositions(a: string, b: string): number {
  const difference = positionValue(a) - positionValue(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
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
