/** What goes wrong in a schedule. Every fault has an end, and all have ended when the world is to come to rest. */
import type { DataCenterName } from 'lanekeeper/model';
import type { World } from './world.ts';

type Fault = (world: World, dc: DataCenterName) => () => void;

const faults: Readonly<Record<string, Fault>> = {
  'agent killed': (world, dc) => {
    world.agent(dc).kill();
    return () => world.agent(dc).start();
  },
  'agent stopped': (world, dc) => {
    world.agent(dc).handle({ kind: 'leave', successor: world.random.chance(0.5) });
    return () => {};
  },
  'database crashed': (world, dc) => {
    world.database(dc).crash();
    return () => {
      world.database(dc).up = true;
    };
  },
  'requests cut': (world) => {
    world.requestsCut = true;
    return () => {
      world.requestsCut = false;
    };
  },
  'stream cut': (world, dc) => {
    world.dc(dc).streamCut = true;
    return () => {
      world.dc(dc).streamCut = false;
    };
  },
  'store cut': (world, dc) => {
    world.storeCut.add(dc);
    return () => world.storeCut.delete(dc);
  },
  'clock jumped': (world, dc) => {
    // Without the machine's uptime nothing but a living agent can notice.
    if (world.database(dc).hasUptime || world.agent(dc).state !== null)
      world.database(dc).clockOffsetMs += world.random.pick([-3_600_000, -5000, -800, 800, 5000, 3_600_000]);
    // Worst when no renewal comes to put it right.
    if (world.random.chance(0.5)) world.storeCut.add(dc);
    return () => world.storeCut.delete(dc);
  },
  'answers lost': (world) => {
    world.lossRate = 0.15;
    return () => {
      world.lossRate = 0;
    };
  },
  'request stuck': (world, dc) => {
    world.dc(dc).stuck = true;
    return () => {
      world.dc(dc).stuck = false;
    };
  },
  'instance died': (world, dc) => {
    const instances = world.dc(dc).instances;
    world.dc(dc).instances = instances.slice(1);
    return () => {
      world.dc(dc).instances = instances;
    };
  },
  'rows swallowed': (world, dc) => {
    world.dc(dc).hole = true;
    // PostgreSQL counts some of these, and says nothing about others.
    if (world.random.chance(0.5)) world.dc(dc).conflicts = 1;
    return () => {
      world.dc(dc).hole = false;
      world.dc(dc).conflicts = 0;
    };
  },
};

/** Between `fromMs` and `untilMs`. Returns what it will do, for the message of a failure. */
export function scheduleFaults(world: World, count: number, fromMs: number, untilMs: number): string[] {
  const { random, timeline } = world;
  const plan: string[] = [];
  const names = Object.keys(faults);
  // An agent that dies right after a jump, where nothing reads the uptime, is the one case that has no remedy here.
  let agentSafeUntilMs = 0;
  for (let index = 0; index < count; index++) {
    const name = random.pick(names);
    const dc = random.pick(['ny', 'la']);
    const atMs = random.between(fromMs, untilMs - 500);
    const endMs = random.between(atMs + 50, Math.min(untilMs, atMs + 6000));
    plan.push(`${atMs}–${endMs} ${name} (${dc})`);
    timeline.at(atMs, () => {
      if (name === 'agent killed' || name === 'agent stopped' || name === 'answers lost') {
        if (timeline.nowMs < agentSafeUntilMs) return;
      }
      if (name === 'clock jumped') {
        if (world.lossRate > 0) return;
        agentSafeUntilMs = timeline.nowMs + 1500;
      }
      const heal = (faults[name] as Fault)(world, dc);
      timeline.at(endMs, heal);
    });
  }
  return plan.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
}
