/** What each kind of fault does to the models. Every one has an end; `heal` ends whatever is left. */

import type { DataCenter } from './data-center.ts';
import type { Fault, Operation } from './schedule.ts';
import type { Simulation } from './simulation.ts';

type Inject = (simulation: Simulation, dc: DataCenter, fault: Fault) => (() => void) | undefined;

const cutFromStore = ({ storeCut }: Simulation, { name }: DataCenter) => {
  storeCut.set(name, (storeCut.get(name) ?? 0) + 1);
  return () => storeCut.set(name, (storeCut.get(name) ?? 1) - 1);
};

/** The peers that a fault is about: one of them, or all. */
const peersOf = (dc: DataCenter, { peer }: Pick<Fault, 'peer'>): readonly DataCenter[] =>
  dc.peers.filter(({ name }) => peer === undefined || peer === name);

const cutLinks = ({ links }: Simulation, dc: DataCenter, fault: Pick<Fault, 'peer'>) => {
  const ends = peersOf(dc, fault).flatMap(({ name }) => [links.cut(dc.name, name), links.cut(name, dc.name)]);
  return () => {
    for (const end of ends) end();
  };
};

const killAgent = (dc: DataCenter) => {
  dc.agentsMayRun = false;
  dc.agent?.kill();
  dc.agent = null;
  return () => {
    dc.agentsMayRun = true;
    dc.startAgent();
  };
};

export const injections: Readonly<Record<string, Inject>> = {
  'agent killed': (_, dc) => killAgent(dc),
  'agent killed at a step': (_, dc, { value }) => {
    dc.killAt = { steps: value >> 1, after: value % 2 === 1 };
    return undefined;
  },
  'agent stopped': (_, dc, { untilMs }) => {
    dc.stopAgent(untilMs);
    return undefined;
  },
  'agent left': (_, dc, { atMs }) => {
    dc.agent?.handle({ kind: 'leave', successor: atMs % 2 === 0 });
    return undefined;
  },
  'database crashed': (_, dc) => {
    dc.crash();
    return () => dc.restart();
  },
  'data center lost': (simulation, dc) => {
    const ends = [cutLinks(simulation, dc, {}), cutFromStore(simulation, dc), killAgent(dc)];
    dc.crash();
    return () => {
      dc.restart();
      for (const end of ends) end();
    };
  },
  'data center stopped': (_, dc, { untilMs }) => {
    dc.pg.stoppedUntilMs = Math.max(dc.pg.stoppedUntilMs, untilMs);
    dc.stoppedUntilMs = Math.max(dc.stoppedUntilMs, untilMs);
    dc.stopAgent(untilMs);
    return undefined;
  },
  'database stopped': (_, dc, { untilMs }) => {
    dc.pg.stoppedUntilMs = Math.max(dc.pg.stoppedUntilMs, untilMs);
    return undefined;
  },
  'links cut': cutLinks,
  'link cut one way': ({ links }, dc, fault) => {
    const ends = peersOf(dc, fault).map(({ name }) => links.cut(dc.name, name));
    return () => {
      for (const end of ends) end();
    };
  },
  'link slow': ({ links }, dc, fault) => {
    const before = peersOf(dc, fault).map(({ name }) => [name, links.delayMs(dc.name, name)] as const);
    for (const [name, delayMs] of before) links.setDelay(dc.name, name, delayMs + fault.value);
    return () => {
      for (const [name] of before) links.setDelay(dc.name, name, links.delayMs(dc.name, name) - fault.value);
    };
  },
  'relay slot lost': (_, dc, fault) => {
    for (const { name } of peersOf(dc, fault)) dc.pg.relay.make(name, dc.pg.progress);
    return undefined;
  },
  'link flaps': (simulation, dc, fault) => {
    const { untilMs } = fault;
    const { timeline } = simulation;
    const flap = () => {
      if (timeline.nowMs >= untilMs - 800) return;
      const heal = cutLinks(simulation, dc, fault);
      timeline.after(400, heal);
      timeline.after(800, flap);
    };
    flap();
    return undefined;
  },
  'cut off from the store': cutFromStore,
  'store lost to all': (simulation, dc) => {
    const ends = [dc, ...dc.peers].map((one) => cutFromStore(simulation, one));
    return () => {
      for (const end of ends) end();
    };
  },
  'store stalls': (simulation, _, { untilMs }) => {
    simulation.storeStalledUntilMs = Math.max(simulation.storeStalledUntilMs, untilMs);
    return undefined;
  },
  'store ends leases early': (simulation, _, { value }) => {
    simulation.storeOffsetMs += value;
    simulation.storeMovedMs = simulation.timeline.nowMs;
    return undefined;
  },
  'store prolongs leases': (simulation, _, { value }) => {
    simulation.storeOffsetMs -= value;
    simulation.storeMovedMs = simulation.timeline.nowMs;
    return undefined;
  },
  'answers lost': (simulation) => {
    simulation.lossRate = 0.12;
    return () => {
      simulation.lossRate = 0;
    };
  },
  'clock jumps': (_, { pg }, { value }) => {
    // Where the machine's uptime can be read the lease does not depend on it.
    if (!pg.hasUptime) pg.clockInDoubt = true;
    pg.moveClock(value);
    return undefined;
  },
  'clock drifts': (_, { pg }, { value }) => {
    pg.moveClock(0, 1 + value);
    return () => pg.moveClock(0, 1);
  },
  'apply blocked': (_, dc, fault) => {
    for (const { name } of peersOf(dc, fault)) {
      const incoming = dc.from(name);
      incoming.blockedUntilMs = Math.max(incoming.blockedUntilMs, fault.untilMs);
    }
    return undefined;
  },
  'commit stalls': (_, { applications }, { value }) => {
    applications.stallNextMs = value;
    return undefined;
  },
  'rows swallowed': (simulation, { incoming }, { value }) => {
    const account = simulation.accounts[value % simulation.accounts.length] as string;
    simulation.damaged.add(account);
    for (const stream of incoming.values()) stream.swallows = account;
    return () => {
      for (const stream of incoming.values()) stream.swallows = null;
    };
  },
  'request stuck': (_, dc) => {
    dc.stuck = true;
    return () => {
      dc.stuck = false;
    };
  },
  'instance died': (_, dc) => {
    const { instances } = dc;
    dc.instances = instances.slice(1);
    return () => {
      dc.instances = instances;
    };
  },
};

export function inject(simulation: Simulation, fault: Fault): void {
  const { timeline } = simulation;
  timeline.at(fault.atMs, () => {
    const end = injections[fault.kind]?.(simulation, simulation.dc(fault.dc), fault);
    if (end !== undefined) timeline.at(fault.untilMs, end);
  });
}

export function ask(simulation: Simulation, operation: Operation): void {
  const id = `${operation.kind}-${operation.atMs}`;
  simulation.timeline.at(operation.atMs, () => {
    if (operation.kind === 'move') return simulation.dc(operation.to).agent?.askFor(operation.account, id);
    const from = simulation.dc(operation.from);
    const undone =
      operation.kind === 'return' ? from.pg.successions.findLast((one) => one.to === from.name) : undefined;
    const to = simulation.dc(undone?.from ?? operation.to ?? (from.peers[0] as DataCenter).name);
    const agent = operation.kind === 'failover' ? to.agent : from.agent;
    if (agent === null) return;
    agent.later(0, () => {
      simulation.onAsked(id, agent);
      if (operation.kind === 'failover') simulation.forcedByPerson.add(from.name);
      if (operation.kind === 'failover')
        return agent.handle({ kind: 'failover-asked', id, from: from.name, forced: true });
      if (operation.kind === 'return' && undone === undefined) return simulation.onUnanswered(id);
      agent.handle({ kind: 'switch-asked', id, request: { to: to.name, undoes: undone?.term ?? null } });
    });
  });
}
