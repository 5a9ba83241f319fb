/**
 * Whether two data centers hold the same: row hashes of every replicated table, deeds included, under traffic.
 *
 * 1. A range of keys is hashed on both sides at about the same time. Equal: done. Different: it is cut until it is small,
 *    then compared row by row. Both sides see the same SQL, columns by name.
 * 2. What differs is a suspect, not a difference: `settle.ts` decides.
 * 3. Memory is bounded by the size of a chunk and by `differencesMax`, whatever the size of the tables.
 * 4. Shared rows are compared when nothing is pending. Those of last-man-standing may stay different: said, and allowed.
 * 5. Nothing is written, but for a marker in the WAL, and nothing is locked, but for single rows that never stand still.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { TableInfo } from '../catalog.ts';
import type { Connect, Unavailable } from '../connect.ts';
import { readCatalog, readOwnTables } from '../inspect/read-catalog.ts';
import { isMerged } from '../merge/index.ts';
import { ownHomedTables, ownRestTables, streamOf } from '../streams/names.ts';
import { databaseProblem } from '../transaction.ts';
import { type Comparable, comparableOf, type Incomparable, type Range, textOrderSql } from './comparable.ts';
import { settle } from './settle.ts';
import {
  type Others,
  openOthers,
  openSide,
  type Parties,
  readBoundary,
  readChunk,
  readRange,
  readValues,
  type Side,
} from './side.ts';

export type Difference = {
  readonly table: TableName;
  /** Key columns and their values. */
  readonly key: Readonly<Record<string, string>>;
  readonly kind: 'differs' | 'only-here' | 'only-there';
  /** The columns whose values differ; for a row that is on one side only, all of them. Long values are cut. */
  readonly columns: readonly { readonly name: string; readonly here: string | null; readonly there: string | null }[];
};

export type TableVerdict = {
  readonly table: TableName;
  readonly kind: 'equal' | 'differs' | 'unsettled' | 'not-comparable';
  readonly rowsHere: number;
  readonly rowsThere: number;
  readonly differences: number;
  /** Rows that could not be decided. */
  readonly unsettled: number;
  readonly reason: string | null;
  /** Differences of a table that declares them allowed: they do not make the result unclean. */
  readonly allowed: boolean;
};

export type VerifyResult =
  | {
      readonly kind: 'verified';
      readonly here: DataCenterName;
      readonly there: DataCenterName;
      /** No table differs (but for what is allowed), is unsettled or cannot be compared. */
      readonly clean: boolean;
      readonly tables: readonly TableVerdict[];
      /** At most `differencesMax`; `tables` counts them all up to the point where a table is given up. */
      readonly differences: readonly Difference[];
    }
  | (Unavailable & { readonly dataCenter: DataCenterName });

export type VerifyProgress = {
  readonly table: TableName;
  /** Of how many tables this is which. */
  readonly index: number;
  readonly count: number;
  readonly rows: number;
  readonly estimatedRows: number;
  readonly differences: number;
};

export type VerifyOptions = {
  readonly configuration: Configuration;
  readonly here: DataCenterName;
  readonly there: DataCenterName;
  /**
   * Connections by a role that may read every table and lock its rows: the agent. Also to data centers that are not
   * compared, once something differs: it may be on its way from there.
   */
  readonly connect: (dc: DataCenterName) => Connect;
  /** Default: every replicated table. */
  readonly tables?: readonly TableName[];
  /** Default 5000. */
  readonly rowsPerChunk?: number;
  /** Differences named one by one. Default 1000. */
  readonly differencesMax?: number;
  /** How long the streams get to bring what is on its way. Default 30000. */
  readonly settleMs?: number;
  /** Take every difference for one, without waiting for what may be on its way: where no stream runs between the two. */
  readonly asItIs?: boolean;
  /** Also tables with `writes: direct` or `buffered`, once nothing of them is on its way. Default false. */
  readonly everywhere?: boolean;
  readonly onProgress?: (progress: VerifyProgress) => void;
};

const nothing = { rowsHere: 0, rowsThere: 0, differences: 0, unsettled: 0 };
const allowedReason = 'last-man-standing leaves data centers different, and the configuration allows it';
const valueLengthMax = 400;
const roundsMax = 6;
/** Ranges with at most so many rows are compared row by row. */
const rowsAtOnce = 500;
/** Without an index every chunk reads the whole table, so there are fewer. */
const byteOrderFactor = 50;

export async function verifyTables(options: VerifyOptions): Promise<VerifyResult> {
  const opened: Client[] = [];
  const { here: ours, there: theirs, connect } = options;
  try {
    const here = await openSide(ours, connect(ours), opened);
    if ('kind' in here) return { ...here, dataCenter: ours };
    const there = await openSide(theirs, connect(theirs), opened);
    if ('kind' in there) return { ...there, dataCenter: theirs };
    const names = Object.keys(options.configuration.dataCenters).filter((dc) => dc !== ours && dc !== theirs);
    let others: Promise<Others> | null = null;
    return await verifySides({ here, there, others: () => (others ??= openOthers(names, connect, opened)) }, options);
  } finally {
    await Promise.all(opened.map((client) => client.end()));
  }
}

async function verifySides(parties: Parties, options: VerifyOptions): Promise<VerifyResult> {
  const { here, there } = parties;
  const wanted = await comparables(here, there, options);
  const verdicts: TableVerdict[] = [];
  const differences: Difference[] = [];
  for (const [index, one] of wanted.entries()) {
    if ('reason' in one) {
      verdicts.push({ table: one.table, kind: 'not-comparable', ...nothing, reason: one.reason, allowed: false });
      continue;
    }
    const report = (rows: number, found: number) =>
      options.onProgress?.({
        table: one.table,
        index,
        count: wanted.length,
        rows,
        estimatedRows: one.estimatedRows,
        differences: found,
      });
    try {
      verdicts.push(await verifyOne(parties, one, options, differences, report));
    } catch (thrown) {
      // A key whose type has no order, a table dropped meanwhile: said, and the other tables are still compared.
      const problem = databaseProblem(thrown);
      if (!problem) throw thrown;
      verdicts.push({ table: one.table, kind: 'not-comparable', ...nothing, reason: problem.message, allowed: false });
    }
  }
  const clean = verdicts.every((verdict) => verdict.kind === 'equal' || verdict.allowed);
  return { kind: 'verified', here: here.dc, there: there.dc, clean, tables: verdicts, differences };
}

async function comparables(
  here: Side,
  there: Side,
  options: VerifyOptions,
): Promise<readonly (Comparable | Incomparable)[]> {
  const [ours, theirs] = await Promise.all([readAll(here.client), readAll(there.client)]);
  const names: (readonly [TableName, Comparable['stream']])[] = [
    ...ownHomedTables.map((name) => [name, 'homed'] as const),
    ...ownRestTables.map((name) => [name, 'rest'] as const),
  ];
  for (const name of Object.keys(options.configuration.tables).sort()) {
    if (options.everywhere && options.configuration.tables[name]?.writes !== 'replicated') {
      names.push([name, 'everywhere']);
      continue;
    }
    if (isMerged(options.configuration.tables[name])) {
      names.push([name, 'rest']);
      continue;
    }
    // A table that a third data center feeds is the same on both sides too, but no stream between them carries it.
    const stream =
      streamOf(options.configuration, name, options.here) ?? streamOf(options.configuration, name, options.there);
    if (stream) names.push([name, stream]);
  }
  return names
    .filter(([name]) => options.tables === undefined || options.tables.includes(name))
    .map(([name, stream]) =>
      comparableOf(ours.tables.get(name), theirs.tables.get(name), name, stream, ours.order === theirs.order),
    );
}

async function readAll(client: Client): Promise<{ tables: ReadonlyMap<TableName, TableInfo>; order: string }> {
  const { tables } = await readCatalog(client);
  const own = await readOwnTables(client);
  const { rows } = await client.query<{ order: string }>(textOrderSql);
  return { tables: new Map([...tables, ...own]), order: rows[0]?.order ?? '' };
}

async function verifyOne(
  parties: Parties,
  c: Comparable,
  options: VerifyOptions,
  differences: Difference[],
  report: (rows: number, found: number) => void,
): Promise<TableVerdict> {
  const { here, there } = parties;
  const max = options.differencesMax ?? 1_000;
  const size = (options.rowsPerChunk ?? 5_000) * (c.byteOrder ? byteOrderFactor : 1);
  const totals = { here: 0, there: 0, different: 0, unsettled: 0 };
  let reason: string | null = null;
  let after: Range['after'] = null;
  for (;;) {
    const upTo = await readBoundary(here, c, { after, upTo: null }, size);
    const range: Range = { after, upTo };
    const [ours, theirs] = await Promise.all([readChunk(here, c, range), readChunk(there, c, range)]);
    let counted = { here: ours.rows, there: theirs.rows };
    if (ours.rows !== theirs.rows || ours.hash !== theirs.hash) {
      for await (const suspects of suspectsIn(here, there, c, range)) {
        const settled = options.asItIs
          ? { different: suspects, unsettled: [], reason: null }
          : await settle(parties, c, suspects, { timeoutMs: options.settleMs ?? 30_000, rounds: roundsMax });
        totals.different += settled.different.length;
        totals.unsettled += settled.unsettled.length;
        reason = settled.reason ?? reason;
        const room = Math.max(0, max - differences.length);
        differences.push(...(await describe(here, there, c, settled.different.slice(0, room))));
        report(totals.here + counted.here, totals.different);
        // A stream that stands still, or so many differences that naming more helps nobody.
        if (settled.unsettled.length > 0 || totals.different >= max) break;
      }
      // What was on its way has arrived.
      const [again, over] = await Promise.all([readChunk(here, c, range), readChunk(there, c, range)]);
      counted = { here: again.rows, there: over.rows };
    }
    totals.here += counted.here;
    totals.there += counted.there;
    report(totals.here, totals.different);
    if (totals.different >= max) {
      reason = `given up after ${totals.different} differences`;
      break;
    }
    if (upTo === null) break;
    after = upTo;
  }
  const kind = totals.different > 0 ? 'differs' : totals.unsettled > 0 ? 'unsettled' : 'equal';
  const allowed = kind === 'differs' && options.configuration.tables[c.table]?.policy === 'last-man-standing';
  return {
    table: c.table,
    kind,
    rowsHere: totals.here,
    rowsThere: totals.there,
    differences: totals.different,
    unsettled: totals.unsettled,
    reason: allowed ? allowedReason : reason,
    allowed,
  };
}

/** Cuts a range that differs until its parts are small, by the keys of the side that has more, and names the rows. */
async function* suspectsIn(here: Side, there: Side, c: Comparable, whole: Range): AsyncGenerator<readonly string[]> {
  const parts: Range[] = [whole];
  for (let range = parts.pop(); range; range = parts.pop()) {
    const [ours, theirs] = await Promise.all([readChunk(here, c, range), readChunk(there, c, range)]);
    if (ours.rows === theirs.rows && ours.hash === theirs.hash) continue;
    const more = ours.rows >= theirs.rows ? here : there;
    const rows = Math.max(ours.rows, theirs.rows);
    const middle = rows > rowsAtOnce ? await readBoundary(more, c, range, Math.ceil(rows / 2)) : null;
    if (middle !== null && JSON.stringify(middle) !== JSON.stringify(range.upTo)) {
      // The lower half next: the order in which a person expects to read them.
      parts.push({ after: middle, upTo: range.upTo }, { after: range.after, upTo: middle });
      continue;
    }
    const [a, b] = await Promise.all([readRange(here, c, range), readRange(there, c, range)]);
    const suspects = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key));
    if (suspects.length > 0) yield suspects;
  }
}

async function describe(here: Side, there: Side, c: Comparable, keys: readonly string[]): Promise<Difference[]> {
  if (keys.length === 0) return [];
  const [ours, theirs] = await Promise.all([readValues(here, c, keys), readValues(there, c, keys)]);
  return keys.map((key): Difference => {
    const [a, b] = [ours.get(key), theirs.get(key)];
    const parts: string[] = JSON.parse(key);
    const columns = c.columns.map((name, i) => ({ name, here: a?.[i] ?? null, there: b?.[i] ?? null }));
    const apart = a && b ? columns.filter((column) => column.here !== column.there) : columns;
    return {
      table: c.table,
      key: Object.fromEntries(c.key.map((column, i) => [column.name, parts[i] ?? ''])),
      kind: a && b ? 'differs' : a ? 'only-here' : 'only-there',
      columns: apart.map((column) => ({ name: column.name, here: cut(column.here), there: cut(column.there) })),
    };
  });
}

function cut(value: string | null): string | null {
  return value === null || value.length <= valueLengthMax
    ? value
    : `${value.slice(0, valueLengthMax)}… (${value.length})`;
}
