/** Carries out the actions about one account, as `src/agent/effects.ts` does. */
import { type Action, reason } from '@lanekeeper/server/ownership';
import { compareEpochs, type Epoch } from 'lanekeeper/model';
import type { AgentProcess } from './agent.ts';
import type { DataCenter } from './data-center.ts';
import { accept, compare, decline, give } from './deeds.ts';

type MoveAction = Extract<Action, { readonly account: string; readonly round: number }>;

export function performMove(agent: AgentProcess, action: MoveAction): void {
  const { dc, simulation } = agent;
  const { pg, random } = dc;
  const { account, round } = action;
  switch (action.kind) {
    case 'read-facts':
      return agent.query(
        () => {
          const present = pg.present(account);
          if (present === null) return null;
          const { home, epoch, accepted } = present;
          return { home, epoch, accepted, inUse: random.chance(0.2), arrivedAgoMs: null, movesAgoMs: [] };
        },
        (facts) => {
          const result =
            facts === 'lost'
              ? ({ kind: 'failed' } as const)
              : facts === null
                ? ({ kind: 'unknown' } as const)
                : ({ kind: 'known', facts } as const);
          agent.handle({ kind: 'facts', account, round, result });
        },
      );
    case 'begin-drain':
      return agent.query(
        () => dc.beginDrain(account, action.forMs),
        (begun) => {
          const result =
            begun === 'lost'
              ? ({ kind: 'failed' } as const)
              : begun === null
                ? ({ kind: 'already' } as const)
                : ({ kind: 'begun', ...begun } as const);
          agent.handle({ kind: 'drain-begun', account, round, result });
        },
      );
    case 'give': {
      const untilMs = simulation.timeline.nowMs + action.withinMs;
      return agent.query(
        () => {
          const drain = pg.drains.get(account);
          if (drain?.move === action.move) drain.hard = true;
          if (!pg.mayTouchSuccessions || pg.isShared(account))
            return simulation.timeline.nowMs < untilMs ? ('wait' as const) : ('busy' as const);
          return give(pg, account, action.to, action.epoch);
        },
        (given) => {
          const result =
            given === 'lost'
              ? ({ kind: 'lost' } as const)
              : typeof given === 'object'
                ? ({ kind: 'given', epoch: given } as const)
                : ({ kind: 'kept', reason: reason(given === 'no-lease' ? 'no-lease' : 'busy') } as const);
          agent.handle({ kind: 'give-answered', account, round, result });
        },
      );
    }
    case 'read-deed':
      return agent.query(
        () => {
          if (pg.isShared(account)) return 'wait' as const;
          const present = pg.present(account);
          return present === null ? null : { home: present.home, epoch: present.epoch };
        },
        (deed) => agent.handle({ kind: 'deed-read', account, round, deed: deed === 'lost' ? null : deed }),
      );
    case 'end-drain':
      return agent.query(
        () => {
          pg.endDrain(account, action.move);
          return true;
        },
        (ok) => agent.handle({ kind: 'drain-ended', account, round, ok: ok === true }),
      );
    case 'compare':
      return agent.query(
        () => compare(pg, account, action.epoch),
        (same) => agent.handle({ kind: 'compared', account, round, same: same === true }),
        false,
        agent.dc.comparing,
      );
    case 'accept':
      return agent.query(
        () => (pg.isShared(account) ? ('wait' as const) : accept(pg, account, action.epoch, action.compared)),
        (result) =>
          agent.handle({ kind: 'accept-answered', account, round, result: result === 'lost' ? 'failed' : result }),
      );
    case 'decline':
      return agent.query(
        () => (pg.isShared(account) ? ('wait' as const) : decline(pg, account, action.epoch)),
        (result) =>
          agent.handle({ kind: 'decline-answered', account, round, result: result === 'lost' ? 'failed' : result }),
      );
  }
}

/** A deed has arrived in a third data center: its home is told. */
export function tellSeen(agent: AgentProcess, account: string, home: string, epoch: Epoch): void {
  const { dc, simulation } = agent;
  const there = simulation.dc(home);
  if (!simulation.requestsPass(dc, there)) return;
  simulation.timeline.after(simulation.links.delayMs(dc.name, home), () => hear(there, account, dc.name, epoch));
}

/** Each of them is asked, and answers when it has the deed. */
export function askSeen(agent: AgentProcess, { account, epoch, peers }: Extract<Action, { kind: 'ask-seen' }>): void {
  const { dc, simulation } = agent;
  for (const name of peers) {
    const peer = simulation.dc(name);
    if (!simulation.requestsPass(dc, peer)) continue;
    simulation.timeline.after(simulation.links.delayMs(dc.name, name), () =>
      peer.pg.later(0, () => {
        const theirs = peer.pg.deed(account)?.epoch;
        if (theirs === undefined || compareEpochs(theirs, epoch) < 0 || !simulation.requestsPass(peer, dc)) return;
        simulation.timeline.after(simulation.links.delayMs(name, dc.name), () => hear(dc, account, name, epoch));
      }),
    );
  }
}

function hear(home: DataCenter, account: string, peer: string, epoch: Epoch): void {
  const { agent } = home;
  agent?.later(0, () => agent.handle({ kind: 'deed-seen', account, peer, epoch }));
}
