/** What one edge process holds, and every request of it shares. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Bag, Bagged } from './bag.ts';
import type { KeepBudget } from './body.ts';
import type { Counters } from './counters.ts';
import type { Hold } from './hold.ts';
import type { Identity } from './identity.ts';
import type { Log } from './options.ts';
import type { Pace } from './pace.ts';
import type { RateLimit } from './rate-limit.ts';
import type { RoutingTable } from './route.ts';
import type { Upstream } from './upstream.ts';

/** See `Attempt`. */
export type Waiting = Bagged & { giveUp(): void };

export type EdgeContext = {
  readonly here: DataCenterName;
  /** Of its configuration. */
  readonly digest: string;
  readonly names: ReadonlySet<DataCenterName>;
  readonly table: RoutingTable;
  /** By origin: application instances and other edges. */
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly identity: Identity;
  readonly counters: Counters;
  readonly budget: KeepBudget;
  /** Replays by the customer's address. */
  readonly replays: RateLimit;
  /** Clients that send, and clients that read. */
  readonly sending: Pace;
  readonly reading: Pace;
  readonly log: Log;
  /** Another edge turned out to be unreachable: look again soon, and until then spare the customers the wait. */
  readonly peerFailed: (name: DataCenterName) => void;
  /** Requests that wait for an answer of another edge, so that they need not wait when it is lost. */
  readonly waitingFor: ReadonlyMap<DataCenterName, Bag<Waiting>>;
  readonly held: Bag<Hold>;
  /** There is news: whoever is held looks where to go again. */
  readonly lookAgain: () => void;
  readonly tunnels: Set<{ destroy(): void }>;
  readonly tunnelIdleMs: number;
  draining: boolean;
};
