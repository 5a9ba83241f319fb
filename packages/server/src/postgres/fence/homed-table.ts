/**
 * The fence of one homed table: statement triggers that see all rows a statement touched, old and new, after every other
 * trigger has had its say. Row triggers only where a row has something to say that the statement cannot: the birth of an
 * account, a parent that leaves, a row that changes hands, a partition that nobody has fenced yet.
 */
import type { TableInfo } from '../catalog.ts';
import type { Piece } from '../piece.ts';
import { type AccountPath, accountColumns, accountExpression, partingRelation, rowKey } from './account-path.ts';
import { functionName, quoteName, quoteTable, quoteText } from './names.ts';

/** `single`: one deed for all rows, that of a single home for everything (`*`) or of a fixed home. */
export type Ownership =
  | { readonly kind: 'path'; readonly path: AccountPath }
  | { readonly kind: 'single'; readonly account: string };

export type HomedTable = {
  readonly table: TableInfo;
  readonly ownership: Ownership;
  /** Deeds are born with this table's rows. */
  readonly root: boolean;
  /** Keys of this table through which other tables find their accounts. */
  readonly childKeys: readonly { readonly parent: TableInfo; readonly referencedColumns: readonly string[] }[];
  /** What `lanekeeper.fence` is told: 0 local, 1 remote, 2 remote and refused while this data center is alone. */
  readonly durability: 0 | 1 | 2;
  /** The whole partition tree below and including this table, when it is partitioned. */
  readonly fencedPartitions: readonly TableInfo[];
};

const language = 'LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp';

export function homedTablePieces(homed: HomedTable): Piece[] {
  const { table } = homed;
  const pieces = [
    ...statementFence(homed, 'insert', ['new_rows']),
    ...statementFence(homed, 'update', seesChanges(table) ? ['new_rows'] : ['old_rows', 'new_rows']),
    ...statementFence(homed, 'delete', ['old_rows']),
    truncateTrigger(table),
  ];
  if (homed.ownership.kind === 'single') {
    const { account } = homed.ownership;
    const all = { before: quoteText(account), after: quoteText(account) };
    return table.kind === 'partitioned' && table.partitionOf === null
      ? [...pieces, ...newPartition(homed, all)]
      : pieces;
  }
  const path = homed.ownership.path;
  if (seesChanges(table)) pieces.push(...changeOfHands(homed, path));
  // Row triggers of a partitioned table are cloned to its partitions by PostgreSQL itself.
  if (table.partitionOf !== null) return pieces;
  if (homed.root) pieces.push(...birth(table, path));
  for (const key of homed.childKeys) pieces.push(...parting(table, path, key.referencedColumns));
  if (table.kind === 'partitioned') {
    const accounts = { before: accountExpression(path, 'OLD', true), after: accountExpression(path, 'NEW', false) };
    pieces.push(...newPartition(homed, accounts));
  }
  return pieces;
}

/** TRUNCATE passes row triggers, and says nothing of whose rows it took. */
export function truncateTrigger(table: TableInfo): Piece {
  return trigger(
    table,
    'lanekeeper_fence_truncate',
    'BEFORE TRUNCATE',
    'STATEMENT',
    'lanekeeper.refuse_truncate()',
    `refuse TRUNCATE of ${table.name}`,
  );
}

function statementFence(
  homed: HomedTable,
  job: 'insert' | 'update' | 'delete',
  transitions: readonly string[],
): Piece[] {
  const { table, ownership } = homed;
  const name = functionName(job, table.name);
  const body =
    ownership.kind === 'single' ? singleBody(homed, ownership.account) : pathBody(homed, ownership.path, transitions);
  const referencing =
    ownership.kind === 'single'
      ? ''
      : ` REFERENCING${transitions.map((rows) => ` ${rows === 'new_rows' ? 'NEW' : 'OLD'} TABLE AS ${rows}`).join('')}`;
  return [
    func(name, table, `fence every ${job} of ${table.name}`, body),
    trigger(
      table,
      `lanekeeper_fence_${job}`,
      `AFTER ${job.toUpperCase()}`,
      'STATEMENT',
      `${name}()`,
      `fence every ${job} of ${table.name}`,
      referencing,
    ),
  ];
}

/** The arguments of `lanekeeper.fence` after the accounts. */
function fenceArguments({ table, durability }: HomedTable): string {
  return `${quoteText(table.name)}${durability === 0 ? '' : `, ${durability}`}`;
}

function singleBody(homed: HomedTable, account: string): string {
  return `
BEGIN
  PERFORM lanekeeper.fence(ARRAY[${quoteText(account)}], ${fenceArguments(homed)});
  RETURN NULL;
END`;
}

function pathBody(homed: HomedTable, path: AccountPath, transitions: readonly string[]): string {
  const select = accountsOf(path, transitions);
  const check = `fenced := lanekeeper.fence(accounts, ${fenceArguments(homed)});`;
  if (path.steps.length === 0) {
    return `
DECLARE
  accounts text[] := ${select};
  fenced boolean;
BEGIN
  IF cardinality(accounts) > 0 THEN
    ${check}
  END IF;
  RETURN NULL;
END`;
  }
  // Waiting for a deed may have been waiting for a parent to change hands: look again until nothing has changed.
  return `
DECLARE
  accounts text[] := ${select};
  again text[];
  fenced boolean;
BEGIN
  WHILE cardinality(accounts) > 0 LOOP
    ${check}
    again := ${select};
    EXIT WHEN again = accounts;
    accounts := again;
  END LOOP;
  RETURN NULL;
END`;
}

/** All accounts of the rows in the transition tables, sorted, without repetition; NULL for a row without one. */
function accountsOf(path: AccountPath, transitions: readonly string[]): string {
  const columns = accountColumns(path).map(quoteName).join(', ');
  const distinct =
    transitions.length === 1
      ? `SELECT DISTINCT ${columns} FROM ${transitions[0]}`
      : transitions.map((name) => `SELECT ${columns} FROM ${name}`).join(' UNION ');
  if (path.steps.length === 0) {
    // Two rows may only mean the same account once NULL has been mapped to one.
    const again = path.nullAccount === null ? '' : 'DISTINCT ';
    return `ARRAY(SELECT ${again}${accountExpression(path, 'r', false)} FROM (${distinct}) r)`;
  }
  const departed = transitions.includes('old_rows');
  return `ARRAY(SELECT DISTINCT ${accountExpression(path, 'r', departed)} FROM (${distinct}) r ORDER BY 1)`;
}

/** The deed is born before any other trigger can write a row for the new account: the name sorts first. */
function birth(table: TableInfo, path: AccountPath): Piece[] {
  const name = functionName('birth', table.name);
  return [
    func(
      name,
      table,
      `give every new row of ${table.name} a deed`,
      `
BEGIN
  IF ${accountExpression(path, 'NEW', false)} IS NOT NULL THEN
    PERFORM lanekeeper.bear(${accountExpression(path, 'NEW', false)});
  END IF;
  RETURN NULL;
END`,
    ),
    trigger(
      table,
      '00_lanekeeper_birth',
      'AFTER INSERT',
      'ROW',
      `${name}()`,
      `give every new row of ${table.name} a deed`,
    ),
  ];
}

/** A parent that leaves says whose it was, before the cascades to its children run. */
function parting(table: TableInfo, path: AccountPath, columns: readonly string[]): Piece[] {
  const job = `part_${columns.join('_')}`;
  const name = functionName(job, table.name);
  const relation = partingRelation({ parent: table, referencedColumns: columns });
  const title = `remember whose a row of ${table.name} was while its children follow it`;
  const changed = columns.map((c) => `OLD.${quoteName(c)} IS DISTINCT FROM NEW.${quoteName(c)}`).join(' OR ');
  return [
    func(
      name,
      table,
      title,
      `
BEGIN
  INSERT INTO lanekeeper.parting (xid, relation, key, account)
    VALUES (pg_current_xact_id(), ${quoteText(relation)}, ${rowKey('OLD', columns)}, ${accountExpression(path, 'OLD', true)})
    ON CONFLICT (xid, relation, key) DO UPDATE SET account = excluded.account;
  RETURN NULL;
END`,
    ),
    trigger(table, `00_lanekeeper_${job}_delete`, 'AFTER DELETE', 'ROW', `${name}()`, title),
    trigger(table, `00_lanekeeper_${job}_update`, 'AFTER UPDATE', 'ROW', `${name}()`, title, ` WHEN (${changed})`),
  ];
}

/**
 * Whether a row trigger sees every change of a row's account, so that the statement trigger can do without the old rows.
 * In a partitioned table a row that moves to another partition is deleted there and inserted here.
 */
function seesChanges(table: TableInfo): boolean {
  return table.kind === 'table' && table.partitionOf === null;
}

/**
 * A row changes hands: its old account has to be written here as well. If other rows find their account through this one,
 * nobody may go on with what he read before.
 */
function changeOfHands(homed: HomedTable, path: AccountPath): Piece[] {
  const { table } = homed;
  const name = functionName('hands', table.name);
  const title = `fence rows of ${table.name} that change hands`;
  const changed = accountColumns(path)
    .map((c) => `OLD.${quoteName(c)} IS DISTINCT FROM NEW.${quoteName(c)}`)
    .join(' OR ');
  const touch =
    homed.childKeys.length > 0
      ? `
  PERFORM lanekeeper.touch_deeds(ARRAY[before, ${accountExpression(path, 'NEW', false)}]);`
      : '';
  return [
    func(
      name,
      table,
      title,
      `
DECLARE
  before text := ${accountExpression(path, 'OLD', true)};
  fenced boolean := lanekeeper.fence(ARRAY[before], ${fenceArguments(homed)});
BEGIN${touch}
  RETURN NULL;
END`,
    ),
    trigger(table, '00_lanekeeper_hands', 'AFTER UPDATE', 'ROW', `${name}()`, title, ` WHEN (${changed})`),
  ];
}

/** A partition attached after the last `apply` has no statement triggers, but PostgreSQL gives it this one. */
function newPartition(homed: HomedTable, accounts: { readonly before: string; readonly after: string }): Piece[] {
  const { table } = homed;
  const name = functionName('unfenced', table.name);
  const title = `fence partitions of ${table.name} that are attached later`;
  const known = homed.fencedPartitions.map((p) => quoteText(quoteTable(p))).join(', ');
  return [
    func(
      name,
      table,
      title,
      `
DECLARE
  fenced boolean;
BEGIN
  IF TG_RELID = ANY (ARRAY[${known}]::regclass[]) THEN
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    fenced := lanekeeper.fence(ARRAY[${accounts.before}], ${fenceArguments(homed)});
  END IF;
  IF TG_OP <> 'DELETE' THEN
    fenced := lanekeeper.fence(ARRAY[${accounts.after}], ${fenceArguments(homed)});
  END IF;
  RETURN NULL;
END`,
    ),
    trigger(table, 'lanekeeper_fence_new_partition', 'AFTER INSERT OR UPDATE OR DELETE', 'ROW', `${name}()`, title),
  ];
}

/** A trigger function of ours. Its text is its identity: `apply` replaces it when this changes. */
export function func(name: string, table: TableInfo | null, title: string, body: string): Piece {
  return {
    kind: 'function',
    id: `function ${name}`,
    table: table?.name ?? null,
    title,
    create: `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger ${language} AS $lanekeeper$${body}\n$lanekeeper$`,
    drop: `DROP FUNCTION IF EXISTS ${name}()`,
  };
}

/** `options` stand between the event and FOR EACH: REFERENCING …, or after it: WHEN …. */
export function trigger(
  table: TableInfo,
  name: string,
  event: string,
  each: 'ROW' | 'STATEMENT',
  call: string,
  title: string,
  options = '',
): Piece {
  const on = quoteTable(table);
  const [before, after] = options.startsWith(' WHEN') ? ['', options] : [options, ''];
  return {
    kind: 'trigger',
    id: `trigger ${name} on ${table.name}`,
    table: table.name,
    title,
    create: `CREATE OR REPLACE TRIGGER ${quoteName(name)} ${event} ON ${on}${before} FOR EACH ${each}${after} EXECUTE FUNCTION ${call}`,
    drop: `DROP TRIGGER IF EXISTS ${quoteName(name)} ON ${on}`,
  };
}
