/** One schedule from beginning to end: load, faults, healing, rest. Returns what was violated, or null. */
import { ask, inject } from './faults.ts';
import type { Mutant } from './mutants.ts';
import { Violation } from './observer.ts';
import { faultsUntilMs, type Schedule } from './schedule.ts';
import { Simulation } from './simulation.ts';

export type Outcome = {
  readonly violation: { readonly invariant: string; readonly message: string; readonly atMs: number } | null;
  readonly events: number;
  readonly seen: Simulation['observer']['seen'];
  /** From the last fault's end until everything was as it should be. */
  readonly healedInMs: number;
};

/** Two leases, a rejoin with its retries, and the sync set. */
const healWithinMs = 30_000;
/** The longest commit that stands still ends in it. */
const quietWithinMs = 20_000;

/** What a person does who reads `status`: one that lacks what nobody keeps for it is taken over, to be seeded again. */
const personAfterMs = 8_000;

function helpOut(simulation: Simulation): void {
  const { dcs, forcedByPerson } = simulation;
  for (const { name, peers, agent } of dcs) {
    const lease = agent?.state.lease;
    const lost = lease?.phase === 'without' && lease.reasons.some(({ code }) => code === 'tail-lost');
    if (!lost || agent?.state.view.own?.takenOver !== null) continue;
    const helper = peers.find((peer) => peer.agent?.state.lease.phase === 'held')?.agent;
    if (helper == null) continue;
    forcedByPerson.add(name);
    const id = `helped-${Math.round(simulation.timeline.nowMs)}`;
    simulation.onAsked(id, helper);
    helper.handle({ kind: 'failover-asked', id, from: name, forced: true });
  }
}

export type RunOptions = {
  readonly mutant?: Mutant | null;
  /** Called before anything happens. */
  readonly watch?: (simulation: Simulation) => void;
};

export function run(schedule: Schedule, { mutant = null, watch = () => {} }: RunOptions = {}): Outcome {
  const simulation = new Simulation(schedule, mutant);
  const { timeline, observer } = simulation;
  let healedInMs = 0;
  watch(simulation);
  try {
    simulation.start();
    for (const fault of schedule.faults) inject(simulation, fault);
    for (const operation of schedule.operations) ask(simulation, operation);
    const lastMs = Math.max(faultsUntilMs, ...schedule.faults.map(({ untilMs }) => untilMs)) + 1000;
    timeline.runUntil(lastMs);
    let unrest = simulation.unrest();
    while (unrest !== null) {
      if (timeline.nowMs > lastMs + personAfterMs) helpOut(simulation);
      if (timeline.nowMs > lastMs + healWithinMs) throw new Violation('liveness', unrest);
      timeline.runUntil(timeline.nowMs + 250);
      unrest = simulation.unrest();
    }
    healedInMs = timeline.nowMs - lastMs;
    simulation.loaded = false;
    const stoppedMs = timeline.nowMs;
    do timeline.runUntil(timeline.nowMs + 500);
    while (!simulation.quiet && timeline.nowMs < stoppedMs + quietWithinMs);
    if (!simulation.quiet) throw new Violation('liveness', 'something still waits although nobody writes');
    observer.checkRest();
    return { violation: null, events: timeline.events, seen: observer.seen, healedInMs };
  } catch (error) {
    const { message } = error as Error;
    const invariant = error instanceof Violation ? error.invariant : 'failure';
    const told = error instanceof Violation ? message : `${(error as Error).stack}`;
    return {
      violation: { invariant, message: told, atMs: Math.round(timeline.nowMs) },
      events: timeline.events,
      seen: observer.seen,
      healedInMs,
    };
  }
}
