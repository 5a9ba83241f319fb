/**
 * From what a database holds to what the configuration declares. Pure: (configuration, present state) → steps.
 *
 * 1. Order: schema, functions and triggers, publications, sequences, removals, then fills: an account is only filled in
 *    when its births are caught by a trigger, so that none falls between.
 * 2. What is right already gives no step: a second `plan` after an `apply` is empty.
 * 3. Nothing of the user's is ever dropped. A sequence never goes back.
 */
import { createHash } from 'node:crypto';
import type { Configuration } from 'lanekeeper/config';
import { cachedPieces } from '../cached/pieces.ts';
import type { Catalog } from '../catalog.ts';
import { fencePieces, undeclaredTables } from '../fence/index.ts';
import { quoteText } from '../fence/names.ts';
import { layoutShape, mergedNames, mergeProblems } from '../merge/index.ts';
import { type Migration, pendingMigrations } from '../migrate/index.ts';
import type { Piece } from '../piece.ts';
import { joinedPeers } from '../streams/members.ts';
import { publicationPieces } from '../streams/publications.ts';
import { closedTables, closingPieces } from './closed.ts';
import { chunkSql, type FillFrom, fillsOf } from './fill.ts';
import { homesProblems, homesSteps } from './homes.ts';
import { ownDeeds, ownDeedsSql } from './own-deeds.ts';
import { sequencesToStride, strideSequence, strideSql } from './sequences.ts';
import type { InstalledPiece, PresentState } from './state.ts';
import type { Plan, PlanProblem, Step, StepLock } from './step.ts';

export function planSteps(configuration: Configuration, present: PresentState, migrations: readonly Migration[]): Plan {
  const undeclared = undeclaredTables(configuration, present.catalog);
  const { pending, problems: migrationProblems } = pendingMigrations(migrations, present.migrations);
  const problems: PlanProblem[] = [
    ...migrationProblems,
    ...otherInstallation(configuration, present),
    ...missingTables(configuration, present.catalog),
    ...mergeProblems(configuration, present.catalog),
    ...(present.homes === null || present.installation === null
      ? []
      : homesProblems(configuration, present.homes, present.members)),
  ];
  if (problems.length > 0) return { steps: [], problems, undeclared, closed: [] };
  const closed = closedTables(configuration, present);
  const pieces = [
    ...closingPieces(present.catalog, closed),
    ...fencePieces(configuration, present.catalog),
    ...publicationPieces(configuration, present.catalog, present.carried),
    ...cachedPieces(configuration, present.catalog),
  ];
  const fills = fillSteps(configuration, present);
  const homes = homesSteps(configuration, present, fills);
  const steps = [
    ...pending.map(migrationStep),
    ...homes.first,
    ...installationSteps(configuration, present),
    ...memberSteps(configuration, present),
    ...layoutSteps(configuration, present),
    ...pieceSteps(pieces, present, pending.length > 0),
    ...sequenceSteps(configuration, present),
    ...removalSteps(pieces, present),
    ...ownDeedSteps(configuration, present),
    ...fills,
    ...homes.last,
  ];
  return { steps, problems, undeclared, closed };
}

/** SHA-256 of the SQL that makes a piece. */
export function pieceHash(piece: Piece): string {
  return createHash('sha256').update(`${piece.create}\n${piece.drop}`).digest('hex');
}

/** The names in a database's URL are easily mixed up; what follows from it is not easily put right. */
function otherInstallation(configuration: Configuration, present: PresentState): PlanProblem[] {
  const { installation } = present;
  if (installation === null) return [];
  const ours = { cluster: configuration.cluster, dc: configuration.here, stride: configuration.stride };
  const problem = (message: string): PlanProblem[] => [{ kind: 'other-installation', message }];
  if (installation.cluster !== ours.cluster || installation.dc !== ours.dc) {
    return problem(
      `This database belongs to data center ${installation.dc} of cluster ${installation.cluster}, not to ${ours.dc} of ${ours.cluster}: see \`dataCenters.${ours.dc}.database\` and LANEKEEPER_DC.`,
    );
  }
  if (installation.stride === ours.stride) return [];
  return problem(
    `The stride of this cluster is ${installation.stride} for good; the configuration says ${ours.stride}.`,
  );
}

function installationSteps(configuration: Configuration, present: PresentState): Step[] {
  if (present.installation !== null) return [];
  const values = [quoteText(configuration.cluster), quoteText(configuration.here), String(configuration.stride)];
  return [
    {
      id: 'installation',
      kind: 'create',
      title: `note that this database belongs to data center ${configuration.here} of cluster ${configuration.cluster}`,
      why: 'so that no configuration of another one is ever applied to it',
      sql: `INSERT INTO lanekeeper.installation (cluster, dc, stride) VALUES (${values.join(', ')})`,
      lock: null,
      estimatedRows: null,
      waitsFor: null,
      action: { do: 'run' },
    },
  ];
}

/**
 * Those that are configured when a database is first prepared begin together. One that was prepared before this was written down
 * goes by who keeps a slot or says that it reads here; when nobody does, it is still beginning.
 */
function memberSteps(configuration: Configuration, present: PresentState): Step[] {
  if (present.members !== null) return [];
  const { here, dataCenters } = configuration;
  const seen = new Set([...present.slotsFor, ...[...present.readBy.values()].flatMap((readers) => [...readers])]);
  const names = Object.keys(dataCenters).filter((dc) => dc === here || seen.size === 0 || seen.has(dc));
  return [
    {
      id: 'members',
      kind: 'create',
      title: `note that ${names.join(', ')} ${names.length === 1 ? 'is the only data center' : 'take part'}`,
      why: 'one that is configured later joins with `lanekeeper join`, and until then nobody waits for it',
      sql: `INSERT INTO lanekeeper.member (dc) VALUES ${names.map((dc) => `(${quoteText(dc)})`).join(', ')} ON CONFLICT DO NOTHING`,
      lock: null,
      estimatedRows: null,
      waitsFor: null,
      action: { do: 'run' },
    },
  ];
}

function missingTables(configuration: Configuration, catalog: Catalog): PlanProblem[] {
  const declared = Object.keys(configuration.tables).filter((name) => !catalog.tables.has(name));
  const others = [...catalog.tables.keys()].filter((name) => !(name in configuration.tables));
  const known = others.length === 0 ? 'none besides those declared' : others.join(', ');
  const missing = declared.map((table): PlanProblem => {
    const message = `${table} is declared, but this database has no such table. It has: ${known}. Run the application's migrations first.`;
    return { kind: 'missing-table', table, message };
  });
  const columns = Object.values(configuration.claims).flatMap((claim): PlanProblem[] => {
    const table = catalog.tables.get(claim.table);
    if (!table || table.columns.some((column) => column.name === claim.column)) return [];
    const message = `The claim ${claim.name} names ${claim.table}.${claim.column}, and there is no such column.`;
    return [{ kind: 'missing-column', table: claim.table, message }];
  });
  return [...missing, ...columns];
}

function migrationStep(migration: Migration): Step {
  return {
    id: `migration ${migration.file}`,
    kind: 'create',
    title: `bring the schema lanekeeper to ${migration.file}`,
    why: 'its tables and functions belong to this version of Lanekeeper',
    sql: migration.sql,
    lock: null,
    estimatedRows: null,
    waitsFor: null,
    action: { do: 'migrate', migration },
  };
}

function pieceSteps(pieces: readonly Piece[], present: PresentState, migrating: boolean): Step[] {
  const steps: Step[] = [];
  // Grants name everything in the schema, so they are repeated when something has been added to it.
  let added = migrating;
  for (const piece of pieces) {
    const installed = present.pieces.get(piece.id);
    const why = installed ? reasonToReplace(piece, installed, present, added) : 'declared, and not there yet';
    if (why === null) continue;
    if (piece.kind === 'function') added = true;
    steps.push({
      id: piece.id,
      kind: installed ? 'change' : 'create',
      title: piece.title,
      why,
      sql: piece.create,
      lock: pieceLock(piece),
      estimatedRows: null,
      waitsFor: null,
      action: { do: 'install-piece', piece },
    });
  }
  return steps;
}

function reasonToReplace(
  piece: Piece,
  installed: InstalledPiece,
  present: PresentState,
  added: boolean,
): string | null {
  if (installed.hash !== pieceHash(piece)) return 'the configuration, the tables or the version of Lanekeeper changed';
  if (piece.kind === 'grant' && added) return 'there are new functions to grant';
  const now = present.fingerprints.get(piece.id);
  if (now === undefined || now === installed.fingerprint) return null;
  if (now === null) return 'it was there and is gone';
  const name = piece.id.replace(/^publication /, '');
  const lists = [...present.carried.values()].filter(({ columns }) => columns !== null);
  return lists.some(({ publications }) => publications.includes(name))
    ? 'columns had been left out of it, and none is now'
    : 'somebody changed it by hand';
}

function pieceLock(piece: Piece): StepLock | null {
  if (piece.table === null || piece.kind !== 'trigger') return null;
  return { table: piece.table, mode: 'SHARE ROW EXCLUSIVE', blocks: 'writers wait, readers do not' };
}

/** Before the triggers, which need one from the first write on. */
function layoutSteps(configuration: Configuration, present: PresentState): Step[] {
  return mergedNames(configuration).flatMap((name): Step[] => {
    const shape = layoutShape(configuration, name);
    const latest = present.layouts.get(name);
    if (latest === shape) return [];
    return [
      {
        id: `layout of ${name}`,
        kind: latest === undefined ? 'create' : 'change',
        title: `begin an era of ${name}: ${shape}`,
        why:
          latest === undefined
            ? 'every stamp says in which order its places count'
            : 'the data centers, the weights, the applications or the policy are others than before',
        sql: `SELECT lanekeeper.declare_layout(${quoteText(name)}, ${quoteText(shape)})`,
        lock: null,
        estimatedRows: null,
        waitsFor: null,
        action: { do: 'run' },
      },
    ];
  });
}

function sequenceSteps(configuration: Configuration, present: PresentState): Step[] {
  const number = configuration.dataCenters[configuration.here]?.number ?? 0;
  return sequencesToStride(configuration, present.catalog).flatMap((sequence): Step[] => {
    const use = present.sequenceUse.get(sequence.name);
    const target = use && strideSequence(sequence, use, number, configuration.stride);
    if (!target) return [];
    return [
      {
        id: `sequence ${sequence.name}`,
        kind: 'change',
        title: `let ${sequence.name} count in steps of ${configuration.stride} from ${target.next}`,
        why: `numbers drawn in ${configuration.here} all leave ${number % configuration.stride} when divided by ${configuration.stride}, so that no other data center draws the same`,
        sql: strideSql(sequence, target),
        lock: {
          table: sequence.name,
          mode: 'SHARE ROW EXCLUSIVE',
          blocks: 'whoever draws a number waits for a moment',
        },
        estimatedRows: null,
        waitsFor: null,
        action: { do: 'stride-sequence', sequence },
      },
    ];
  });
}

/** What calls goes before what is called. */
const removalOrder: readonly Piece['kind'][] = ['trigger', 'publication', 'view', 'grant', 'function'];

function removalSteps(pieces: readonly Piece[], present: PresentState): Step[] {
  const declared = new Set(pieces.map((piece) => piece.id));
  return [...present.pieces.values()]
    .filter((installed) => !declared.has(installed.id))
    .sort((a, b) => removalOrder.indexOf(a.kind) - removalOrder.indexOf(b.kind))
    .map((installed) => {
      const gone = installed.relation !== null && !present.catalog.tables.has(installed.relation);
      return {
        id: `remove ${installed.id}`,
        kind: 'remove',
        title: `remove the ${installed.id}`,
        why: gone ? `${installed.relation} is gone` : 'nothing declares it any more',
        // Without its table a trigger is gone too, and DROP TRIGGER would only say that the table does not exist.
        sql: gone && installed.kind === 'trigger' ? 'SELECT' : installed.removal,
        lock:
          installed.relation !== null && !gone && installed.kind === 'trigger'
            ? { table: installed.relation, mode: 'ACCESS EXCLUSIVE', blocks: 'readers and writers wait for a moment' }
            : null,
        estimatedRows: null,
        waitsFor: null,
        action: { do: 'remove-piece', id: installed.id },
      };
    });
}

function ownDeedSteps(configuration: Configuration, present: PresentState): Step[] {
  const missing = ownDeeds(configuration).filter((deed) => !present.ownDeeds.has(deed.account));
  if (missing.length === 0) return [];
  const first = missing[0]?.account ?? '';
  return [
    {
      id: 'deeds of accounts without rows',
      kind: 'create',
      title:
        missing.length === 1
          ? `give ${first} a deed`
          : `give ${missing.length} accounts without rows a deed, from ${first}`,
      why: 'claims, rows without an account and a single home for all need a deed too',
      sql: ownDeedsSql(missing),
      lock: null,
      estimatedRows: missing.length,
      waitsFor: null,
      action: { do: 'run' },
    },
  ];
}

function fillSteps(configuration: Configuration, present: PresentState): Step[] {
  const { homes } = present;
  const deeded = homes?.deeded === true;
  const from: FillFrom = { home: deeded ? homes.home : configuration.existingAccounts, deed: deeded };
  const unread = joinedPeers(configuration, present.members).filter((dc) => !present.slotsFor.has(dc));
  const waitsFor =
    unread.length === 0
      ? null
      : `${unread.join(', ')} ${unread.length === 1 ? 'does' : 'do'} not subscribe to ${configuration.here} yet, and would never hear of deeds written before: apply there first, then here again`;
  return fillsOf(configuration, present.catalog, from)
    .filter((fill) => !present.fills.get(fill.id)?.done)
    .map((fill) => ({
      id: fill.id,
      kind: 'create',
      title: fill.title,
      why: fill.why,
      sql: chunkSql(fill),
      lock: null,
      estimatedRows: fill.table.estimatedRows,
      waitsFor,
      action: { do: 'fill', fill },
    }));
}
