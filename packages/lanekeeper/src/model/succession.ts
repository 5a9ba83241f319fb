/**
 * Successions: one row moves the home of everything that a data center holds (failover, switchover, hand-back). Where an
 * account is written follows from its deed and the successions after it; the database computes the same in
 * `lanekeeper.resolve`.
 */
import type { DataCenterName } from './words.ts';

export type SuccessionKind = 'take' | 'switch' | 'return';

export type Succession = {
  /** Rises by one from view to view; the first view, without a succession, is 1. */
  readonly term: number;
  readonly kind: SuccessionKind;
  readonly from: DataCenterName;
  readonly to: DataCenterName;
  /** The term of the succession whose accounts are handed back; null unless this is a `return`. */
  readonly undoes: number | null;
};

/**
 * Where an account is written whose deed names `home` in `term`. `successions` are ordered by term. A take or switch moves
 * what its `from` holds; a return moves back only what the succession that it undoes had moved.
 */
export function resolveHome(
  successions: readonly Succession[],
  deed: { readonly home: DataCenterName; readonly term: number },
): DataCenterName {
  let { home } = deed;
  const applied = new Set<number>();
  for (const { term, kind, from, to, undoes } of successions) {
    if (term <= deed.term || from !== home) continue;
    if (kind === 'return' && (undoes === null || !applied.has(undoes))) continue;
    applied.add(term);
    home = to;
  }
  return home;
}
