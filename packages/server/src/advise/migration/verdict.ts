/** What is said of one statement of a migration. */
import type { Configuration, Table, TableName } from 'lanekeeper/config';

/**
 * `alone`: in one data center after the other, whenever it suits. `together`: in all of them, one right after the other, since streams
 * wait in between. `split`: not as it is; `instead` says in which steps. `refused`: not in a migration at all. `unknown`: what it does
 * cannot be seen in it.
 */
export type MigrationWay = 'alone' | 'together' | 'split' | 'refused' | 'unknown';

/** `expand`: old and new code work with the result. `contract`: only code that does without what goes away. */
export type MigrationPhase = 'expand' | 'contract';

export type MigrationVerdict = {
  readonly way: MigrationWay;
  readonly phase: MigrationPhase | null;
  readonly table: TableName | null;
  /** One sentence without a full stop. */
  readonly why: string;
  /** What to do in its place, or after it; null: nothing. */
  readonly instead: string | null;
};

export function verdict(
  way: MigrationWay,
  table: TableName | null,
  why: string,
  more: { readonly phase?: MigrationPhase; readonly instead?: string } = {},
): MigrationVerdict {
  return { way, phase: more.phase ?? null, table, why, instead: more.instead ?? null };
}

/** Null: it is nobody's but this data center's, as far as Lanekeeper is concerned. */
export function travelling(configuration: Configuration, table: TableName): Table | null {
  const declared = configuration.tables[table];
  return declared === undefined || declared.class === 'session-state' ? null : declared;
}
