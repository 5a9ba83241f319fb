/** What the tables of the model hold, and the fold of successions over a deed. */
import { type Epoch, resolveHome, type Succession } from 'lanekeeper/model';

export type Deed = {
  readonly home: string;
  readonly epoch: Epoch;
  readonly giver: string | null;
  readonly digest: string | null;
};
export type CutRow = { readonly of: string; readonly generation: number; readonly homed: number };
export type SuccessionRow = Succession & { readonly cut: CutRow | null };
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
  readonly atMs: number;
  readonly changes: readonly Change[];
};

export class ApplyError extends Error {}

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
