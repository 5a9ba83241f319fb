/**
 * The faults that can be drilled, by name. `fault.ts` what one is · `arena.ts` what it may touch · `repair.ts` what an operator
 * does about it · one file for each group, `packets.ts` for links that the kernel breaks, and `three.ts` for what needs three data centers.
 */
import { clockFaults } from './clocks.ts';
import { dataFaults } from './data.ts';
import type { Fault } from './fault.ts';
import { linkFaults } from './links.ts';
import { packetFaults } from './packets.ts';
import { processFaults } from './processes.ts';
import { protocolFaults } from './protocol.ts';
import { standbyFaults } from './standbys.ts';
import { storageFaults } from './storage.ts';
import { threeFaults } from './three.ts';
import { trafficFaults } from './traffic.ts';

export { type Arena, superusers } from './arena.ts';
export { type Expectation, type Fault, type FaultGroup, type FaultNeeds, faultGroups } from './fault.ts';

export const faults: readonly Fault[] = [
  ...processFaults,
  ...clockFaults,
  ...linkFaults,
  ...packetFaults,
  ...dataFaults,
  ...storageFaults,
  ...standbyFaults,
  ...protocolFaults,
  ...trafficFaults,
  ...threeFaults,
];

export function findFault(name: string): Fault | undefined {
  return faults.find((one) => one.name === name);
}
