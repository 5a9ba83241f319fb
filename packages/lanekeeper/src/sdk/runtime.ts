/** What all rooms of one `createLanekeeper` share. Kept off the public object, so that applications see no internals. */
import type { Configuration } from '../config/index.ts';
import { type AccountId, type DataCenterName, fixedAccount, LanekeeperError, singleAccount } from '../model/index.ts';
import type { HandoffMemory, KeyRing } from '../session/index.ts';
import type { AgentClient } from './agent-client.ts';
import type { Lanekeeper } from './api.ts';
import type { Bookmarks } from './bookmarks.ts';
import type { Caches } from './cache.ts';
import type { Conflicts } from './conflicts.ts';
import type { Databases } from './databases.ts';
import type { Deeds, RunSql } from './deeds.ts';
import type { DrainGate } from './gate.ts';
import type { Lanes } from './lanes.ts';
import type { OneSession } from './one-session.ts';
import type { Singletons } from './singleton.ts';
import type { Successions } from './successions.ts';

export type Runtime = {
  readonly configuration: Configuration;
  readonly here: DataCenterName;
  /** For questions to any data center's database, with the application's role. */
  readonly databases: Databases;
  readonly ring: KeyRing;
  readonly handoffs: HandoffMemory;
  readonly gate: DrainGate;
  readonly deeds: Deeds;
  readonly agents: AgentClient;
  /** Those of another data center. */
  agentsOf(dataCenter: DataCenterName): AgentClient;
  readonly successions: Successions;
  readonly bookmarks: Bookmarks;
  /** The databases of all data centers; null unless `routing: connection`. */
  readonly lanes: Lanes | null;
  /** One statement on a connection of the SDK's own. */
  readonly run: RunSql;
  /** Records in its home (default: here) that the account is in use; at most once a minute, and never in anybody's way. */
  touch(account: AccountId, at?: DataCenterName): void;
  readonly singletons: Singletons;
  readonly caches: Caches;
  /** Null with `sessions.concurrent: allow`. */
  readonly oneSession: OneSession | null;
  readonly conflicts: Conflicts;
};

const runtimes = new WeakMap<Lanekeeper, Runtime>();

export function setRuntime(lanekeeper: Lanekeeper, runtime: Runtime): void {
  runtimes.set(lanekeeper, runtime);
}

export function runtimeOf(lanekeeper: Lanekeeper): Runtime {
  const runtime = runtimes.get(lanekeeper);
  if (runtime === undefined) throw new TypeError('This is not what createLanekeeper returned.');
  return runtime;
}

/** The account whose deed counts: with a single home there is one for everything but what has a fixed home. */
export function ownerOf({ configuration }: Runtime, account: AccountId): AccountId {
  return configuration.homes === 'single' && !isFixed(configuration, account) ? singleAccount : account;
}

function isFixed({ fixed }: Configuration, account: AccountId): boolean {
  return Object.keys(fixed).some((name) => fixedAccount(name) === account);
}

/** @throws {LanekeeperError} `LK_CONFIG` when the configuration has no such fixed home */
export function requireFixedHome({ fixed }: Configuration, name: string): void {
  if (Object.hasOwn(fixed, name)) return;
  const known = Object.keys(fixed).join(', ') || 'none';
  throw new LanekeeperError('LK_CONFIG', `There is no fixed home ${name} in the configuration. There is: ${known}.`);
}
