/** What a fault is: how it is brought about, how it is healed, and what customers may notice. */
import type { Arena } from './arena.ts';

export type FaultGroup = 'processes' | 'clocks' | 'links' | 'data' | 'storage' | 'protocol' | 'traffic';

export const faultGroups: readonly FaultGroup[] = [
  'processes',
  'clocks',
  'links',
  'data',
  'storage',
  'protocol',
  'traffic',
];

export type Expectation = {
  /** In words, for people. */
  readonly text: string;
  /**
   * Within how long after the fault began every customer, of whatever home, has got something done again. `after: 'heal'`: only
   * once it is healed. Null: nothing is expected of it.
   */
  readonly writesAgainMs: number | null;
  readonly after: 'fault' | 'heal';
  /** The longest pause of accounts homed elsewhere; null: they are affected, and `why`. */
  readonly othersPauseMs: number | null;
  readonly why?: string;
};

export type FaultNeeds = {
  /** Packets on loopback can be dropped: nftables in a network namespace of its own. */
  readonly packets?: true;
  /** A lease store of three etcd members. */
  readonly etcd?: true;
  /** Clocks that can be set (libfaketime), in a lab that was started with them. */
  readonly clocks?: true;
  /** Three data centers. */
  readonly third?: true;
  /** Disks that are small, in a lab that was started on them. */
  readonly smallDisk?: true;
  /** Data centers that say that they have standbys, in a lab that was started so. */
  readonly standbys?: true;
};

export type Fault = {
  readonly name: string;
  readonly group: FaultGroup;
  readonly description: string;
  readonly expectation: Expectation;
  readonly needs?: FaultNeeds;
  /** From injection to healing. */
  readonly holdMs: number;
  /** Whether its clocks cannot be believed, so that orders are not compared by time. */
  readonly bendsTime?: true;
  /** Whether a takeover is measured: detect, lease wait, promote, first write, last client. */
  readonly takesOver?: true;
  /** Whether the lab is not used again afterwards, because no short way leads back to what it was. */
  readonly usesUp?: true;
  /** Before the load, when nothing may fail yet. */
  prepare?(arena: Arena): Promise<void>;
  inject(arena: Arena): Promise<void>;
  /** Default: everything that was put down with `undo`. */
  heal?(arena: Arena): Promise<void>;
  /** What went wrong, when everything has settled; beyond the invariants. */
  inspect?(arena: Arena): Promise<readonly string[]>;
};

/** The default lease, its skew and a little more. */
export const longerThanLeaseMs = 13_000;

/** Default lease 6 s, skew 1 s, and 2 s to notice and to promote; the rest is for a machine that runs everything at once. */
export const backAfterTakeoverMs = 12_000;

/** Customers of neither data center wait longer than one attempt. */
export function unnoticed(text: string): Expectation {
  return { text, writesAgainMs: 6_000, after: 'fault', othersPauseMs: 3_000 };
}

export function takeoverExpectation(text: string): Expectation {
  return { text, writesAgainMs: backAfterTakeoverMs, after: 'fault', othersPauseMs: 6_000 };
}
