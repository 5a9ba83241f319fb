/** Holes, one at a time: wrappers around what the protocol hears and asks for, or a model that forgets a rule. */
import type { Action, OwnershipEvent, Settings } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';

export type Mutant = {
  readonly name: string;
  /** A rule of the models that is left out: asked for by name where it is kept. */
  readonly hole?: string;
  readonly settings?: Partial<Settings>;
  readonly event?: (event: OwnershipEvent, agent: AgentProcess) => OwnershipEvent;
  readonly actions?: (actions: readonly Action[], agent: AgentProcess) => readonly Action[];
};
