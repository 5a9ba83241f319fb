/**
 * Applies transactions out of another data center's log as a worker would: as replica, each table as its owner, under the
 * origin of our own subscription from where they were written, and each together with how far that is.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Change, DecodedTransaction, Lsn } from '../decode/index.ts';
import { quoteName } from '../fence/names.ts';
import type { StreamName } from '../streams/names.ts';
import { pinSettings } from '../verify/side.ts';
import {
  deleteStatement,
  existsStatement,
  type Insert,
  insertStatement,
  nameOf,
  ReplayProblem,
  type Statement,
  updateStatement,
} from './statements.ts';
import { readTarget, type Target } from './target.ts';

export type ApplierOptions = {
  /** As the agent, a session of its own. */
  readonly client: Client;
  /** Whose log it is, in which term it was taken over, and in which stream this came. */
  readonly of: DataCenterName;
  readonly term: number;
  readonly stream: StreamName;
  /** Of our subscription from there, which is off. */
  readonly origin: string;
  /** Rows may be missing here that were taken away, and are sent again: this data center is coming back. */
  readonly mayLackRows: boolean;
};

/** Of one INSERT: at most so many rows, and so many values. */
const rowsMax = 500;
const valuesMax = 20_000;

export class Applier {
  readonly #options: ApplierOptions;
  readonly #targets = new Map<string, Target>();
  #role: string | null = null;

  private constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** Throws what PostgreSQL says when the origin is in use, or the right to use it is missing. */
  static async open(options: ApplierOptions): Promise<Applier> {
    const { client, origin } = options;
    await pinSettings(client);
    // Only the last one has to be waited for: each is there altogether, with its progress, or not at all.
    await client.query(`SET session_replication_role = replica; SET synchronous_commit = off; SET statement_timeout = 0;
      SET idle_in_transaction_session_timeout = 0; SET default_transaction_isolation = 'read committed'`);
    await client.query('SELECT pg_catalog.pg_replication_origin_session_setup($1)', [origin]);
    return new Applier(options);
  }

  async apply(transaction: DecodedTransaction, endLsn: Lsn): Promise<void> {
    await this.#inTransaction(endLsn, transaction.committedAt, async () => {
      for await (const batch of transaction.changes) await this.#applyBatch(batch);
    });
  }

  /** Everything up to there is here. On disk when it returns. */
  async reach(endLsn: Lsn): Promise<void> {
    await this.#inTransaction(endLsn, new Date(), async () => {
      await this.#options.client.query('SET LOCAL synchronous_commit = local');
    });
  }

  /** Shared rows as another data center has them, printed as `lanekeeper.change`: merged here like any that arrives. */
  async merge(changes: readonly string[]): Promise<void> {
    await this.#options.client.query(
      'INSERT INTO lanekeeper.change SELECT (x::lanekeeper.change).* FROM unnest($1::text[]) x',
      [changes],
    );
  }

  async #inTransaction(endLsn: Lsn, committedAt: Date, work: () => Promise<void>): Promise<void> {
    const { client, of, term, stream } = this.#options;
    await client.query('BEGIN');
    this.#role = null;
    try {
      await client.query('SELECT pg_catalog.pg_replication_origin_xact_setup($1::pg_lsn, $2::timestamptz)', [
        endLsn,
        committedAt.toISOString(),
      ]);
      // Locks it: the streams stay as they are, and whoever began to thaw them is waited for.
      const { rowCount } = await client.query(
        `UPDATE lanekeeper.frozen SET ${stream} = greatest(${stream}, $1::pg_lsn) WHERE publisher = $2 AND term = $3`,
        [endLsn, of, term],
      );
      if (rowCount !== 1) throw new ReplayProblem(`the streams from ${of} are not the ones that ended in term ${term}`);
      // Whoever records a takeover holds that row too, and says in it how much was here.
      const { rows: told } = await client.query(
        'SELECT FROM lanekeeper.succession WHERE to_dc = lanekeeper.dc() AND term >= $1 AND cuts ? $2',
        [term, of],
      );
      if (told.length > 0) throw new ReplayProblem(`how much of ${of} is here has been told already`);
      await work();
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  async #applyBatch(changes: readonly Change[]): Promise<void> {
    // A row that was sent to mend one: what it did there is in that log as well, and its trigger does it here.
    const isRepair = changes.some((change) => nameOf(change) === repairTable);
    let inserts: Insert[] = [];
    const flush = async () => {
      const rows = inserts;
      inserts = [];
      if (rows.length > 0) await this.#insert(rows);
    };
    for (const change of changes) {
      if (isRepair && nameOf(change) !== repairTable) continue;
      if (change.kind === 'insert') {
        const [first] = inserts;
        const isFull =
          inserts.length >= rowsMax || inserts.length * change.new.size >= valuesMax || change.new.size === 0;
        if (first !== undefined && (first.relation !== change.relation || isFull)) await flush();
        inserts.push(change);
        continue;
      }
      await flush();
      if (change.kind === 'truncate') throw new ReplayProblem(`a TRUNCATE of ${nameOf(change)} is never replayed`);
      await this.#touch(change);
    }
    await flush();
  }

  async #insert(changes: readonly Insert[]): Promise<void> {
    const target = await this.#target(changes[0] as Insert);
    await this.#run(insertStatement(target, changes));
  }

  async #touch(change: Extract<Change, { kind: 'update' | 'delete' }>): Promise<void> {
    const target = await this.#target(change);
    const statement = change.kind === 'update' ? updateStatement(target, change) : deleteStatement(target, change);
    if ((await this.#run(statement)) > 0) return;
    // A trigger may have kept it as it is (a deed that is newer); a row that is missing is a gap.
    if (this.#options.mayLackRows) return;
    if ((await this.#run(existsStatement(target, change))) > 0) return;
    throw new ReplayProblem(
      `a row of ${nameOf(change)} is missing here that ${this.#options.of} had ${change.kind === 'update' ? 'changed' : 'deleted'}`,
    );
  }

  async #run({ text, values }: Statement): Promise<number> {
    return (await this.#options.client.query(text, [...values])).rowCount ?? 0;
  }

  async #target(change: Change): Promise<Target> {
    const name = nameOf(change);
    const { schema, name: relation } = change.relation;
    const target = this.#targets.get(name) ?? (await readTarget(this.#options.client, schema, relation));
    if (target === null) throw new ReplayProblem(`there is no table ${name} here`);
    this.#targets.set(name, target);
    if (this.#role !== target.owner) {
      await this.#options.client.query(`SET LOCAL ROLE ${quoteName(target.owner)}`);
      this.#role = target.owner;
    }
    return target;
  }
}

const repairTable = 'lanekeeper.repair';
