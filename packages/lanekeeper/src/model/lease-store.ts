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

/** What the store knows of one data center. Times are the store's own clock, only ever compared with each other. */
export type LeaseRecord = {
  readonly dataCenter: DataCenterName;
  readonly incarnation: Incarnation;
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

export interface LeaseStore {
  /** Reads everything about the cluster. Throws when the store cannot be reached within `timeoutMs`. */
  read(): Promise<LeaseView>;
  /** Takes the dc's lease if it is free (released, expired or this holder's own). */
  acquire(dataCenter: DataCenterName, holder: string, incarnation: Incarnation, ttlMs: number): Promise<LeaseResult>;
  /** Extends it; refused when `revision` is not the present one. */
  renew(dataCenter: DataCenterName, holder: string, revision: number, ttlMs: number): Promise<LeaseResult>;
  /** Gives it up explicitly, so that a successor need not wait. Safe to repeat. */
  release(dataCenter: DataCenterName, holder: string, revision: number): Promise<void>;
  close(): Promise<void>;
}
