/**
 * What the output plugin `pgoutput` says, as data: PostgreSQL's manual, "Logical Replication Message Formats". Messages of
 * prepared transactions are not among them, as Lanekeeper wants `max_prepared_transactions = 0`.
 */

/** The value of a column that was not changed and is stored out of line: it is not in the log. Known by identity. */
export const unchanged = Object.freeze({ unchanged: true } as const);
export type Unchanged = typeof unchanged;

/** Text in the connection's encoding; a Buffer when the plugin was asked for binary values and the type has such. */
export type TupleValue = string | null | Unchanged | Buffer;

/** One value per column of the relation. */
export type Tuple = readonly TupleValue[];

/** What the old tuple of an update or delete holds: the columns of the replica identity (all others null), or all. */
export type OldTuple = { readonly is: 'key' | 'row'; readonly tuple: Tuple };

/** `ALTER TABLE … REPLICA IDENTITY`; `default` is the primary key. */
export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index';

export type MessageColumn = {
  readonly name: string;
  readonly typeOid: number;
  /** `pg_attribute.atttypmod`; -1 when there is none. */
  readonly typeModifier: number;
  /** Part of the replica identity; with `full` every column is. */
  readonly inIdentity: boolean;
};

/** Microseconds since 1970 in UTC. */
export type Microseconds = bigint;

/** In a streamed transaction (protocol 2): the subtransaction that made the change. Otherwise null. */
type Streamed = { readonly xid: number | null };

export type RelationMessage = Streamed & {
  readonly kind: 'relation';
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly identity: ReplicaIdentity;
  readonly columns: readonly MessageColumn[];
};

export type ChangeMessage =
  | (Streamed & { readonly kind: 'insert'; readonly oid: number; readonly new: Tuple })
  | (Streamed & {
      readonly kind: 'update';
      readonly oid: number;
      /** Null: the replica identity is not `full`, and the key stayed what it was. */
      readonly old: OldTuple | null;
      readonly new: Tuple;
    })
  | (Streamed & { readonly kind: 'delete'; readonly oid: number; readonly old: OldTuple })
  | (Streamed & {
      readonly kind: 'truncate';
      readonly oids: readonly number[];
      readonly cascade: boolean;
      readonly restartIdentity: boolean;
    });

export type PgoutputMessage =
  | {
      readonly kind: 'begin';
      readonly xid: number;
      /** Where the commit record of this transaction begins. */
      readonly commitLsn: bigint;
      readonly committedAtUs: Microseconds;
    }
  | {
      readonly kind: 'commit';
      readonly commitLsn: bigint;
      /** Where the commit record ends: what a subscriber's origin shows when it has applied the transaction. */
      readonly endLsn: bigint;
      readonly committedAtUs: Microseconds;
    }
  /** The transaction came from elsewhere: where its commit record ends there. */
  | { readonly kind: 'origin'; readonly lsn: bigint; readonly name: string }
  | RelationMessage
  | (Streamed & { readonly kind: 'type'; readonly oid: number; readonly schema: string; readonly name: string })
  | ChangeMessage
  /** `pg_logical_emit_message`. */
  | (Streamed & {
      readonly kind: 'message';
      readonly transactional: boolean;
      readonly lsn: bigint;
      readonly prefix: string;
      readonly content: Buffer;
    })
  | { readonly kind: 'stream-start'; readonly xid: number; readonly firstSegment: boolean }
  | { readonly kind: 'stream-stop' }
  | {
      readonly kind: 'stream-commit';
      readonly xid: number;
      readonly commitLsn: bigint;
      readonly endLsn: bigint;
      readonly committedAtUs: Microseconds;
    }
  | {
      readonly kind: 'stream-abort';
      readonly xid: number;
      /** Equal to `xid` when the whole transaction was aborted. */
      readonly subxid: number;
      /** Only with protocol 4 and `streaming = parallel`. */
      readonly aborted: { readonly lsn: bigint; readonly atUs: Microseconds } | null;
    };
