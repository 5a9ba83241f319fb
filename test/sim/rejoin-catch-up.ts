/**
 * Coming back, after the undo: what the living have of the dead and is missing here, then the streams again, then the present rows
 * in place of those that were undone, each from where it is at home now.
 */
import type { AgentProcess } from './agent.ts';
import type { DataCenter } from './data-center.ts';
import { fetchTail } from './mend.ts';
import type { Rejoin } from './rejoin.ts';
import { endOfEarlier, lastCut } from './rejoin-rows.ts';
import { accountOf } from './rows.ts';

const catchUpWithinMs = 1500;

export function catchUp(rejoin: Rejoin): void {
  const { dc, home, living } = rejoin;
  const others = dc.peers.filter((peer) => peer !== home);
  const goOnWith = (peers: readonly DataCenter[], next: () => void) =>
    rejoin.here(() => {
      for (const there of peers) goOn(dc, there);
      return undefined;
    }, next);
  // What is fetched may be held at marks until the home's stream has brought what comes before, and the other way round.
  const onwards = () =>
    goOnWith([home], () =>
      fetchTails(rejoin, others, onwards, () =>
        goOnWith(
          living.filter((there) => there !== home),
          () => resend(rejoin),
        ),
      ),
    );
  fetchTails(rejoin, [home], onwards, onwards);
}

/** Also of those that are back by now: what they wrote before is in none of their slots any more. */
function fetchTails(rejoin: Rejoin, peers: readonly DataCenter[], onSeeded: () => void, next: () => void): void {
  const { agent, dc, home } = rejoin;
  const [first, ...others] = peers;
  if (first === undefined || agent.simulation.broken('nothing fetched in coming back')) return next();
  const on = () => fetchTails(rejoin, others, onSeeded, next);
  const { pg } = dc;
  const takenOver = agent.state.view.peers.get(first.name)?.record.takenOver ?? null;
  const cut =
    takenOver === null
      ? endOfEarlier(home.pg, first.name, first.pg.generation)
      : lastCut(home.pg, first.name, first.pg.generation);
  if (cut === null || (pg.progress.get(first.name) ?? 0) >= cut.homed) return on();
  const source = [home, ...rejoin.living].find((one) => one !== first);
  if (source === undefined) return seedAnew(rejoin, onSeeded);
  fetchTail(agent, source, first.name, cut, (problem) => {
    if (problem === null) return on();
    if (problem !== 'lost') return rejoin.notYet(problem);
    seedAnew(rejoin, onSeeded);
  });
}

/** A person's `join`: everything as it is in the successor at one moment, read on from there. */
function seedAnew(rejoin: Rejoin, next: () => void): void {
  const { dc, home, living } = rejoin;
  const { pg } = dc;
  rejoin.remote(
    home,
    () => {
      const there = home.pg;
      for (const other of living)
        if (other !== home && (there.progress.get(other.name) ?? 0) < (other.to(dc.name).slot?.confirmedLsn ?? 0))
          return `${home.name} has not applied yet what ${other.name} has forgotten`;
      for (const stream of dc.incoming.values()) {
        stream.disable();
        stream.terminate();
      }
      for (const [table, rows] of Object.entries(there.tables)) {
        const own = pg.tables[table as keyof typeof pg.tables];
        own.clear();
        for (const [key, value] of rows) own.set(key, value);
      }
      pg.onSeeded();
      for (const { name } of dc.peers) {
        const applied = name === home.name ? there.lsn : (there.progress.get(name) ?? 0);
        pg.progress.set(name, applied);
        pg.generations.set(name, name === home.name ? there.generation : (there.generations.get(name) ?? 1));
      }
      for (const [name, frozen] of pg.frozen) pg.frozen.set(name, { ...frozen, lost: false });
      if (pg.rejoining !== null) pg.rejoining = { ...pg.rejoining, keys: [] };
      pg.settleView();
      dc.agent?.simulation.observer.onSeeded();
      return undefined;
    },
    next,
  );
}

/** Regularly: two that came back at the same time could not yet begin to read each other. */
export function thawThoseBack(agent: AgentProcess): void {
  const { dc, state, simulation } = agent;
  const { pg } = dc;
  if (state.view.own === null || state.view.own.takenOver !== null || simulation.broken('not thawed afterwards'))
    return;
  const isBack = (name: string) => state.view.peers.get(name)?.record.takenOver === null;
  const there = dc.peers.find(({ name }) => pg.frozen.has(name) && isBack(name));
  if (there === undefined || !simulation.requestsPass(dc, there)) return;
  const end = endOfEarlier(pg, there.name, there.pg.generation);
  const on = () =>
    agent.query(
      () => {
        if (agent.leads && pg.frozen.has(there.name)) goOn(dc, there);
        return true;
      },
      () => {},
    );
  if (end === null || (pg.progress.get(there.name) ?? 0) >= end.homed) return on();
  const source = dc.peers.find(({ name }) => name !== there.name && isBack(name));
  if (source === undefined) return;
  fetchTail(agent, source, there.name, end, (problem) => {
    if (problem === null) on();
  });
}

/** From where it was; or, where it came back meanwhile, at the beginning of the slot that it made then. */
function goOn(dc: DataCenter, there: DataCenter): void {
  const { pg } = dc;
  const incoming = dc.from(there.name);
  if ((pg.generations.get(there.name) ?? 1) < there.pg.generation) {
    incoming.beginAnew();
    pg.generations.set(there.name, there.pg.generation);
  }
  incoming.handOutSlot();
  pg.frozen.delete(there.name);
  incoming.enable();
}

/** The home of each key that was undone sends it, so that its present row comes after whatever was written to it before. */
function resend(rejoin: Rejoin): void {
  const { agent, dc, home, living } = rejoin;
  const { simulation } = agent;
  const left = new Map((dc.pg.rejoining?.keys ?? []).map((one) => [`${one.table} ${one.key}`, one]));
  const upTo = new Map<string, number>();
  const send = () =>
    rejoin.forEach(
      living,
      (there) => {
        if (!dc.from(there.name).connected) return 'a stream does not run';
        for (const [name, { table, key }] of simulation.broken('not sent again') ? [] : left) {
          const account = accountOf(table, key);
          if (account !== null) {
            const present = there.pg.present(account);
            if (present?.home !== there.name || !present.accepted) continue;
          } else if (there !== home) continue;
          // Marks of switchovers are put down again by whoever put them down.
          if (account !== null || table !== 'acceptance') {
            const value = there.pg.tables[table].get(key);
            there.pg.commit([{ op: 'repair', table, key, ...(value === undefined ? {} : { value }) }]);
          }
          left.delete(name);
        }
        upTo.set(there.name, there.pg.lsn);
        return undefined;
      },
      () => {
        if (left.size > 0 && !simulation.broken('not sent again')) return rejoin.notYet('an account is on its way');
        wait(simulation.timeline.nowMs + catchUpWithinMs);
      },
    );
  const wait = (untilMs: number) => {
    agent.query(
      () => [...upTo].every(([name, lsn]) => dc.from(name).connected && dc.from(name).appliedLsn >= lsn),
      (all) => {
        if (all === true) return rejoin.reach('caught-up');
        if (simulation.timeline.nowMs > untilMs) return rejoin.notYet('not caught up');
        agent.later(50, () => wait(untilMs));
      },
    );
  };
  send();
}
