/** Whole transactions out of a slot, in commit order, without taking them from it. See the map in index.ts. */
import type { Queryable } from '../queryable.ts';
import { type DatabaseProblem, databaseProblem } from '../transaction.ts';
import { type Change, changesOf, DecodeError, type Relation, relationOf } from './change.ts';
import { formatLsn, type Lsn, parseLsn } from './lsn.ts';
import { type Fetched, MessageCursor } from './message-cursor.ts';
import type { ChangeMessage, PgoutputMessage } from './messages.ts';
import { readKey } from './relation-keys.ts';
import { copySlot, dropCopy, portionQuery, readSlotPosition, type SlotLost, type SlotPosition } from './slot.ts';

export type PeekOptions = {
  /** A logical slot of this database, with the plugin `pgoutput`. It is left as it is. */
  readonly slot: string;
  /** Their tables are shown. They must have been there when the changes were made. */
  readonly publications: readonly string[];
  /** The cut: only transactions whose commit record ends beyond it. `0/0`: all that the slot has. */
  readonly afterEndLsn: Lsn;
  /** Only transactions whose commit record ends at it or before. Default: what is flushed to disk at the call. */
  readonly upToLsn?: Lsn;
  /**
   * A slot may begin beyond the cut and have lost nothing: its reader also confirms log that held nothing for it. Where
   * it is known up to which position that can be so, a slot that begins beyond this is `slot-lost`. Default: no limit.
   */
  readonly beginsAtMostLsn?: Lsn;
  /** `none`: only what was written here; `any`: also what came by replication, with its origin. Default `none`. */
  readonly origin?: 'none' | 'any';
  /** About how many bytes of messages are held here at a time; a row that is larger is held whole. Default 1 MiB. */
  readonly batchBytes?: number;
};

export type DecodedTransaction = {
  readonly xid: number;
  /** Where the commit record ends. */
  readonly endLsn: Lsn;
  /** Where it begins. */
  readonly commitLsn: Lsn;
  readonly committedAt: Date;
  /** From where the transaction came by replication, and where its commit record ends there; null: written here. */
  readonly origin: { readonly name: string; readonly endLsn: Lsn } | null;
  /**
   * All changes in their order, once, about `batchBytes` at a time. To be read before the next transaction is asked for;
   * what has not been read by then is passed over.
   */
  readonly changes: AsyncIterable<readonly Change[]>;
};

export type PeekResult =
  | {
      readonly kind: 'opened';
      readonly slot: SlotPosition;
      /**
       * To be read once. While it is being read the client is in a transaction and belongs to it. Throws a DecodeError
       * when the log cannot be understood, and what `pg` throws when the connection or the log is lost on the way.
       */
      readonly transactions: AsyncIterable<DecodedTransaction>;
      /** Gives back what was opened; not needed where `transactions` was read or left. */
      close(): Promise<void>;
    }
  | SlotLost
  /** PostgreSQL does not let us: no free slot for the copy (53400), no right (42501), not a primary (55000). */
  | { readonly kind: 'refused'; readonly error: DatabaseProblem };

/**
 * For one transaction. Decoding may have much log to go through, and whoever reads may take his time: no timeout ends
 * either. Values are written so that any session reads them as they were.
 */
const settingsQuery = `SELECT pg_catalog.set_config(s.name, v.setting, true) FROM pg_catalog.pg_settings s JOIN (VALUES
    ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
    ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), ('extra_float_digits', '1'),
    ('bytea_output', 'hex'), ('search_path', 'pg_catalog')) AS v (name, setting) ON v.name = s.name`;

/** A portion on the server ends with the transaction that reaches this many messages. */
const portionMessages = 20_000;

/**
 * Shows what a slot still holds. `client` is one session, not in a transaction, of a role with REPLICATION (or a
 * superuser); peeking twice at once on one session is not possible. Needs one free replication slot.
 */
export async function peekTransactions(client: Queryable, options: PeekOptions): Promise<PeekResult> {
  if (options.publications.length === 0) throw new TypeError('peekTransactions: no publications');
  const after = parseLsn(options.afterEndLsn);
  try {
    const reading = await readSlotPosition(client, options.slot);
    if (reading.kind === 'slot-lost') return reading;
    const { slot } = reading;
    if (options.beginsAtMostLsn !== undefined && parseLsn(slot.confirmedLsn) > parseLsn(options.beginsAtMostLsn)) {
      const message = `slot ${options.slot} begins at ${slot.confirmedLsn}, beyond ${options.beginsAtMostLsn}`;
      return { kind: 'slot-lost', reason: 'beyond-cut', message, slot };
    }
    const upTo = parseLsn(options.upToLsn ?? (await flushedLsn(client)));
    const peek = new Peek(client, await copySlot(client, options.slot), options, after, upTo);
    return { kind: 'opened', slot, transactions: peek.transactions(), close: () => peek.close() };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (error === null) throw thrown;
    return { kind: 'refused', error };
  }
}

async function flushedLsn(client: Queryable): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: Lsn }>('SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS lsn');
  return (rows[0] as { lsn: Lsn }).lsn;
}

type Begin = PgoutputMessage & { readonly kind: 'begin' };
type Commit = PgoutputMessage & { readonly kind: 'commit' };

class Peek {
  readonly #client: Queryable;
  readonly #copy: string;
  readonly #options: PeekOptions;
  readonly #after: bigint;
  readonly #upTo: bigint;
  readonly #batchBytes: number;
  readonly #relations = new Map<number, Relation>();
  #closed = false;

  constructor(client: Queryable, copy: string, options: PeekOptions, after: bigint, upTo: bigint) {
    this.#client = client;
    this.#copy = copy;
    this.#options = options;
    this.#after = after;
    this.#upTo = upTo;
    this.#batchBytes = options.batchBytes ?? 1024 * 1024;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await dropCopy(this.#client, this.#copy);
  }

  async *transactions(): AsyncGenerator<DecodedTransaction, void, undefined> {
    let open = false;
    try {
      for (let isLast = false; !isLast; ) {
        await this.#client.query('BEGIN READ ONLY');
        open = true;
        const cursor = await this.#openPortion();
        const finished = yield* this.#portion(cursor);
        await this.#client.query('COMMIT');
        open = false;
        // A portion that is not full ended with the log.
        isLast = finished || cursor.position < portionMessages;
      }
    } finally {
      // A connection that is lost has taken the copy with it, and the error that says so is on its way already.
      if (open) await this.#client.query('ROLLBACK').catch(() => {});
      await this.close().catch(() => {});
    }
  }

  async #openPortion(): Promise<MessageCursor> {
    await this.#client.query(settingsQuery);
    const cursor = new MessageCursor(this.#client, this.#batchBytes);
    const { publications, origin = 'none' } = this.#options;
    const upToLsn = formatLsn(this.#upTo);
    await cursor.open(portionQuery(this.#copy, { publications, origin, upToLsn, messages: portionMessages }));
    return cursor;
  }

  /** True when `upTo` was passed. */
  async *#portion(cursor: MessageCursor): AsyncGenerator<DecodedTransaction, boolean, undefined> {
    for (;;) {
      const first = await cursor.next();
      if (first === null) return false;
      if (first.message.kind !== 'begin') throw new DecodeError(`a ${first.message.kind} where a transaction begins`);
      const begin: Begin = first.message;
      const reading = new TransactionReading(this.#client, cursor, this.#relations, this.#batchBytes);
      const commit = await reading.begin();
      if (commit.endLsn > this.#upTo) return true;
      if (commit.endLsn > this.#after) yield transactionOf(begin, commit, reading);
      await reading.passOver();
    }
  }
}

function transactionOf(begin: Begin, commit: Commit, reading: TransactionReading): DecodedTransaction {
  const { origin } = reading;
  return {
    xid: begin.xid,
    endLsn: formatLsn(commit.endLsn),
    commitLsn: formatLsn(commit.commitLsn),
    committedAt: new Date(Number(commit.committedAtUs / 1000n)),
    origin: origin === null ? null : { name: origin.name, endLsn: formatLsn(origin.lsn) },
    changes: reading.changes(),
  };
}

/** One transaction under the cursor: what has been read of it ahead, and what has been handed out. */
class TransactionReading {
  readonly #client: Queryable;
  readonly #cursor: MessageCursor;
  readonly #relations: Map<number, Relation>;
  readonly #batchBytes: number;
  #ahead: Fetched[] = [];
  #sequence = 0;
  #state: 'fresh' | 'handed-out' | 'passed' = 'fresh';
  /** The Commit has been taken from the cursor. */
  #ended = false;
  origin: (PgoutputMessage & { readonly kind: 'origin' }) | null = null;

  constructor(client: Queryable, cursor: MessageCursor, relations: Map<number, Relation>, batchBytes: number) {
    this.#client = client;
    this.#cursor = cursor;
    this.#relations = relations;
    this.#batchBytes = batchBytes;
  }

  /** Reads ahead to the end, or as far as a batch goes and then only looks for the end. */
  async begin(): Promise<Commit> {
    let commit: Commit | null = null;
    for (let bytes = 0; commit === null && bytes < this.#batchBytes; ) {
      const fetched = await this.#next();
      if (fetched.message.kind === 'commit') commit = fetched.message;
      else if (fetched.message.kind === 'origin') this.origin = fetched.message;
      else this.#ahead.push(fetched);
      bytes += fetched.bytes;
    }
    this.#ended = commit !== null;
    return commit ?? (await this.#cursor.lookForCommit());
  }

  async *changes(): AsyncGenerator<readonly Change[], void, undefined> {
    if (this.#state !== 'fresh') throw new TypeError('the changes of a transaction are read once, before the next one');
    this.#state = 'handed-out';
    for (;;) {
      const batch = await this.#nextBatch();
      if (batch === null) return;
      if (batch.length > 0) yield batch;
      if ((this.#state as string) === 'passed') throw new TypeError('the changes of a transaction that has been left');
    }
  }

  /** To its end; what describes relations is still taken in. */
  async passOver(): Promise<void> {
    while ((await this.#nextBatch()) !== null);
    this.#state = 'passed';
  }

  async #nextBatch(): Promise<readonly Change[] | null> {
    const changes: Change[] = [];
    if (this.#ahead.length > 0) {
      const ahead = this.#ahead;
      this.#ahead = [];
      for (const { message } of ahead) changes.push(...(await this.#take(message)));
      return changes;
    }
    if (this.#ended) return null;
    for (let bytes = 0; bytes < this.#batchBytes; ) {
      const fetched = await this.#next();
      bytes += fetched.bytes;
      if (fetched.message.kind === 'commit') {
        this.#ended = true;
        break;
      }
      changes.push(...(await this.#take(fetched.message)));
    }
    return changes;
  }

  async #next(): Promise<Fetched> {
    const fetched = await this.#cursor.next();
    if (fetched === null) throw new DecodeError('a transaction without an end');
    return fetched;
  }

  async #take(message: PgoutputMessage): Promise<readonly Change[]> {
    switch (message.kind) {
      case 'relation':
        this.#relations.set(message.oid, relationOf(message, await readKey(this.#client, message)));
        return [];
      case 'type':
        return [];
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        return this.#numbered(message);
      default:
        throw new DecodeError(`a ${message.kind} inside a transaction`);
    }
  }

  #numbered(message: ChangeMessage): readonly Change[] {
    const changes = changesOf(message, this.#sequence, this.#relations);
    this.#sequence += changes.length;
    return changes;
  }
}
