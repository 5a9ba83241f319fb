/** The history of successions as agents tell it (`GET /v1/successions`): what it may look like, and which of two is newer. Pure. */
import type { Succession, SuccessionKind } from './succession.ts';
import type { DataCenterName } from './words.ts';

const longestHistory = 100_000;

/**
 * The successions in an agent's answer, or null when it is none: `{successions: […]}`, all of them, in order of their terms, which
 * begin at 2. Whatever else it holds is ignored.
 */
export function readHistory(answer: unknown): readonly Succession[] | null {
  const { successions } = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  if (!Array.isArray(successions) || successions.length > longestHistory) return null;
  const history: Succession[] = [];
  for (const each of successions as unknown[]) {
    const succession = readSuccession(each);
    if (succession === null || succession.term <= (history.at(-1)?.term ?? 1)) return null;
    history.push(succession);
  }
  return history;
}

/** A history only grows: whether `next` holds all that is `known`, unchanged, and more. */
export function isNewerHistory(next: readonly Succession[], known: readonly Succession[]): boolean {
  if (next.length <= known.length) return false;
  return known.every((succession, i) => isSame(succession, next[i] as Succession));
}

function readSuccession(value: unknown): Succession | null {
  if (typeof value !== 'object' || value === null) return null;
  const { term, kind, from, to, undoes = null } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(term) || (kind !== 'take' && kind !== 'switch' && kind !== 'return')) return null;
  if (!isName(from) || !isName(to) || from === to) return null;
  if (undoes !== null && !Number.isSafeInteger(undoes)) return null;
  return { term: term as number, kind: kind satisfies SuccessionKind, from, to, undoes: undoes as number | null };
}

function isName(value: unknown): value is DataCenterName {
  return typeof value === 'string' && /^[a-z][a-z0-9]{0,14}$/.test(value);
}

function isSame(a: Succession, b: Succession): boolean {
  return a.term === b.term && a.kind === b.kind && a.from === b.from && a.to === b.to && a.undoes === b.undoes;
}
