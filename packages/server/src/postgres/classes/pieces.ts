/**
 * Triggers of tables that one data center feeds. What is `read-only`, `static-content` or a copy is written only while its
 * feeder publishes it; another `system-of-reference` is written by its feeder whenever it likes. Elsewhere nobody writes
 * either, except replication, for which these triggers do not fire.
 */
import type { Table } from 'lanekeeper/config';
import type { TableInfo } from '../catalog.ts';
import { trigger, truncateTrigger } from '../fence/homed-table.ts';
import { quoteText } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

/** A table of the database and what it, or the partitioned table at the top of its tree, is declared as. */
export type DeclaredTable = { readonly table: TableInfo; readonly declared: Table };

/** Whether it is written only while its feeder publishes it. */
export function isGated(table: Table): boolean {
  return table.feeder !== null && (table.class !== 'system-of-reference' || table.copy !== null);
}

/** The triggers of every table with a feeder. */
export function feederPieces(tables: readonly DeclaredTable[]): Piece[] {
  return tables.flatMap(({ table, declared }) => {
    const { feeder } = declared;
    if (feeder === null) return [];
    const [call, title] = isGated(declared)
      ? [gateCall(declared, feeder), `let only ${feeder} write ${table.name}, and only while it publishes`]
      : [`lanekeeper.refuse_unless_feeder(${quoteText(feeder)})`, `let only ${feeder} write ${table.name}`];
    return [
      trigger(table, 'lanekeeper_feeder', 'BEFORE INSERT OR UPDATE OR DELETE', 'STATEMENT', call, title),
      truncateTrigger(table),
    ];
  });
}

function gateCall(declared: Table, feeder: string): string {
  const kind = declared.copy === null ? 'published' : 'copy';
  return `lanekeeper.refuse_unless_publishing(${[feeder, declared.name, kind].map(quoteText).join(', ')})`;
}

/** `lanekeeper.fed()`: which table is fed by whom, for the functions of `sql/`. */
export function fedPiece(tables: readonly DeclaredTable[]): Piece {
  const rows = tables
    .filter(({ table, declared }) => table.partitionOf === null && declared.feeder !== null)
    .map(
      ({ declared }) =>
        `(${quoteText(declared.name)}, ${quoteText(declared.feeder ?? '')}, ${isGated(declared)}, ${declared.copy !== null})`,
    );
  const body =
    rows.length === 0
      ? `SELECT NULL::text, NULL::text, NULL::boolean, NULL::boolean WHERE false`
      : `VALUES ${rows.join(', ')}`;
  const name = 'lanekeeper.fed()';
  return {
    kind: 'function',
    id: 'function lanekeeper.fed',
    table: null,
    title: 'which tables one data center feeds',
    create: `CREATE OR REPLACE FUNCTION ${name} RETURNS TABLE (relation text, feeder text, gated boolean, copied boolean)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $lanekeeper$${body}$lanekeeper$;
REVOKE ALL ON FUNCTION ${name} FROM PUBLIC`,
    drop: `DROP FUNCTION IF EXISTS ${name}`,
  };
}
