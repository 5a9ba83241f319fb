/**
 * The fence: everything that is generated into a database so that a homed row is written only in its account's home (R1).
 *
 *   account-path.ts   how a row finds its account, as SQL
 *   homed-table.ts    the triggers of one homed table
 *   routine.ts        constants, digest, proof, claims, grants
 *   names.ts          quoting and naming
 *
 * What holds, and where:
 *   1. The check sees what is finally written: it runs after the statement's row triggers, on transition tables.
 *   2. It locks the deeds FOR SHARE, so that a move waits for writers (`lanekeeper.fence`, sql/).
 *   3. It fires on the origin only; what replication applies has been fenced where it was written.
 *   4. A child deleted by a cascade finds its account where its parent left word (`parting`).
 *   5. A row that changes hands leaves nobody with what he read before (`touch_deeds`).
 *   6. Every table is fenced or named as left alone; the others are listed by `undeclaredTables` and turn `status` red.
 */
import type { Configuration, Table } from 'lanekeeper/config';
import { fixedAccount, LanekeeperError, singleAccount } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import { fedPiece, feederPieces } from '../classes/pieces.ts';
import { everywherePieces } from '../everywhere/pieces.ts';
import { mergePieces } from '../merge/index.ts';
import type { Piece } from '../piece.ts';
import { arrivalPieces } from '../standbys/pieces.ts';
import { type AccountPath, resolveAccountPath } from './account-path.ts';
import { type HomedTable, homedTablePieces, type Ownership } from './homed-table.ts';
import { accountOfPiece, claimPieces, constantPieces, digestPiece, grantPieces, proofPiece } from './routine.ts';

export { leaseMarginMs, pinnedSettings } from './routine.ts';

/** Every piece of the fence, in the order in which `apply` creates them. Throws LK_CONFIG when the catalog lacks what is declared. */
export function fencePieces(configuration: Configuration, catalog: Catalog): Piece[] {
  const homed = homedTables(configuration, catalog);
  const paths = homed
    .filter(({ table }) => table.partitionOf === null)
    .flatMap(({ ownership }) => (ownership.kind === 'path' ? [ownership.path] : []));
  const singles = homed.flatMap(({ table, ownership }) =>
    ownership.kind === 'single' ? [{ table, account: ownership.account }] : [],
  );
  const claims = claimPieces(configuration, catalog);
  const declared = [...catalog.tables.values()].flatMap((table) => {
    const found = declaredAs(configuration, catalog, table);
    return found ? [{ table, declared: found }] : [];
  });
  const merge = mergePieces(configuration, catalog);
  const tablePieces = [
    ...homed.flatMap(homedTablePieces),
    ...feederPieces(declared),
    ...everywherePieces(declared),
    ...merge.tables,
  ];
  const constants = constantPieces(configuration);
  const routines = claims.filter((piece) => piece.table === null);
  const claimTriggers = claims.filter((piece) => piece.table !== null);
  const arrivals = arrivalPieces(configuration, declared);
  const triggersOf = (pieces: readonly Piece[], enabled: 'O' | 'R') =>
    pieces.flatMap((piece) => {
      const table = piece.kind === 'trigger' && piece.table !== null ? catalog.tables.get(piece.table) : undefined;
      const name = piece.id.slice('trigger '.length, piece.id.indexOf(' on '));
      return table ? [{ table, name, enabled }] : [];
    });
  return [
    ...constants,
    digestPiece(paths, singles),
    accountOfPiece(paths, singles),
    ...routines,
    ...merge.routines,
    fedPiece(declared),
    ...tablePieces,
    ...claimTriggers,
    ...arrivals,
    proofPiece([...triggersOf([...tablePieces, ...claimTriggers], 'O'), ...triggersOf(arrivals, 'R')]),
    ...grantPieces(configuration),
  ];
}

/** Tables with rows that somebody writes and nobody has declared: not fenced, not replicated, not looked away from. */
export function undeclaredTables(configuration: Configuration, catalog: Catalog): string[] {
  const ignored = configuration.ignore.map(
    (pattern) =>
      new RegExp(
        `^${pattern
          .split('*')
          .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
          .join('[^.]*')}$`,
      ),
  );
  return [...catalog.tables.values()]
    .filter((table) => !declaredAs(configuration, catalog, table))
    .map((table) => table.name)
    .filter((name) => !ignored.some((pattern) => pattern.test(name)))
    .toSorted();
}

/** A partition is declared with the table at the top of its tree. */
function declaredAs(configuration: Configuration, catalog: Catalog, table: TableInfo) {
  for (
    let at: TableInfo | undefined = table;
    at;
    at = at.partitionOf === null ? undefined : catalog.tables.get(at.partitionOf)
  ) {
    const declared = configuration.tables[at.name];
    if (declared) return declared;
  }
  return undefined;
}

function requireTable(configuration: Configuration, catalog: Catalog): void {
  for (const name of Object.keys(configuration.tables)) {
    if (!catalog.tables.has(name)) {
      const known =
        [...catalog.tables.keys()].filter((other) => !(other in configuration.tables)).join(', ') ||
        'none besides those declared';
      throw new LanekeeperError(
        'LK_CONFIG',
        `tables.${name}: there is no such table in this database. There is: ${known}.`,
      );
    }
  }
}

function homedTables(configuration: Configuration, catalog: Catalog): HomedTable[] {
  requireTable(configuration, catalog);
  const tables = [...catalog.tables.values()].flatMap((table) => {
    const declared = declaredAs(configuration, catalog, table);
    return declared?.class === 'system-of-record' ? [{ table, declared }] : [];
  });
  const owned = tables.map(({ table, declared }) => ({
    table,
    declared,
    ownership: ownershipOf(configuration, catalog, table, declared),
  }));
  const steps = owned.flatMap(({ ownership }) => (ownership.kind === 'path' ? ownership.path.steps : []));
  return owned.map(({ table, declared, ownership }) => ({
    table,
    ownership,
    durability: durabilityOf(declared),
    root: declared.root,
    childKeys: distinctKeys(steps.filter((step) => step.parent.name === table.name)),
    fencedPartitions: owned.map((other) => other.table).filter((other) => isWithin(other, table, catalog)),
  }));
}

function ownershipOf(configuration: Configuration, catalog: Catalog, table: TableInfo, declared: Table): Ownership {
  if (declared.home !== null) return { kind: 'single', account: fixedAccount(declared.home) };
  if (configuration.homes === 'single') return { kind: 'single', account: singleAccount };
  return { kind: 'path', path: resolveAccountPath(table, declared, catalog) };
}

function durabilityOf({ durability, whenAlone }: Table): HomedTable['durability'] {
  if (durability === 'local') return 0;
  return whenAlone === 'accept' ? 1 : 2;
}

function distinctKeys(steps: AccountPath['steps']): HomedTable['childKeys'] {
  return [...new Map(steps.map((step) => [step.referencedColumns.join(), step])).values()];
}

function isWithin(table: TableInfo, top: TableInfo, catalog: Catalog): boolean {
  for (
    let at: TableInfo | undefined = table;
    at;
    at = at.partitionOf === null ? undefined : catalog.tables.get(at.partitionOf)
  ) {
    if (at.name === top.name) return true;
  }
  return false;
}
