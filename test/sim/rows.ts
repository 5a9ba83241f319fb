/** What the tables of the model hold, and the fold of successions over a deed. */
import { type Epoch, resolveHome, type Succession } from 'lanekeeper/model';

export type Deed = {
  readonly home: string;
  readonly epoch: Epoch;
  readonly giver: string | null;
  readonly digest: string | null;
};
/** Up to where the log of a generation of a data center that is gone counts. */
export type CutRow = { readonly generation: number; readonly homed: number };
export type SuccessionRow = Succession & { readonly cuts: Readonly<Record<string, CutRow>> | null };
export type Stranded = { readonly dc: string; readonly change: Change };
export type Value = string | Deed | SuccessionRow | Stranded;
export type TableName = 'row' | 'deed' | 'acceptance' | 'adoption' | 'succession' | 'stranded';
export type Change = {
  readonly op: 'insert' | 'update' | 'delete' | 'repair';
  readonly table: TableName;
  readonly key: string;
  readonly value?: Value;
};
export type Transaction = {
  readonly lsn: number;
  readonly origin: string | null;
  /** Where it is in the log that it was applied from; null when it was written here. */
  readonly originLsn: number | null;
  readonly atMs: number;
  readonly changes: readonly Change[];
};

/** Of the log of one that was taken over: in which term, and whether what is missing here can be had from nobody. */
export type Frozen = { readonly term: number; readonly lost: boolean };

/** `cut`: up to where what was written here counts, by the takeover that is come back from. */
export type Rejoining = {
  readonly term: number;
  readonly stage: string;
  readonly cut: number;
  readonly keys: readonly Pick<Change, 'table' | 'key'>[];
  /** Of others that are gone: up to where what was here was left in place. */
  readonly cuts?: Readonly<Record<string, number>>;
  /** The generation was raised, and the lease store was asked in this term: as long as it lasts, it may say yes. */
  readonly asked?: number | null;
};

export class ApplyError extends Error {}

/** The account that a row belongs to; null for rows about whole data centers. */
export function accountOf(table: TableName, key: string): string | null {
  if (table === 'row') return key.slice(0, key.indexOf('/'));
  if (table === 'deed') return key;
  if (table === 'acceptance' || table === 'adoption') return key.slice(0, key.indexOf('@')) || null;
  return null;
}

/** Where the deed of `home` in `term` leads, and the term of the last succession that applied. */
export function fold(
  successions: readonly SuccessionRow[],
  home: string,
  term: number,
): { home: string; term: number } {
  const later = successions.filter((one) => one.term > term);
  let applied = term;
  for (let count = 1; count <= later.length; count++) {
    const before = resolveHome(later.slice(0, count - 1), { home, term });
    const after = resolveHome(later.slice(0, count), { home, term });
    if (after !== before) applied = later[count - 1]?.term ?? applied;
  }
  return { home: resolveHome(later, { home, term }), term: applied };
}
