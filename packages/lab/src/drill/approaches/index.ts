/**
 * The five approaches side by side: the same requests and the same failure under each, at several round trips, as the table
 * by which one chooses. `measure.ts` runs one approach in a lab of its own · `probe.ts` one customer's requests ·
 * `table.ts` what it comes to · `stated.ts` what cannot be measured, in words.
 */
export { type ApproachResult, measureApproach } from './measure.ts';
export { approachNames } from './stated.ts';
export { renderApproaches, renderApproachesMarkdown } from './table.ts';
