/** What carrying out an action may use, and how a failure is put into words. */
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';
import type { Promotion } from './promotion.ts';
import type { StandbyList } from './standby-list.ts';

export type EffectContext = {
  readonly configuration: Configuration;
  readonly instance: string;
  readonly database: LocalDatabase;
  /** The session that holds the lead: what is written on it cannot come from an agent that lost it. */
  readonly session: Client;
  readonly store: LeaseStore;
  /** Our subscriptions by the peer they read from. */
  readonly subscriptions: Readonly<Record<DataCenterName, readonly string[]>>;
  readonly mayReadOrigins: boolean;
  /** Why `remote` commits cannot wait for a peer that is there; null when they can. */
  readonly onSyncProblem: (problem: string | null) => void;
  readonly promotion: Promotion;
  readonly standbys: StandbyList;
  readonly log: Log;
};

export function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
