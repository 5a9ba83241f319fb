/**
 * In the data center that returns: its own log beyond the cut, and what it applied of another dead one's log beyond that one's cut,
 * as changes for the ledger, each with its account.
 */
import { comparePositions, type DataCenterName } from 'lanekeeper/model';
import {
  type Change,
  type DecodedTransaction,
  keyOf,
  type Lsn,
  type PeekResult,
  peekTransactions,
  type Row,
  unchanged,
} from '../decode/index.ts';
import type { Queryable } from '../queryable.ts';
import { publicationName, relaySlotName, slotName, subscriptionName } from '../streams/names.ts';
import { pinSettings } from '../verify/side.ts';

/** One change of one row, with the names of the columns of `lanekeeper.stranded`. Rows are names and values as text. */
export type StrandedChange = {
  readonly end_lsn: Lsn;
  readonly sequence: number;
  /** Negative: of the copy in the log of another data center, which had applied the transaction. */
  readonly xid: number;
  /** ISO 8601. */
  readonly committed_at: string;
  readonly relation: string;
  readonly kind: 'insert' | 'update' | 'delete';
  readonly key_columns: readonly string[];
  /** Of the row as it became; of a deleted row as it was. */
  readonly key: readonly string[];
  /** When an update moved the row to another key. */
  readonly old_key: readonly string[] | null;
  /** `stream`: the log has the whole row as it was. */
  readonly base_from: 'stream' | null;
  readonly base_columns: readonly string[] | null;
  readonly base: readonly (string | null)[] | null;
  readonly image_columns: readonly string[] | null;
  readonly image: readonly (string | null)[] | null;
  /** Columns whose values are stored out of line and were not written: the log does not have them. */
  readonly unchanged: readonly string[];
  readonly account: string | null;
  readonly unresolved: string | null;
};

export type StrandedOptions = {
  /**
   * A session of its own, as the replication role: peeking needs it. It gets the settings by which values are printed
   * (`pinSettings`), and is in a transaction while it is read from.
   */
  readonly replication: Parameters<typeof pinSettings>[0];
  /** As the agent, in the same database: resolves accounts. */
  readonly agent: Queryable;
  /** Who took over: the reader of the slot. */
  readonly successor: DataCenterName;
  /** `succession.cuts -> here -> homed`: what commits beyond it is stranded, and nothing else. */
  readonly cut: Lsn;
  /**
   * How far the successor had confirmed this log, where that is known (the lease store's `positions.received`): a slot
   * that begins beyond both has been made anew, and lost what was before. A slot may begin beyond the cut alone, since a
   * reader also confirms log that held nothing for it.
   */
  readonly confirmed?: Lsn;
  /** A batch ends with the transaction, or the part of a large one, that reaches this many changes. Default 500. */
  readonly changesPerBatch?: number;
};

export type StrandedResult =
  | {
      readonly kind: 'opened';
      /** In commit order. To be read once. */
      readonly batches: AsyncIterable<readonly StrandedChange[]>;
      /** Gives back what was opened; not needed where `batches` was read to its end. */
      close(): Promise<void>;
    }
  | Exclude<PeekResult, { kind: 'opened' }>;

/**
 * Reads what is stranded. A `slot-lost` here means that nobody can say what was: the data center is seeded again.
 * Throws where the log cannot be understood, and for a row without a key.
 */
export async function strandedTransactions(options: StrandedOptions): Promise<StrandedResult> {
  await pinSettings(options.replication);
  const peeked = await peekTransactions(options.replication, {
    slot: slotName(options.successor, 'homed'),
    publications: [publicationName('homed')],
    afterEndLsn: options.cut,
    ...(options.confirmed === undefined ? {} : { beginsAtMostLsn: options.confirmed }),
  });
  if (peeked.kind !== 'opened') return peeked;
  return { kind: 'opened', batches: batchesOf(peeked.transactions, options), close: () => peeked.close() };
}

async function* batchesOf(
  transactions: AsyncIterable<DecodedTransaction>,
  options: StrandedOptions,
): AsyncGenerator<readonly StrandedChange[], void, undefined> {
  const { agent, changesPerBatch = 500 } = options;
  let batch: Unresolved[] = [];
  for await (const transaction of transactions) {
    for await (const part of transaction.changes) {
      batch.push(...part.flatMap((change) => strandedOf(transaction, change)));
      if (batch.length < changesPerBatch) continue;
      yield await withAccounts(agent, batch);
      batch = [];
    }
  }
  if (batch.length > 0) yield await withAccounts(agent, batch);
}

export type RelayedOptions = Pick<StrandedOptions, 'replication' | 'agent'> & {
  /** Whose relay slot is read: the home at which this data center comes back. */
  readonly reader: DataCenterName;
  /** Whose transactions: a data center that was taken over. */
  readonly publisher: DataCenterName;
  /** What commits beyond it in the log of `publisher` is stranded. */
  readonly cut: Lsn;
};

export type RelayedResult =
  | {
      readonly kind: 'opened';
      /** In the order in which they were applied here. Each is read to its end before the next one. */
      readonly transactions: AsyncIterable<AsyncIterable<readonly StrandedChange[]>>;
      close(): Promise<void>;
    }
  | Exclude<PeekResult, { kind: 'opened' }>;

/**
 * What was applied here of the homed stream of another data center, under the names that its transactions have there. The numbers
 * of the changes are those of the stream, which are the publisher's own as long as no trigger here kept a row back.
 */
export async function relayedTransactions(options: RelayedOptions): Promise<RelayedResult> {
  const { replication, agent, reader, publisher, cut } = options;
  await pinSettings(replication);
  const { rows } = await agent.query<{ origin: string }>(
    `SELECT 'pg_' || s.oid AS origin FROM pg_catalog.pg_subscription s
      JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() AND s.subname = $1`,
    [subscriptionName(publisher, 'homed')],
  );
  const origin = rows[0]?.origin;
  const peeked = await peekTransactions(replication, {
    slot: relaySlotName(reader),
    publications: [publicationName('homed')],
    afterEndLsn: '0/0',
    origin: 'any',
  });
  if (peeked.kind !== 'opened') return peeked;
  const { transactions } = peeked;
  async function* relayed() {
    for await (const transaction of transactions) {
      const source = transaction.origin;
      if (source === null || source.name !== origin || comparePositions(source.endLsn, cut) <= 0) continue;
      yield partsOf({ ...transaction, endLsn: source.endLsn, xid: -transaction.xid }, agent);
    }
  }
  return { kind: 'opened', transactions: relayed(), close: () => peeked.close() };
}

/** A repair puts rows in place before it is written down itself. */
const repairIsAmong = 10;

async function* partsOf(
  transaction: DecodedTransaction,
  agent: Queryable,
): AsyncGenerator<readonly StrandedChange[], void, undefined> {
  let ahead: Change[] | null = [];
  const convert = (changes: readonly Change[]) =>
    withAccounts(
      agent,
      changes.flatMap((change) => strandedOf(transaction, change)),
    );
  for await (const part of transaction.changes) {
    if (ahead === null) {
      yield await convert(part);
      continue;
    }
    ahead.push(...part);
    if (ahead.length < repairIsAmong) continue;
    if (isRepair(ahead)) return;
    yield await convert(ahead);
    ahead = null;
  }
  if (ahead !== null && !isRepair(ahead)) yield await convert(ahead);
}

/** Rows as their home had them, and no writes of anybody. */
function isRepair(changes: readonly Change[]): boolean {
  return changes
    .slice(0, repairIsAmong)
    .some(({ relation }) => relation.schema === 'lanekeeper' && relation.name === 'repair');
}

type Unresolved = Omit<StrandedChange, 'account' | 'unresolved'>;

/** Nothing for `lanekeeper.repair`: it carries a row that is somebody else's, and is written there again. */
function strandedOf(transaction: DecodedTransaction, change: Change): readonly Unresolved[] {
  const relation = `${change.relation.schema}.${change.relation.name}`;
  if (relation === 'lanekeeper.repair') return [];
  if (change.kind === 'truncate') throw new Error(`a TRUNCATE of ${relation} is stranded, and nothing can undo it`);
  const key = keyOf(change);
  if (key === null) throw new Error(`a change of ${relation} is stranded, and its rows have no key`);
  const present = key.new ?? (key.old as readonly string[]);
  const moved = change.kind === 'update' && JSON.stringify(key.old) !== JSON.stringify(key.new);
  const before = change.kind === 'insert' ? null : change.old;
  const whole = before !== null && change.relation.identity === 'full';
  const after = change.kind === 'delete' ? null : known(change.new);
  const base = before === null ? null : known(before);
  const stranded: Unresolved = {
    end_lsn: transaction.endLsn,
    sequence: change.sequence,
    xid: transaction.xid,
    committed_at: transaction.committedAt.toISOString(),
    relation,
    kind: change.kind,
    key_columns: key.columns,
    key: present,
    old_key: moved ? key.old : null,
    base_from: whole ? 'stream' : null,
    base_columns: base?.names ?? null,
    base: base?.values ?? null,
    image_columns: after?.names ?? null,
    image: after?.values ?? null,
    unchanged:
      change.kind === 'delete' ? [] : [...change.new].flatMap(([name, value]) => (value === unchanged ? [name] : [])),
  };
  return [stranded];
}

function known(row: Row): { readonly names: string[]; readonly values: (string | null)[] } {
  const names: string[] = [];
  const values: (string | null)[] = [];
  for (const [name, value] of row) {
    if (typeof value === 'object' && value !== null) continue;
    names.push(name);
    values.push(value);
  }
  return { names, values };
}

/** Through parents that are still here; the home tries again with what it has. */
async function withAccounts(agent: Queryable, batch: readonly Unresolved[]): Promise<readonly StrandedChange[]> {
  const rows = batch.map((change, i) => ({
    i,
    relation: change.relation,
    columns: change.image_columns ?? change.base_columns,
    vals: change.image ?? change.base,
  }));
  const { rows: found } = await agent.query<{ i: number; account: string | null }>(
    `SELECT x.i, lanekeeper.whose(x.relation, x.columns, x.vals) AS account
      FROM jsonb_to_recordset($1::jsonb) AS x(i integer, relation text, columns text[], vals text[])`,
    [JSON.stringify(rows)],
  );
  const accounts = new Map(found.map(({ i, account }) => [i, account]));
  return batch.map((change, i) => {
    const account = accounts.get(i) ?? null;
    return { ...change, account, unresolved: account === null ? whyUnresolved(change) : null };
  });
}

function whyUnresolved(change: Unresolved): string {
  if (change.relation.startsWith('lanekeeper.') && change.kind !== 'delete') return 'it belongs to no account';
  if (change.kind === 'delete') return 'the log has only the key of a deleted row';
  return 'the row that leads to its account is not there';
}
