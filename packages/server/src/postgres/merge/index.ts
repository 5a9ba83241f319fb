/**
 * Shared rows: written in every data center, carried by the merge log, merged by their stamps (docs/internals/merge.md).
 * The SQL that is the same for every table is in `sql/000008.sql`, that of batches in `sql/000015.sql`; here is what differs from
 * table to table.
 *
 *   tables.ts    which tables are merged, the shape of their stamps, and which cannot be merged
 *   key.ts       a key as text: the same text for equal keys, or the table is refused
 *   table.ts     triggers and functions of one table: log, lock, put, hold, image
 *   batch.ts     the function that puts many rows of one table
 *   written.ts   what those functions have in common
 *   dispatch.ts  from a table's name to its functions, and data centers by number
 *   work.ts      what the agent does: finish, mark, purge, announce
 *
 * What holds, and where:
 *   1. What is written here is logged once, and what the merge writes is not logged again: our triggers on users' tables fire
 *      on the origin only, that on `lanekeeper.change` on the replica only, and the agent finishes as replica (`table.ts`).
 *   2. A row and its stamp change together, under the row's lock and then its version's (`log_change`, `merge_row`).
 *   3. A write's stamp covers the one it was made on, so that the larger stamp is never an older one (`next_stamp`).
 *   4. Whoever has merged the same changes has the same: the larger stamp stays, whole, in whatever order they come (`merge_row`).
 *   5. No change stops a stream: what cannot be merged now is kept in `merge_pending`, row by row also of a batch (`apply_change`).
 *   6. A merge never waits for a lock that somebody holds across a commit: SKIP LOCKED, and lock_timeout behind it.
 *   7. A deleted row is forgotten only when every data center is known to have merged its deletion; what begins anew begins
 *      at the floor (`purge_deleted`).
 */
import type { Configuration } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import type { Piece } from '../piece.ts';
import { dispatchPieces } from './dispatch.ts';
import { mergedTablePieces } from './table.ts';
import { mergedInfos } from './tables.ts';

export { isMerged, layoutShape, type MergeProblem, mergedNames, mergeProblems } from './tables.ts';
export {
  announceMerged,
  announceToReaders,
  countPending,
  finishPending,
  hasNewReaders,
  hasPending,
  type MergeStanding,
  markMerged,
  noteAnnounced,
  pendingAtOnce,
  purgeMerged,
  readMergeStanding,
} from './work.ts';

export type MergePieces = {
  /** On users' tables; the fence's proof goes by them. */
  readonly tables: readonly Piece[];
  readonly routines: readonly Piece[];
};

/** Throws nothing: `mergeProblems` says what cannot be merged, and `plan` refuses it before. */
export function mergePieces(configuration: Configuration, catalog: Catalog): MergePieces {
  const merged = mergedInfos(configuration, catalog);
  return {
    tables: merged.flatMap((table) => mergedTablePieces(table, catalog)),
    routines: dispatchPieces(configuration, merged),
  };
}
