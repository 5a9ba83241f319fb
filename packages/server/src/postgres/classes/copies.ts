/**
 * Copies as of a moment: a table whose rows are what a query found at one moment, in this data center and in all others.
 *
 * 1. What a copy says of itself is written in the transaction that makes it, and travels in the same stream.
 * 2. `complete` means that every data center's writes before the moment were here (`arrival.ts`); otherwise it says whose
 *    may be missing, and why.
 * 3. One statement reads, so that the copy is of one snapshot; only rows that differ are written, and so travel.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { TableInfo } from '../catalog.ts';
import type { Connect } from '../connect.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import type { Queryable } from '../queryable.ts';
import { quoteList } from '../sql-text.ts';
import { joinedPeers, readMembers } from '../streams/members.ts';
import { type DatabaseProblem, databaseProblem } from '../transaction.ts';
import { awaitMerges, awaitPeer, awaitWriters } from './arrival.ts';

export type CopyState = {
  readonly table: TableName;
  readonly asOf: Date;
  /** The latest moment of the schedule that it serves. */
  readonly due: Date;
  readonly madeAt: Date;
  readonly madeIn: DataCenterName;
  readonly rows: number;
  /** How many rows were written to make it. */
  readonly changed: number;
  readonly complete: boolean;
  readonly missing: Readonly<Record<DataCenterName, string>>;
};

export type RefreshOptions = {
  /** Of the feeder. */
  readonly configuration: Configuration;
  readonly table: TableName;
  readonly asOf: Date;
  /** The moment of the schedule that it serves. */
  readonly due: Date;
  /** As the agent, of the feeder itself; nothing else uses this connection meanwhile. */
  readonly client: Client;
  /** As the agent, of the others. */
  readonly connect: (dc: DataCenterName) => Connect;
  /** Make it although writes of others may be missing, and record whose. Default false. */
  readonly evenIncomplete?: boolean;
  /** How long the writes of others are waited for. */
  readonly arriveWithinMs: number;
  /** `statement_timeout` of the query and of each statement that writes. */
  readonly statementTimeoutMs: number;
  /** Ends the wait for others early. */
  readonly signal?: AbortSignal;
};

export type RefreshResult =
  | { readonly kind: 'made'; readonly state: CopyState }
  /** Nothing was changed: writes before the moment may be missing here. Data center → reason. */
  | { readonly kind: 'incomplete'; readonly missing: CopyState['missing'] }
  /** Somebody else is making it. */
  | { readonly kind: 'busy' }
  /** Nothing was changed: what the query returns does not fit, or PostgreSQL refused. */
  | { readonly kind: 'failed'; readonly error: DatabaseProblem };

export async function readCopies(client: Queryable): Promise<readonly CopyState[]> {
  const { rows } = await client.query<CopyState>(
    `SELECT relation AS "table", as_of AS "asOf", due, made_at AS "madeAt", made_in AS "madeIn", rows::float8 AS rows,
        changed::float8 AS changed, complete, missing FROM lanekeeper.copy ORDER BY relation`,
  );
  return rows;
}

/** The latest moment of the schedule that has come. */
export function latestDue(copy: { readonly everyMs: number; readonly atMs: number }, nowMs: number): Date {
  return new Date(nowMs - ((((nowMs - copy.atMs) % copy.everyMs) + copy.everyMs) % copy.everyMs));
}

export async function refreshCopy(options: RefreshOptions): Promise<RefreshResult> {
  const { configuration, table, client, asOf } = options;
  const copy = configuration.tables[table]?.copy;
  if (!copy) throw new TypeError(`${table} is not declared as a copy`);
  const info = (await readCatalog(client)).tables.get(table);
  if (info === undefined) return failed('42P01', `there is no table ${table} in this database`);
  if (info.primaryKey.length === 0) return failed('42P10', `${table} has no primary key`);

  const missing = await awaitAll(options);
  if (Object.keys(missing).length > 0 && options.evenIncomplete !== true) return { kind: 'incomplete', missing };
  try {
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
    const made = await make(options, info, copy.query, missing);
    await client.query(made === null ? 'ROLLBACK' : 'COMMIT');
    return made === null ? { kind: 'busy' } : { kind: 'made', state: made };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (error === null) throw thrown;
    await client.query('ROLLBACK');
    return { kind: 'failed', error };
  }

  function failed(code: string, message: string): RefreshResult {
    return {
      kind: 'failed',
      error: { code, message: `as of ${asOf.toISOString()}: ${message}`, detail: null, hint: null },
    };
  }
}

/** Everybody at the same time, this data center's own writers as well. */
async function awaitAll(options: RefreshOptions): Promise<CopyState['missing']> {
  const { configuration, client, connect, asOf, arriveWithinMs, signal } = options;
  const { here } = configuration;
  const arrival = { moment: asOf, reader: here, withinMs: arriveWithinMs, ...(signal ? { signal } : {}) };
  const endMs = performance.now() + arriveWithinMs;
  const [own, ...others] = await Promise.all([
    awaitWriters(client, asOf, endMs, signal),
    ...joinedPeers(configuration, await readMembers(client)).map(
      async (dc) => [dc, await awaitPeer(connect(dc), arrival)] as const,
    ),
  ]);
  const all = [[here, own ?? (await awaitMerges(client, endMs, signal))] as const, ...others];
  return Object.fromEntries(all.flatMap(([dc, reason]) => (reason === null ? [] : [[dc, reason] as const])));
}

/** In the caller's transaction. Null: somebody else is making it. */
async function make(
  options: RefreshOptions,
  info: TableInfo,
  query: string,
  missing: CopyState['missing'],
): Promise<CopyState | null> {
  const { client, configuration, table, asOf, due } = options;
  const { rows: locks } = await client.query<{ locked: boolean }>(
    'SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 7239009)) AS locked',
    [table],
  );
  if (!locks[0]?.locked) return null;
  await client.query(`SET LOCAL statement_timeout = ${Math.floor(options.statementTimeoutMs)}`);
  await client.query('SELECT lanekeeper.publishing($1::text)', [table]);
  // What the query calls by its bare name is meant as in the copy's own schema.
  await client.query(`SET LOCAL ROLE ${quoteName(configuration.roles.owner)}`);
  await client.query(`SET LOCAL search_path = ${quoteList([...new Set([info.schema, 'public'])])}`);

  const moment = /\$1\b/.test(query) ? [asOf.toISOString()] : [];
  const found = `(${query.replace(/;\s*$/, '')}\n) AS found`;
  const { fields } = await client.query(`SELECT * FROM ${found} LIMIT 0`, moment);
  const names = fields.map(({ name }) => name);
  const made = `pg_temp.${quoteName('lanekeeper_copy')}`;
  await client.query(`CREATE TEMPORARY TABLE lanekeeper_copy (LIKE ${quoteTable(info)}) ON COMMIT DROP`);
  await client.query(`INSERT INTO ${made} (${quoteList(names)}) SELECT ${quoteList(names)} FROM ${found}`, moment);
  await client.query(`ALTER TABLE ${made} ADD PRIMARY KEY (${quoteList(info.primaryKey)})`);
  await client.query(`ANALYZE ${made}`);
  const { changed, rows } = await writeDifference(client, info, made, names);

  await client.query('RESET search_path');
  const state = await client.query<CopyState>(
    `INSERT INTO lanekeeper.copy AS c (relation, as_of, due, made_in, rows, changed, complete, missing)
      VALUES ($1, $2, $3, lanekeeper.dc(), $4, $5, $6::jsonb = '{}', $6)
      ON CONFLICT (relation) DO UPDATE SET as_of = excluded.as_of, due = excluded.due, made_at = excluded.made_at, made_in = excluded.made_in,
        rows = excluded.rows, changed = excluded.changed, complete = excluded.complete, missing = excluded.missing
      RETURNING relation AS "table", as_of AS "asOf", due, made_at AS "madeAt", made_in AS "madeIn", rows::float8 AS rows,
        changed::float8 AS changed, complete, missing`,
    [table, asOf.toISOString(), due.toISOString(), rows, changed, JSON.stringify(missing)],
  );
  await client.query('RESET ROLE');
  return state.rows[0] as CopyState;
}

/** Compared as they are stored: types without an equality are compared too, and 1.0 is not 1.00. */
async function writeDifference(
  client: Client,
  info: TableInfo,
  made: string,
  names: readonly string[],
): Promise<{ readonly changed: number; readonly rows: number }> {
  const target = quoteTable(info);
  const sameKey = info.primaryKey.map((name) => `t.${quoteName(name)} = n.${quoteName(name)}`).join(' AND ');
  const values = names.filter((name) => !info.primaryKey.includes(name));
  const row = (alias: string) => `ROW(${values.map((name) => `${alias}.${quoteName(name)}`).join(', ')})::record`;
  const gone = await client.query(`DELETE FROM ${target} t WHERE NOT EXISTS (SELECT FROM ${made} n WHERE ${sameKey})`);
  const set = values.map((name) => `${quoteName(name)} = n.${quoteName(name)}`).join(', ');
  const updated =
    values.length === 0
      ? null
      : await client.query(
          `UPDATE ${target} t SET ${set} FROM ${made} n WHERE ${sameKey} AND ${row('t')} OPERATOR(pg_catalog.*<>) ${row('n')}`,
        );
  const added = await client.query(
    `INSERT INTO ${target} (${quoteList(names)}) OVERRIDING SYSTEM VALUE SELECT ${quoteList(names)} FROM ${made} n
      WHERE NOT EXISTS (SELECT FROM ${target} t WHERE ${sameKey})`,
  );
  const { rows } = await client.query<{ rows: number }>(`SELECT count(*)::float8 AS rows FROM ${made}`);
  const changed = (gone.rowCount ?? 0) + (updated?.rowCount ?? 0) + (added.rowCount ?? 0);
  return { changed, rows: rows[0]?.rows ?? 0 };
}
