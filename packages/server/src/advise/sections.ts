/** A guess as a person would write it in a configuration. Pure. */
import type { WrittenConfiguration } from 'lanekeeper/config';
import type { Guess } from './infer.ts';

export type GuessedSections = Required<Pick<WrittenConfiguration, 'tables' | 'claims' | 'ignore' | 'fixed'>>;

export function sectionsOf(guess: Guess, dataCenter: string): GuessedSections {
  return {
    tables: Object.fromEntries(guess.tables.map(({ table, written }) => [table.name, written])),
    claims: Object.fromEntries(
      guess.claims.map(({ name, table, column, normalise, mode }) => [
        name,
        { table, column, normalise, ...(mode === 'one-dc' ? { mode, dataCenter } : {}) },
      ]),
    ),
    ignore: guess.ignored.map(({ name }) => name),
    fixed: guess.fixed === null ? {} : { [guess.fixed]: dataCenter },
  };
}
