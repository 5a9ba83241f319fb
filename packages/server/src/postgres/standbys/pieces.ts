/**
 * Where there are standbys, on each table that other data centers write to: a promoted one takes none of it before it was accepted
 * (`sql/000021.sql`). It costs 3 µs for each row that arrives, about as much as PostgreSQL needs to apply a small one.
 */
import type { Configuration } from 'lanekeeper/config';
import type { DeclaredTable } from '../classes/pieces.ts';
import { trigger } from '../fence/homed-table.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import type { Piece } from '../piece.ts';

const name = 'lanekeeper_arrival';
const event = 'AFTER INSERT OR UPDATE OR DELETE';

/** Partitions get it from PostgreSQL. */
export function arrivalPieces({ here, dataCenters }: Configuration, tables: readonly DeclaredTable[]): Piece[] {
  if (!dataCenters[here]?.standbys.length) return [];
  return tables.flatMap(({ table, declared }) => {
    const arrives = declared.class === 'system-of-record' || (declared.feeder !== null && declared.feeder !== here);
    if (!arrives || table.partitionOf !== null) return [];
    const title = `take nothing for ${table.name} from others while this is a promoted standby without a lease`;
    const piece = trigger(table, name, event, 'ROW', 'lanekeeper.hold_arrival()', title);
    const enable = `ALTER TABLE ${quoteTable(table)} ENABLE REPLICA TRIGGER ${quoteName(name)}`;
    return [{ ...piece, create: `${piece.create};\n${enable}` }];
  });
}
