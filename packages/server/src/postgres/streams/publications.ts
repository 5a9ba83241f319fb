/** The publications of a data center, as pieces that `apply` keeps. */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo } from '../catalog.ts';
import { quoteName, quoteTable, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';
import { quoteList, splitName } from '../sql-text.ts';
import { type Carried, type CarriedTables, leftOutColumns } from './carried.ts';
import {
  hasRelays,
  mergePublication,
  mergeTables,
  ownHomedTables,
  ownRestTables,
  publicationName,
  publishedTables,
  relayedTables,
  relayPublication,
  type StreamName,
  streamNames,
} from './names.ts';

const titles: Readonly<Record<StreamName, string>> = {
  homed: 'publish homed rows and their deeds to the other data centers',
  rest: 'publish the tables that this data center feeds',
};

/**
 * TRUNCATE is left out: the fence refuses it, and one that got through must not reach the others. Partitions are
 * published as their partitioned table, so that the data centers need not have the same partitions on the same day.
 * Columns that are not sent now (`columns/`) are not sent afterwards either; where none is left of them, all are sent.
 */
export function publicationPieces(configuration: Configuration, catalog: Catalog, carried: CarriedTables): Piece[] {
  const pieces = streamNames.map((stream): Piece => {
    const name = publicationName(stream);
    const own = stream === 'homed' ? ownHomedTables : ownRestTables;
    const tables = [...own, ...publishedTables(configuration, catalog, stream, configuration.here)];
    const list = listOf(tables, catalog, carried);
    const options = `(publish = 'insert, update, delete', publish_via_partition_root = true)`;
    return {
      kind: 'publication',
      id: `publication ${name}`,
      table: null,
      title: titles[stream],
      create: createOrSet(name, list, options),
      drop: `DROP PUBLICATION IF EXISTS ${quoteName(name)}`,
    };
  });
  return [...pieces, mergePiece(), ...(hasRelays(configuration) ? [relayPiece(configuration, catalog, carried)] : [])];
}

/** With it and the two streams, everything that arrives here can be read out of the log here. */
function relayPiece(configuration: Configuration, catalog: Catalog, carried: CarriedTables): Piece {
  const list = listOf(relayedTables(configuration, catalog), catalog, carried);
  const options = `(publish = 'insert, update, delete', publish_via_partition_root = true)`;
  return {
    kind: 'publication',
    id: `publication ${relayPublication}`,
    table: null,
    title: 'publish what others feed, for a data center that lacks some of it when they are gone',
    create: createOrSet(relayPublication, list, options),
    drop: `DROP PUBLICATION IF EXISTS ${quoteName(relayPublication)}`,
  };
}

/** Inserts alone: everybody deletes what is in the log himself, in the transaction that writes it. */
function mergePiece(): Piece {
  const list = mergeTables.map((table) => quoteOnly(table)).join(', ');
  return {
    kind: 'publication',
    id: `publication ${mergePublication}`,
    table: null,
    title: 'publish the log of changes to shared rows',
    create: createOrSet(mergePublication, list, `(publish = 'insert')`),
    drop: `DROP PUBLICATION IF EXISTS ${quoteName(mergePublication)}`,
  };
}

function listOf(tables: readonly TableName[], catalog: Catalog, carried: CarriedTables): string {
  return tables.map((name) => publishedAs(name, catalog.tables.get(name), carried.get(name))).join(', ');
}

function publishedAs(name: TableName, table: TableInfo | undefined, carried: Carried | undefined): string {
  const some = table !== undefined && leftOutColumns(table, carried).length > 0;
  return some ? `${quoteOnly(name)} (${quoteList(carried?.columns ?? [])})` : quoteOnly(name);
}

/** ONLY: what inherits from a table is declared by itself. Partitions come with theirs in any case. */
function quoteOnly(name: TableName): string {
  return `ONLY ${quoteTable(splitName(name))}`;
}

/** There is no CREATE OR REPLACE PUBLICATION; SET TABLE changes the list at one position of the stream. */
function createOrSet(name: string, list: string, options: string): string {
  const empty = list === '';
  // A list cannot be set to nothing; the publication keeps its slots' place in the stream while it is made anew.
  const set = empty
    ? `DROP PUBLICATION ${quoteName(name)};\n    CREATE PUBLICATION ${quoteName(name)} WITH ${options};`
    : `ALTER PUBLICATION ${quoteName(name)} SET TABLE ${list};\n    ALTER PUBLICATION ${quoteName(name)} SET ${options};`;
  return `DO $lanekeeper$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = ${quoteText(name)}) THEN
    ${set}
  ELSE
    CREATE PUBLICATION ${quoteName(name)}${empty ? '' : ` FOR TABLE ${list}`} WITH ${options};
  END IF;
END $lanekeeper$`;
}
