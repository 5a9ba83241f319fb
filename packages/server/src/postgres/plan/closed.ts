/**
 * Tables that join streams which are already running. A row written to one here before another data center has it in its
 * subscription would be dropped over there silently (faults.md, remedy 10), so the table is closed until they all say,
 * in the stream, that they read it. The first installation needs none of this: before its slots there is no lease.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import { quoteTable, quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';
import { joinedPeers } from '../streams/members.ts';
import { declaredName, publishedTables, streamNames } from '../streams/names.ts';
import type { PresentState } from './state.ts';

/** Sorted. */
export function closedTables(configuration: Configuration, present: PresentState): readonly TableName[] {
  // Nobody reads here yet, and nobody ever has.
  if (present.slotsFor.size === 0 && present.readBy.size === 0) return [];
  const peers = joinedPeers(configuration, present.members);
  return streamNames
    .flatMap((stream) => {
      const published = present.published[stream];
      if (published === null) return [];
      return publishedTables(configuration, present.catalog, stream, configuration.here).filter((table) => {
        const joining = !published.includes(table) || present.pieces.has(pieceId(table));
        return joining && !peers.every((peer) => present.readBy.get(table)?.has(peer));
      });
    })
    .sort();
}

/** On the table and on every partition of it, since a row may be written to either. */
export function closingPieces(catalog: Catalog, closed: readonly TableName[]): Piece[] {
  return [...catalog.tables.values()]
    .filter((table) => closed.includes(declaredName(catalog, table.name)))
    .map((table): Piece => {
      const declared = declaredName(catalog, table.name);
      return {
        kind: 'trigger',
        id: pieceId(table.name),
        table: table.name,
        title: `refuse writes to ${declared} until every data center reads it; rows that are there already do not travel`,
        create: `CREATE OR REPLACE TRIGGER lanekeeper_closed BEFORE INSERT OR UPDATE OR DELETE ON ${quoteTable(table)} FOR EACH STATEMENT EXECUTE FUNCTION lanekeeper.refuse_closed(${quoteText(declared)})`,
        drop: `DROP TRIGGER IF EXISTS lanekeeper_closed ON ${quoteTable(table)}`,
      };
    });
}

function pieceId(table: TableName): string {
  return `trigger lanekeeper_closed on ${table}`;
}
