/**
 * Drills: real faults in a real lab, under the load of customers, with a checker that believes nobody. A map:
 *
 * - `drill.ts` one drill, from the first customer to the verdicts · `session.ts` several, and the lab they run in
 * - `load/` customers · `faults/` what can be broken, by name · `checker/` what must hold (W1 to A1) · `report/` what came out
 * - `approaches/` the five approaches side by side
 * - `watch.ts` looks at the product from outside · `settle.ts` waits · `own-lab.ts` a lab of its own · `means.ts` what this
 *   machine permits
 *
 * What holds: 1. Whatever a drill breaks is mended before it ends, however it ends. 2. Nothing that a verdict says about
 * customers' data is taken from Lanekeeper's own books, but for the stranded ledger. 3. What could not be checked is said to
 * be so, and never counts as holding. 4. The same seed chooses the same faults, places and customers.
 */
export {
  type ApproachResult,
  approachNames,
  measureApproach,
  renderApproaches,
  renderApproachesMarkdown,
} from './approaches/index.ts';
export { loadAssertion } from './checker/index.ts';
export { DrillAborted } from './drill.ts';
export { type Fault, faultGroups, faults, findFault } from './faults/index.ts';
export { canHaveNamespace, insideVariable, meansHere } from './means.ts';
export { randomFrom } from './random.ts';
export {
  type DrillReport,
  pageName,
  renderIndex,
  renderLine,
  renderMarkdown,
  renderReport,
  renderSvg,
} from './report/index.ts';
export { runSession } from './session.ts';
