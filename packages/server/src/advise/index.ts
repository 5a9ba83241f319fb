/**
 * The advisor: what an application's tables are, whether they can be written in several data centers, and which of the five
 * approaches fits. Pure: catalogs, statistics and a configuration come in as data; `cli` and `lab` read them.
 *
 *   names.ts       what names usually mean
 *   accounts.ts    which table holds the accounts, and how a row finds its own
 *   claims.ts      which values must be unique everywhere
 *   infer.ts       a class for every table: `adopt`, `lab --schema`
 *   write.ts       the guess as YAML, with its reasons
 *   tables.ts      the advice, table by table
 *   approach.ts    five approaches, one chosen, with the arithmetic
 *   migration/     a schema change, statement by statement, while some data centers have it
 *
 * What holds:
 *   1. A guess is never silent: it carries its reason, and what a person has to decide.
 *   2. In doubt the class is one that refuses or serialises, never one that merges or forgets (R5).
 *   3. What is wrong with a schema is judged in one place, `judgeSchema` of the room `postgres`; this room adds nothing to it.
 */
export {
  type Ability,
  type ApproachAdvice,
  type ApproachNeeds,
  type ApproachVerdict,
  abilities,
  adviseApproach,
} from './approach.ts';
export { type Guess, type GuessOptions, guessTables, type TableGuess } from './infer.ts';
export {
  judgeStatement,
  type MigrationPhase,
  type MigrationVerdict,
  type MigrationWay,
  type SchemaDifference,
  type SchemaSide,
  schemaDifferences,
} from './migration/index.ts';
export { type GuessedSections, sectionsOf } from './sections.ts';
export { adviseTables, isAbout, type TableAdvice } from './tables.ts';
export { type FirstFacts, firstConfigurationOf, writeSections } from './write.ts';
