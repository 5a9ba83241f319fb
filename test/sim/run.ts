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
const quietWithinMs = 12_000;

export function run(schedule: Schedule, mutant: Mutant | null = null): Outcome {
  const simulation = new Simulation(schedule.seed, mutant, schedule.manual ? { automaticFailover: false } : {});
  const { timeline, observer } = simulation;
  let healedInMs = 0;
  try {
    simulation.start();
    for (const fault of schedule.faults) inject(simulation, fault);
    for (const operation of schedule.operations) ask(simulation, operation);
    const lastMs = Math.max(faultsUntilMs, ...schedule.faults.map(({ untilMs }) => untilMs)) + 1000;
    timeline.runUntil(lastMs);
    let unrest = simulation.unrest();
    while (unrest !== null) {
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
      violation: { invariant, message: told, atMs: timeline.nowMs },
      events: timeline.events,
      seen: observer.seen,
      healedInMs,
      debug: simulation.dcs.map((d) => ({
        name: d.name,
        sync: d.agent?.state.sync,
        gates: d.agent?.state.gates,
        peers: d.agent?.state.view.peers,
        names: d.pg.names,
        members: d.pg.syncMembers,
        lsn: d.pg.lsn,
        flushed: d.outgoing.flushedLsn,
        conn: d.outgoing.connected,
        list: d.outgoing.readsList,
        take: d.agent?.state.takeover,
        turn: d.agent?.state.turnover,
        rejoin: d.agent?.state.rejoin,
        rejoining: d.pg.rejoining,
        conflicts: d.pg.conflicts,
        errors: d.incoming.errors,
        frozen: [...d.pg.frozen],
        succ: d.pg.successions,
        lease: d.agent?.state.lease.phase,
        now: d.agent?.monoMs,
        enabled: d.incoming.enabled,
        slot: d.incoming.slot,
        prog: [...d.pg.progress],
        stop: d.pg.stoppedUntilMs,
        held: d.agent?.state.view.recorded,
        drains: [...d.pg.drains],
        hist: d.agent?.state.view.history.length,
        writers: [...d.pg.writers].length,
        locked: d.pg.locked,
      })),
    } as never;
  }
}
