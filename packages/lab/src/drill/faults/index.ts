/**
 * The faults that can be drilled, by name. `fault.ts` what one is · `arena.ts` what it may touch · one file for each group.
 */
import type { Fault } from './fault.ts';
import { processFaults } from './processes.ts';

export { type Arena, superusers } from './arena.ts';
export { type Expectation, type Fault, type FaultGroup, type FaultNeeds, faultGroups } from './fault.ts';

export const faults: readonly Fault[] = [...processFaults];

export function findFault(name: string): Fault | undefined {
  return faults.find((one) => one.name === name);
}
