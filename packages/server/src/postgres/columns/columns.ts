/**
 * Columns of a table that leave the streams of every data center before they are dropped, or before they are added, and come back.
 *
 * 1. Nothing is changed anywhere unless all that take part answer, and nothing speaks against it in any (`judge.ts`).
 * 2. What is left out stands in the publications alone: whatever ends this, it is run again, and goes on from there.
 * 3. Before a column may be dropped, everything that was sent with it has arrived (`arrive.ts`), and is asked for again each time.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { TableInfo } from '../catalog.ts';
import type { Connect, Unavailable } from '../connect.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import { readCatalog } from '../inspect/read-catalog.ts';
import type { Queryable } from '../queryable.ts';
import { quoteList, splitName } from '../sql-text.ts';
import { leftOutColumns, readCarried } from '../streams/carried.ts';
import { joinedPeers, readMembers } from '../streams/members.ts';
import { type DatabaseProblem, databaseProblem, inTransaction } from '../transaction.ts';
import { untilArrived } from './arrive.ts';
import { type ColumnFacts, type ColumnPlace, type ColumnRefusal, refuseLeavingOut, refuseSending } from './judge.ts';

export type ColumnsOptions = {
  readonly configuration: Configuration;
  /** As the owner. */
  readonly connect: (dc: DataCenterName) => Connect;
  readonly table: TableName;
  readonly columns: readonly string[];
  readonly onEvent: (event: ColumnsEvent) => void;
};

export type ColumnsEvent = {
  readonly dataCenter: DataCenterName;
  /** `unchanged`: it was so before. `carries-none`: it does not send the table. */
  readonly kind: 'changed' | 'unchanged' | 'carries-none' | 'waiting' | 'arrived';
  /** Of `waiting`: for what; one clause. */
  readonly for?: string;
};

export type ColumnsProblem =
  /** Nothing was changed. */
  | (Unavailable & { readonly dataCenter: DataCenterName })
  | ({ readonly kind: 'refused' } & ColumnRefusal)
  /** From here on what was done in some of them stays done. Somebody holds a lock on the table for too long. */
  | { readonly kind: 'blocked'; readonly dataCenter: DataCenterName }
  | { readonly kind: 'failed'; readonly dataCenter: DataCenterName; readonly error: DatabaseProblem }
  | { readonly kind: 'lost'; readonly dataCenter: DataCenterName; readonly message: string };

export type LeaveOutResult =
  | ColumnsProblem
  /** Not everything has arrived within the time. Data center → what is waited for. */
  | { readonly kind: 'waiting'; readonly waiting: Readonly<Record<DataCenterName, string>> }
  /** `having`: where the columns are now. */
  | {
      readonly kind: 'left-out';
      readonly dataCenters: readonly DataCenterName[];
      readonly having: readonly DataCenterName[];
    };

export type SendResult =
  | ColumnsProblem
  /** `columns`: those that were left out until now. */
  | { readonly kind: 'sent'; readonly dataCenters: readonly DataCenterName[]; readonly columns: readonly string[] };

/** `isNew`: the columns are to be added afterwards; nothing has been written with them, so nothing is waited for. */
export async function leaveOutColumns(
  options: ColumnsOptions & { readonly isNew: boolean; readonly withinMs: number },
): Promise<LeaveOutResult> {
  const { configuration, table, columns, isNew, withinMs, onEvent } = options;
  return everywhere(options, async (places) => {
    const refused = refuseLeavingOut(configuration, { table, columns, isNew }, places);
    if (refused !== null) return { kind: 'refused', ...refused };
    for (const place of places) {
      const info = place.catalog.tables.get(table) as TableInfo;
      const sent = place.carried?.columns ?? written(info);
      const change = sent.some((name) => columns.includes(name)) || (isNew && place.carried?.columns === null);
      const problem = await setColumns(
        place,
        table,
        change ? sent.filter((name) => !columns.includes(name)) : undefined,
        onEvent,
      );
      if (problem !== null) return problem;
    }
    const waiting: Record<DataCenterName, string> = {};
    if (!isNew)
      await Promise.all(
        places.map((place) =>
          during(place, async () => {
            const { dataCenter, client, carried } = place;
            if (carried === undefined) return;
            const peers = places.map((one) => one.dataCenter).filter((one) => one !== dataCenter);
            const onWait = (what: string) => onEvent({ dataCenter, kind: 'waiting', for: what });
            const left = await untilArrived(client, { table, carried, peers, withinMs, onWait });
            if (left === null) onEvent({ dataCenter, kind: 'arrived' });
            else waiting[dataCenter] = left;
          }),
        ),
      );
    if (Object.keys(waiting).length > 0) return { kind: 'waiting', waiting };
    const having = places.filter(({ catalog }) =>
      catalog.tables.get(table)?.columns.some(({ name }) => columns.includes(name)),
    );
    return { kind: 'left-out', dataCenters: names(places), having: names(having) };
  });
}

/** Without `columns`: all. */
export async function sendColumns(options: ColumnsOptions): Promise<SendResult> {
  const { configuration, table, onEvent } = options;
  return everywhere(options, async (places) => {
    const out = (place: ColumnPlace) => {
      const info = place.catalog.tables.get(table);
      return info === undefined ? [] : leftOutColumns(info, place.carried);
    };
    const all = [...new Set(places.flatMap(out))].sort();
    const columns = options.columns.length === 0 ? all : options.columns;
    const refused = refuseSending(configuration, { table, columns }, places);
    if (refused !== null) return { kind: 'refused', ...refused };
    for (const place of places) {
      const left = out(place).filter((name) => !columns.includes(name));
      const info = place.catalog.tables.get(table) as TableInfo;
      const sent = left.length === 0 ? null : written(info).filter((name) => !left.includes(name));
      const isSo = sent?.length === place.carried?.columns?.length;
      const problem = await setColumns(place, table, isSo ? undefined : sent, onEvent);
      if (problem !== null) return problem;
    }
    return { kind: 'sent', dataCenters: names(places), columns: all.filter((name) => columns.includes(name)) };
  });
}

type OpenPlace = ColumnPlace & { readonly client: Client };

async function everywhere<R>(
  { configuration, connect, table }: ColumnsOptions,
  work: (places: readonly OpenPlace[]) => Promise<R>,
): Promise<R | ColumnsProblem> {
  const clients: Client[] = [];
  const open = async (dataCenter: DataCenterName): Promise<Client> => {
    const connected = await connect(dataCenter)('lanekeeper migrate');
    if (connected.kind === 'unavailable') throw new Stop({ ...connected, dataCenter });
    clients.push(connected.client);
    return connected.client;
  };
  try {
    const here = await open(configuration.here);
    const peers = joinedPeers(configuration, await readMembers(here));
    const opened: [DataCenterName, Client][] = [[configuration.here, here]];
    for (const peer of peers) opened.push([peer, await open(peer)]);
    const places: OpenPlace[] = [];
    for (const [dataCenter, client] of opened)
      places.push(await during({ dataCenter }, () => readPlace(client, dataCenter, table)));
    return await work(places);
  } catch (error) {
    if (error instanceof Stop) return error.problem;
    throw error;
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
  }
}

class Stop extends Error {
  readonly problem: ColumnsProblem;
  constructor(problem: ColumnsProblem) {
    super(problem.kind);
    this.problem = problem;
  }
}

/** A database that refuses, or goes away, is an end that is expected. */
async function during<T>({ dataCenter }: Pick<ColumnPlace, 'dataCenter'>, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (error !== null) throw new Stop({ kind: 'failed', dataCenter, error });
    if (thrown instanceof TypeError || !(thrown instanceof Error)) throw thrown;
    throw new Stop({ kind: 'lost', dataCenter, message: thrown.message });
  }
}

async function readPlace(client: Client, dataCenter: DataCenterName, table: TableName): Promise<OpenPlace> {
  const { rows } = await client.query<{ publisher: DataCenterName }>(
    'SELECT publisher FROM lanekeeper.frozen ORDER BY 1',
  );
  return {
    dataCenter,
    client,
    catalog: await readCatalog(client),
    carried: (await readCarried(client)).get(table),
    facts: await readFacts(client, table),
    away: rows.map(({ publisher }) => publisher),
  };
}

async function readFacts(client: Queryable, table: TableName): Promise<readonly ColumnFacts[]> {
  const { rows } = await client.query<ColumnFacts>(
    `SELECT a.attname AS name, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS "default",
        c.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
          AND a.attnum = ANY (i.indkey::int2[]) AND (i.indisprimary OR i.indisreplident)) AS key,
        a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS required,
        a.attidentity <> '' OR coalesce(d.adbin::text ~ '[{](SQLVALUEFUNCTION|NEXTVALUEEXPR)' OR EXISTS (
          SELECT FROM regexp_matches(d.adbin::text, ':(?:op)?funcid (\\d+)', 'g') f
            JOIN pg_catalog.pg_proc p ON p.oid = f[1]::oid WHERE p.provolatile <> 'i'), false) AS volatile
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated = ''
      WHERE c.oid = to_regclass($1)`,
    [quoteTable(splitName(table))],
  );
  return rows;
}

/** In one commit, so that no row falls between. `columns`: undefined leaves them as they are, null is all. */
async function setColumns(
  place: OpenPlace,
  table: TableName,
  columns: readonly string[] | null | undefined,
  onEvent: ColumnsOptions['onEvent'],
): Promise<ColumnsProblem | null> {
  const { dataCenter, client, carried } = place;
  if (carried === undefined || columns === undefined) {
    onEvent({ dataCenter, kind: carried === undefined ? 'carries-none' : 'unchanged' });
    return null;
  }
  const name = `ONLY ${quoteTable(splitName(table))}`;
  const result = await during(place, () =>
    inTransaction(client, async () => {
      await client.query('SET LOCAL synchronous_commit = local');
      for (const publication of carried.publications.map(quoteName)) {
        await client.query(`ALTER PUBLICATION ${publication} DROP TABLE ${name}`);
        await client.query(
          `ALTER PUBLICATION ${publication} ADD TABLE ${name}${columns === null ? '' : ` (${quoteList(columns)})`}`,
        );
      }
    }),
  );
  if (result.kind === 'blocked') return { kind: 'blocked', dataCenter };
  if (result.kind === 'failed') return { kind: 'failed', dataCenter, error: result.error };
  onEvent({ dataCenter, kind: 'changed' });
  return null;
}

function written({ columns }: TableInfo): readonly string[] {
  return columns.flatMap(({ name, generated }) => (generated ? [] : [name]));
}

function names(places: readonly ColumnPlace[]): readonly DataCenterName[] {
  return places.map(({ dataCenter }) => dataCenter);
}
