/** The port to a durable log of writes to `buffered` tables, and the words that its adapters share. */
import type { TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';

/** As an application gives it: a row as JSON, or the key of one to be removed. */
export type GivenWrite = {
  readonly table: TableName;
  readonly row: Readonly<Record<string, unknown>>;
  readonly remove: boolean;
};

/** Complete, with its version (stamp, dc, number). */
export type Write = {
  readonly relation: TableName;
  readonly key: readonly string[];
  /** Null: a removal. */
  readonly image: unknown;
  /** Microseconds since 1970, as decimal digits: beyond what a JavaScript number holds exactly one day. */
  readonly stamp: string;
  readonly dc: DataCenterName;
  readonly number: string;
};

export type LoggedWrite = Write & {
  /** Names it in its log. */
  readonly position: string;
  readonly at: Date;
};

/**
 * What an acknowledged write survives. `local`: it is on the disk of one server. `unsynced`: one server has it, and its
 * operating system, which may not have put it on the disk yet: it survives the end of the process, not that of the machine.
 * `replicated(n)`: n servers have it.
 */
export type LogDurability = 'local' | 'unsynced' | `replicated(${number})`;

export type Appended =
  | { readonly kind: 'buffered'; readonly durability: LogDurability; readonly position: string }
  /** The write is wrong in itself: PostgreSQL's SQLSTATE and message. Nothing was logged. */
  | { readonly kind: 'refused'; readonly state: string; readonly message: string }
  /** Nothing was logged. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** It may have been logged. Doing it again does no harm. */
  | { readonly kind: 'unknown'; readonly reason: string };

export type Lag = {
  readonly waiting: number;
  /** When the oldest of those was written. */
  readonly oldestAt: Date | null;
};

export interface BufferLog {
  readonly name: 'postgres' | 'nats';
  append(write: GivenWrite): Promise<Appended>;
  /**
   * The oldest writes that `target` has not acknowledged and nobody reads for it at the moment, in the order in which they
   * were acknowledged to applications; may wait a moment for the first.
   */
  read(target: DataCenterName, limit: number): Promise<readonly LoggedWrite[]>;
  /** `target` has these for good: they are not read for it again. What no target lacks leaves the log. */
  ack(target: DataCenterName, positions: readonly string[]): Promise<void>;
  /** What was read for `target` and not acknowledged is there to be read again. Without it that takes a while. */
  giveBack(target: DataCenterName): Promise<void>;
  lag(): Promise<ReadonlyMap<DataCenterName, Lag>>;
  close(): Promise<void>;
}
