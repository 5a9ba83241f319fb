/** Source transactions and their rows for a person: what was, what was written, what is, side by side. */
import type { LedgerEntry, LedgerTransaction, TransactionName } from '../postgres/index.ts';
import { count } from './database-command.ts';
import type { Output } from './output.ts';

const valueWidthMax = 40;

export function nameOf({ dataCenter, generation, endLsn }: TransactionName): string {
  return `${dataCenter}/${generation}/${endLsn}`;
}

export function printTransaction(output: Output, transaction: LedgerTransaction): void {
  const { colors } = output;
  const { committedAt, accounts, relations, changes, state, decidedBy, decidedAt, reason } = transaction;
  const paint = { open: colors.yellow, merged: colors.green, discarded: colors.dim }[state];
  const whose = accounts.length === 0 ? 'of no account' : accounts.join(', ');
  const tables = relations.filter((relation) => relation !== 'lanekeeper.deed').join(', ') || relations.join(', ');
  const when = committedAt.toISOString().replace('T', ' ').slice(0, 19);
  output.line(
    `${colors.bold(nameOf(transaction))}  ${when}  ${whose}  ${count(changes, 'change')} of ${tables}  ${paint(state)}`,
  );
  if (decidedAt !== null && state !== 'open') {
    const by = decidedBy === null ? 'by declaration' : `by ${decidedBy}`;
    output.line(
      colors.dim(`    ${by}, ${decidedAt.toISOString().slice(0, 16).replace('T', ' ')}${reason ? `: ${reason}` : ''}`),
    );
  }
}

export function printEntry(output: Output, entry: LedgerEntry): void {
  const { colors } = output;
  const key = entry.keyColumns.map((name, i) => `${name} = ${entry.key[i] ?? '?'}`).join(', ');
  const moved = entry.oldKey === null ? '' : ` (was ${entry.oldKey.join(', ')})`;
  output.line();
  output.line(`${entry.kind} ${colors.bold(entry.relation)} (${entry.purgedAt === null ? key : 'removed'})${moved}`);
  if (entry.account === null && entry.unresolved !== null)
    output.line(colors.yellow(`    account unknown: ${entry.unresolved}`));
  if (entry.purgedAt !== null) return output.line(colors.dim('    its rows have been removed from the ledger'));
  if (entry.relation.startsWith('lanekeeper.') && entry.state === 'discarded') {
    return output.line(colors.dim(`    ${entry.reason ?? 'bookkeeping'}`));
  }
  if (entry.baseFrom === null)
    output.line(colors.yellow('    the row was written here since, so what it was before is not known'));
  for (const line of sideBySide(entry)) output.line(`    ${line}`);
}

/** Columns that are not the same all over; of a new row all of them. */
function sideBySide(entry: LedgerEntry): readonly string[] {
  const base = columnsOf(entry.baseColumns, entry.base);
  const image = columnsOf(entry.imageColumns, entry.image);
  const current = columnsOf(entry.currentColumns, entry.current);
  const names = [...new Set([...current.keys(), ...image.keys(), ...base.keys()])];
  const absent = { base: entry.baseFrom === 'none', current: entry.currentColumns === null };
  const rows = names.flatMap((name): readonly (readonly string[])[] => {
    const was = absent.base ? '—' : shown(base, name, '?');
    const written =
      entry.kind === 'delete' ? '—' : shown(image, name, entry.unchanged.includes(name) ? 'unchanged' : '?');
    const is = absent.current ? '—' : shown(current, name, '?');
    const same = was === is && (written === was || written === 'unchanged');
    return same ? [] : [[name, was, written, is]];
  });
  if (rows.length === 0) return ['no column differs'];
  const table = [['', 'before', 'stranded', 'now'], ...rows];
  const widths = [0, 1, 2, 3].map((i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
  return table.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function columnsOf(
  columns: readonly string[] | null,
  values: readonly (string | null)[] | null,
): ReadonlyMap<string, string | null> {
  return new Map((columns ?? []).map((name, i) => [name, values?.[i] ?? null]));
}

function shown(row: ReadonlyMap<string, string | null>, name: string, unknown: string): string {
  if (!row.has(name)) return unknown;
  const value = row.get(name) ?? 'NULL';
  const line = value.replaceAll(/\s+/g, ' ');
  return line.length <= valueWidthMax ? line : `${line.slice(0, valueWidthMax - 1)}…`;
}
