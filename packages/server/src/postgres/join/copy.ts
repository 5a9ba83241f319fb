/**
 * Copies what a snapshot of the source holds: several pieces at a time, large tables in parts. As replica, so that no trigger and no
 * foreign key makes more of it.
 *
 * 1. Lanekeeper's own tables come first, one after the other: what arrives later is judged by deeds and successions. Marks that hold
 *    a stream until something else has arrived hold no copy: everything is in the snapshot.
 * 2. In PostgreSQL's binary format where both databases read it alike, and as text where numbers of types are in it.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Client } from 'pg';
import { quoteName, quoteTable } from '../fence/names.ts';
import { splitName } from '../sql-text.ts';
import { pipeCopy } from './bridge.ts';
import { type JoinSides, type Sessions, Stopped, travellingTables } from './sides.ts';

export type CopyProgress = {
  readonly tables: number;
  /** Copied completely. */
  readonly ready: number;
  readonly rows: number;
  readonly bytes: number;
  /** Of the tables' size at the source: what is left, and all of it. */
  readonly leftBytes: number;
  readonly totalBytes: number;
  /** Being copied now, and how many rows of them have come. */
  readonly copying: readonly { readonly table: TableName; readonly rows: number }[];
  readonly elapsedMs: number;
};

export type CopyOptions = {
  /** At the source, see `snapshot.ts`. */
  readonly snapshot: string;
  readonly onProgress: (progress: CopyProgress) => void;
  /** Asked now and then; throws to end the copy. */
  readonly mayGoOn?: () => Promise<void>;
  /** Parts at a time. Default 4. */
  readonly workers?: number;
  /** Default 8192 pages of 8 kB. */
  readonly pagesPerPart?: number;
};

type Relation = {
  readonly table: TableName;
  readonly relation: string;
  readonly columns: readonly string[];
  readonly binary: boolean;
  readonly pages: number;
  readonly partitioned: boolean;
};

type Part = Relation & {
  /** First page, and the one after the last; null: to the end. */
  readonly from: number;
  readonly to: number | null;
};

/**
 * Others' triggers look for what is in these, and their own hold what has overtaken something: as replica, since then it came by a
 * stream. A snapshot is whole.
 */
const inOrder: readonly TableName[] = [
  'lanekeeper.succession',
  'lanekeeper.deed',
  'lanekeeper.acceptance',
  'lanekeeper.adoption',
];
const reportEveryMs = 500;
const askEveryMs = 2_000;
const pageBytes = 8_192;

export async function copySnapshot(sessions: Sessions, sides: JoinSides, options: CopyOptions): Promise<CopyProgress> {
  const { snapshot, onProgress, mayGoOn = async () => {}, workers = 4, pagesPerPart = 8_192 } = options;
  const beganMs = performance.now();
  const lanes: Lane[] = [];
  const progress = { rows: 0, bytes: 0, copiedBytes: 0 };
  const running = new Map<TableName, number>();
  const leftOf = new Map<TableName, number>();
  let timer: NodeJS.Timeout | undefined;
  let failure: unknown = null;
  try {
    for (let lane = 0; lane < workers; lane += 1) lanes.push(await openLane(sessions, sides, snapshot));
    const first = lanes[0] as Lane;
    const relations = await readRelations(first.from, sides);
    const parts = relations.flatMap((relation) => partsOf(relation, pagesPerPart));
    for (const { table } of parts) leftOf.set(table, (leftOf.get(table) ?? 0) + 1);
    const totalBytes = relations.reduce((sum, { pages }) => sum + pages * pageBytes, 0);
    const report = (): CopyProgress => ({
      tables: leftOf.size,
      ready: [...leftOf.values()].filter((left) => left === 0).length,
      rows: progress.rows,
      bytes: progress.bytes,
      leftBytes: Math.max(0, totalBytes - progress.copiedBytes),
      totalBytes,
      copying: [...running].map(([table, rows]) => ({ table, rows })),
      elapsedMs: performance.now() - beganMs,
    });
    timer = setInterval(() => onProgress(report()), reportEveryMs);
    const copyPart = async (lane: Lane, part: Part) => {
      running.set(part.table, running.get(part.table) ?? 0);
      await lane.to.query(`SET session_replication_role = ${isEarly(part) ? 'origin' : 'replica'}`);
      await pipeCopy({
        from: lane.from,
        to: lane.to,
        ...statementsOf(part),
        onBatch: (rows, bytes) => {
          progress.rows += rows;
          progress.bytes += bytes;
          running.set(part.table, (running.get(part.table) ?? 0) + rows);
        },
      });
      progress.copiedBytes += ((part.to ?? part.pages) - part.from) * pageBytes;
      const left = (leftOf.get(part.table) ?? 1) - 1;
      leftOf.set(part.table, left);
      if (left === 0) running.delete(part.table);
    };
    const [early, late] = [parts.filter(isEarly), parts.filter((part) => !isEarly(part))];
    early.sort((a, b) => inOrder.indexOf(a.table) - inOrder.indexOf(b.table));
    let askMs = performance.now() + askEveryMs;
    const work = async (lane: Lane, queue: Part[]) => {
      for (let part = queue.shift(); part !== undefined && failure === null; part = queue.shift()) {
        await copyPart(lane, part);
        if (performance.now() < askMs) continue;
        askMs = performance.now() + askEveryMs;
        await mayGoOn();
      }
    };
    const together = async (queue: Part[]) => {
      const done = await Promise.allSettled(
        lanes.map((lane) =>
          work(lane, queue).catch((error: unknown) => {
            failure ??= error;
            throw error;
          }),
        ),
      );
      if (done.some(({ status }) => status === 'rejected')) throw failure;
    };
    for (const table of inOrder) await together(early.filter((part) => part.table === table));
    // The largest first, so that nobody is left alone with it.
    late.sort((a, b) => b.pages - a.pages || a.from - b.from);
    await together(late);
    const last = report();
    onProgress(last);
    return last;
  } finally {
    clearInterval(timer);
    await Promise.all(lanes.flatMap(({ from, to }) => [from, to].map((client) => client.end().catch(() => {}))));
  }
}

const isEarly = ({ table }: Relation): boolean => inOrder.includes(table);

type Lane = { readonly from: Client; readonly to: Client };

const applicationName = 'lanekeeper join';

async function openLane(sessions: Sessions, { target, source }: JoinSides, snapshot: string): Promise<Lane> {
  const from = await sessions.open(source, 'agent', applicationName);
  const to = await sessions.open(target, 'agent', applicationName);
  const patient =
    'SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET transaction_timeout = 0';
  for (const client of [from, to]) await quietly(client, patient);
  await to.query('SET synchronous_commit = local; SET session_replication_role = replica');
  await from.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  await from.query(`SET TRANSACTION SNAPSHOT '${snapshot.replaceAll("'", "''")}'`);
  return { from, to };
}

/** One by one: `transaction_timeout` is unknown before PostgreSQL 17. */
async function quietly(client: Client, settings: string): Promise<void> {
  for (const setting of settings.split('; ')) await client.query(setting).catch(() => {});
}

function partsOf(relation: Relation, pagesPerPart: number): readonly Part[] {
  const parts: Part[] = [];
  for (let from = 0; parts.length === 0 || from < relation.pages; from += pagesPerPart) {
    const to = from + pagesPerPart < relation.pages ? from + pagesPerPart : null;
    parts.push({ ...relation, from, to });
  }
  return parts;
}

function statementsOf(part: Part): { readonly out: string; readonly in: string } {
  const list = part.columns.map(quoteName).join(', ');
  const format = `(FORMAT ${part.binary ? 'binary' : 'text'})`;
  const whole = part.from === 0 && part.to === null;
  const upTo = part.to === null ? '' : ` AND ctid < '(${part.to},0)'`;
  const read = whole
    ? `${part.relation} (${list})`
    : `(SELECT ${list} FROM ONLY ${part.relation} WHERE ctid >= '(${part.from},0)'${upTo})`;
  return {
    out: `COPY ${read} TO STDOUT ${format}`,
    in: `COPY ${quoteTable(splitName(part.table))} (${list}) FROM STDIN ${format}`,
  };
}

/** Partitions one by one, into whatever partitions the table has over there. */
async function readRelations(client: Client, { target, source }: JoinSides): Promise<readonly Relation[]> {
  const names = copiedTables(target.configuration);
  const { rows } = await client.query<Relation & { readonly there: boolean }>(
    `WITH RECURSIVE wanted AS (
        SELECT t AS "table", c.oid, c.relkind FROM unnest($1::text[]) t JOIN pg_catalog.pg_class c ON c.oid = to_regclass(lanekeeper.quoted(t))
        UNION ALL
        SELECT w."table", c.oid, c.relkind FROM wanted w JOIN pg_catalog.pg_inherits i ON i.inhparent = w.oid
          JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition WHERE w.relkind = 'p')
      SELECT w."table", format('%I.%I', n.nspname, c.relname) AS relation, (pg_catalog.pg_relation_size(w.oid) / ${pageBytes})::int AS pages,
        (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
        (SELECT bool_and(coalesce(b.oid, y.oid) < 16384 AND coalesce(b.typname, y.typname) NOT LIKE '%reg%' OR y.typtype = 'e')
          FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid LEFT JOIN pg_catalog.pg_type b ON b.oid = nullif(y.typbasetype, 0)
          WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS binary
      FROM wanted w JOIN pg_catalog.pg_class c ON c.oid = w.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE w.relkind = 'r' ORDER BY pages DESC, relation`,
    [names],
  );
  const found = new Set(rows.map(({ table }) => table));
  const declared = names.filter((name) => !name.startsWith('lanekeeper.'));
  const { rows: partitioned } = await client.query<{ name: string }>(
    `SELECT t AS name FROM unnest($1::text[]) t WHERE to_regclass(lanekeeper.quoted(t)) IS NOT NULL`,
    [declared],
  );
  const there = new Set(partitioned.map(({ name }) => name));
  const missing = declared.find((name) => !found.has(name) && !there.has(name));
  if (missing !== undefined) throw new Stopped(`${source.configuration.here} has no ${missing}`);
  return rows;
}

/** What is in the snapshot and nobody sends again: homed rows, what feeders have published, and what is Lanekeeper's of both. */
function copiedTables(configuration: Configuration): readonly TableName[] {
  return travellingTables(configuration).filter((name) => name !== 'lanekeeper.change');
}
