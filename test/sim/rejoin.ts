/**
 * Carries out the stages of coming back after a takeover, as protocol.md ("Rejoin") has them. Each may be repeated; the stage
 * that was reached is in the database. `rejoin-rows.ts` says which rows are stranded, and sends the present ones.
 */
import { type Action, type RejoinStage, rejoinStages } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';
import type { DataCenter } from './data-center.ts';
import { mustBeginAgain, unrecorded } from './rejoin-again.ts';
import { catchUp } from './rejoin-catch-up.ts';
import { lastCut, ownCut, strandedRows } from './rejoin-rows.ts';
import type { Change, Rejoining } from './rows.ts';

export type RejoinAction = Extract<Action, { kind: 'rejoin' }>;

/** What the stages have in common. */
export class Rejoin {
  readonly agent: AgentProcess;
  readonly action: RejoinAction;
  readonly dc: DataCenter;
  /** The successor. */
  readonly home: DataCenter;

  constructor(agent: AgentProcess, action: RejoinAction) {
    this.agent = agent;
    this.action = action;
    this.dc = agent.dc;
    this.home = agent.simulation.dc(action.successor);
  }

  /** All that were not taken over: by what the lease store said last. */
  get living(): readonly DataCenter[] {
    const { peers } = this.agent.state.view;
    return this.dc.peers.filter(({ name }) => peers.get(name)?.record.takenOver === null);
  }

  notYet(problem: string): void {
    this.agent.handle({ kind: 'rejoined', round: this.action.round, result: { kind: 'not-yet', problem } });
  }

  reached(stage: RejoinStage): void {
    this.agent.handle({ kind: 'rejoined', round: this.action.round, result: { kind: 'reached', stage } });
  }

  /** On our database. */
  here(work: () => undefined | 'wait' | string, next: () => void): void {
    this.agent.query(
      () => work() ?? null,
      (answer) => (answer === null ? next() : this.notYet(answer)),
    );
  }

  /** On another one's database, over both links. */
  remote(there: DataCenter, work: () => undefined | string, next: () => void): void {
    const { agent, dc } = this;
    const { simulation } = agent;
    const { links } = simulation;
    const { pg, name } = there;
    if (!links.isUp(dc.name, name) || !links.isUp(name, dc.name) || !pg.up)
      return agent.later(200, () => this.notYet(`${name} does not answer`));
    let answered = false;
    const answer = (problem: string | undefined) => {
      if (answered) return;
      answered = true;
      agent.later(links.delayMs(name, dc.name), () => (problem === undefined ? next() : this.notYet(problem)));
    };
    const { life } = pg;
    pg.later(links.delayMs(dc.name, name), () =>
      answer(dc.random.chance(simulation.lossRate) ? 'the connection broke' : work()),
    );
    agent.later(1000, () => answer(life === pg.life ? 'no answer' : `${name} crashed`));
  }

  /** One after the other. */
  forEach(dcs: readonly DataCenter[], work: (there: DataCenter) => undefined | string, next: () => void): void {
    const [first, ...others] = dcs;
    if (first === undefined) return next();
    this.remote(
      first,
      () => work(first),
      () => this.forEach(others, work, next),
    );
  }

  reach(stage: RejoinStage, change: Partial<Rejoining> = {}): void {
    const { pg } = this.dc;
    const { term } = this.action;
    this.here(
      () => {
        // An agent that stood still in a stage may wake up when another one has come further.
        const present = pg.rejoining?.term === term ? rejoinStages.indexOf(pg.rejoining.stage as RejoinStage) : -1;
        if (present >= rejoinStages.indexOf(stage) || (pg.rejoining?.term ?? 0) > term)
          return 'another agent has come further meanwhile';
        const asked = pg.rejoining?.term === term ? pg.rejoining.asked : null;
        const before = pg.rejoining ?? {};
        pg.rejoining = {
          cut: Number.POSITIVE_INFINITY,
          keys: [],
          ...before,
          ...change,
          asked: asked ?? null,
          term,
          stage,
        };
        return undefined;
      },
      () => this.reached(stage),
    );
  }
}

const drainWithinMs = 900;
const ledgerWithinMs = 1500;

export function performRejoin(agent: AgentProcess, action: RejoinAction): void {
  const rejoin = new Rejoin(agent, action);
  if (action.stage === 'frozen' || action.stage === 'stranded') return perform(rejoin);
  let found: ReturnType<typeof mustBeginAgain> = null;
  rejoin.remote(
    rejoin.home,
    () => {
      found = mustBeginAgain(rejoin);
      return undefined;
    },
    () => {
      if (found === 'again') beginAgain(rejoin);
      else if (found !== null) rejoin.notYet((found as { readonly wait: string }).wait);
      else perform(rejoin);
    },
  );
}

/** An earlier attempt in the same term may have come further; what was undone then still has to be sent again. */
function beginAgain(rejoin: Rejoin): void {
  const { dc, action } = rejoin;
  const { pg } = dc;
  const before = pg.rejoining?.stage;
  rejoin.here(
    () => freezeAll(rejoin),
    () =>
      rejoin.here(
        () => {
          if (pg.rejoining?.term !== action.term || pg.rejoining.stage !== before)
            return 'another agent has come further meanwhile';
          pg.rejoining = { ...pg.rejoining, stage: 'frozen', cut: Number.POSITIVE_INFINITY };
          return undefined;
        },
        () => rejoin.reached('frozen'),
      ),
  );
}

function freezeAll({ dc, action }: Rejoin): undefined | string {
  const { pg } = dc;
  for (const [peer, incoming] of dc.incoming) {
    if (!pg.frozen.has(peer)) pg.frozen.set(peer, { term: action.takenOver, lost: false });
    incoming.disable();
    incoming.terminate();
  }
  return [...dc.incoming.values()].some(({ hasWorker }) => hasWorker) ? 'a stream does not end' : undefined;
}

function perform(rejoin: Rejoin): void {
  const { agent, action } = rejoin;
  const { dc, simulation } = agent;
  const { pg } = dc;
  const { term } = action;

  // J2: an earlier life may have come further.
  const remembered = pg.rejoining?.term === term ? pg.rejoining.stage : null;
  const ahead = remembered === null ? -1 : rejoinStages.indexOf(remembered as RejoinStage);
  if (ahead >= rejoinStages.indexOf(action.stage) && action.stage !== 'readmitted')
    return agent.later(1, () => rejoin.reached(remembered as RejoinStage));

  switch (action.stage) {
    case 'frozen':
      return rejoin.here(
        () => freezeAll(rejoin),
        // What was undone for an earlier takeover, and not sent again, still has to be.
        () => rejoin.reach('frozen', { cut: Number.POSITIVE_INFINITY }),
      );
    case 'stranded':
      return stranded(rejoin);
    case 'undone':
      return rejoin.here(
        () => undo(rejoin),
        () => rejoin.reach('undone'),
      );
    case 'caught-up':
      return catchUp(rejoin);
    case 'streaming':
      return streaming(rejoin);
    case 'verified':
      return rejoin.forEach(
        rejoin.living,
        (there) => {
          const wrong = simulation.broken('not verified') ? null : simulation.difference([dc, there]);
          if (wrong !== null) return wrong;
          const kept =
            pg.relay.covers(there.name, there.pg.progress) || simulation.broken('back with empty relay slots');
          if (dc.peers.length > 1 && !kept) return `${there.name} lacks what is not kept here for it`;
          // It was away when that was made, and reads on from what it had.
          if (!there.pg.frozen.has(dc.name)) dc.to(there.name).handOutSlot();
          there.pg.conflicts = 0;
          pg.conflicts = 0;
          return undefined;
        },
        () => rejoin.reach('verified'),
      );
    case 'readmitted': {
      const { term: view } = agent.state;
      return rejoin.here(
        () => {
          if (pg.rejoining?.term !== term) return 'another agent has come further meanwhile';
          if ((pg.rejoining.asked ?? null) === null) {
            pg.bases.clear();
            if (!simulation.broken('the same generation')) pg.generation++;
          }
          pg.rejoining = { ...pg.rejoining, asked: view };
          return undefined;
        },
        () =>
          agent.askStore(
            // Not when somebody was taken over meanwhile: its successor does not wait for what is here.
            () => simulation.readmit(dc, action.takenOver, view),
            (ok) => {
              if (ok !== true) return rejoin.notYet('the lease store does not answer');
              rejoin.here(
                () => {
                  if (pg.rejoining?.term === term) pg.rejoining = { ...pg.rejoining, stage: 'readmitted', keys: [] };
                  return undefined;
                },
                () => rejoin.reached('readmitted'),
              );
            },
          ),
      );
    }
  }
}

function streaming(rejoin: Rejoin): void {
  const { agent, dc, living } = rejoin;
  const { pg } = dc;
  // Who is gone as well finds its slot when it comes back, and what was written before at its successor's.
  const make = () => {
    if (!agent.simulation.broken('the old slots again'))
      for (const outgoing of dc.outgoing.values()) {
        outgoing.terminate();
        outgoing.makeSlot();
      }
    for (const there of dc.peers) if (!living.includes(there)) dc.to(there.name).withholdSlot();
    pg.beganLsn = pg.lsn;
    for (const { name } of dc.peers) pg.relay.make(name, pg.progress);
    return undefined;
  };
  rejoin.forEach(
    living,
    (there) => isReady(rejoin, there),
    () =>
      rejoin.here(make, () =>
        rejoin.forEach(
          living,
          (there) => streamFrom(rejoin, there),
          () => rejoin.reach('streaming'),
        ),
      ),
  );
}

function stranded(rejoin: Rejoin): void {
  const { agent, dc, home } = rejoin;
  const { simulation } = agent;
  const { pg } = dc;
  const there = home.pg;
  // Whoever passed the check at commit before the lease was taken back has finished when the lock was granted once.
  const session = {};
  const untilMs = simulation.timeline.nowMs + drainWithinMs;
  let keys: readonly Pick<Change, 'table' | 'key'>[] = [];
  let writtenLsn = 0;
  let cut = 0;
  const cuts: Record<string, number> = {};
  const quiet = () => {
    if (simulation.broken('stranded while somebody writes')) return undefined;
    if (pg.leaseLeftMs() > 0) return 'the lease is still there';
    if (pg.lockWriters(session) || pg.holdsLock(session)) {
      pg.unlockWriters(session);
      return undefined;
    }
    if (simulation.timeline.nowMs < untilMs) return 'wait' as const;
    pg.unlockWriters(session);
    return 'a transaction does not end';
  };
  rejoin.here(quiet, () =>
    rejoin.remote(
      home,
      () => {
        const own = ownCut(there, dc.name, rejoin.action.takenOver);
        const late = simulation.broken('set aside once and for all') ? null : unrecorded(rejoin);
        if (own === null || late !== null) return `the takeover of ${late ?? dc.name} is not recorded yet`;
        const found = strandedRows(dc, there, own, (hole) => simulation.broken(hole));
        if (typeof found === 'string') return found;
        const undone = simulation.broken('keys of an earlier attempt forgotten') ? [] : (pg.rejoining?.keys ?? []);
        simulation.observer.seen.foreign += found.entries.filter(({ value }) => value.dc !== dc.name).length;
        keys = [...new Map([...undone, ...found.keys].map((one) => [`${one.table} ${one.key}`, one])).values()];
        cut = own.homed;
        for (const { name } of dc.peers) {
          const other = lastCut(there, name, pg.generations.get(name) ?? 1);
          if (other !== null) cuts[name] = other.homed;
        }
        // Until the present deed is sent, marks go by what was before.
        for (const [account, base] of found.bases) if (!pg.bases.has(account)) pg.bases.set(account, base);
        const ledger = found.entries.filter(({ key }) => !there.tables.stranded.has(key));
        const write = () => {
          const missing = ledger.filter(({ key }) => !there.tables.stranded.has(key));
          if (missing.length > 0)
            there.commit(missing.map(({ key, value }) => ({ op: 'insert', table: 'stranded', key, value })));
        };
        if (simulation.broken('undone before the ledger is durable')) there.later(dc.random.between(0, 20_000), write);
        else write();
        writtenLsn = there.lsn;
        return undefined;
      },
      () => awaitLedger(simulation.timeline.nowMs + ledgerWithinMs),
    ),
  );
  // The home may be lost as well: whoever takes it over has to have what was written down there.
  const awaitLedger = (lastMs: number) =>
    agent.query(
      () => rejoin.living.every((peer) => peer === home || home.to(peer.name).flushedLsn >= writtenLsn),
      (all) => {
        if (all === true) return rejoin.reach('stranded', { keys, cut, cuts });
        if (simulation.timeline.nowMs > lastMs) return rejoin.notYet('another one does not have the ledger yet');
        agent.later(50, () => awaitLedger(lastMs));
      },
    );
}

/** Deletes what stranded transactions touched. What was applied of others beyond the cuts never was, either. */
function undo({ dc, home, agent }: Rejoin): undefined {
  const { pg } = dc;
  const { simulation } = agent;
  if (simulation.broken('rejoined without the undo')) return;
  // A succession that the home has as well is not sent once more before what goes by it.
  const stays = ({ table, key }: Pick<Change, 'table' | 'key'>) =>
    table === 'succession' && home.pg.tables.succession.has(key) && !simulation.broken('every succession undone');
  const keys = (pg.rejoining?.keys ?? []).filter((one) => pg.tables[one.table].has(one.key) && !stays(one));
  if (keys.length > 0)
    pg.commit(
      keys.map(({ table, key }) => ({ op: 'delete', table, key })),
      'undo',
    );
  for (const { name } of dc.peers) {
    const cut = lastCut(home.pg, name, pg.generations.get(name) ?? 1);
    const beyond = cut !== null && (pg.progress.get(name) ?? 0) > cut.homed;
    if (beyond && !simulation.broken('the tail is not lowered')) pg.progress.set(name, cut.homed);
  }
}

/** What speaks against the old slot for `there` being dropped: it may hold what is needed once more. */
function isReady({ dc, home, agent, action }: Rejoin, there: DataCenter): string | undefined {
  const { pg } = there;
  if (agent.simulation.broken('thawed before its tail is there')) return undefined;
  if (!pg.frozen.has(dc.name)) return undefined;
  const cut = ownCut(home.pg, dc.name, action.takenOver);
  if (cut !== null && (pg.progress.get(dc.name) ?? 0) < cut.homed)
    return `${there.name} lacks what was written here last`;
  if (!pg.tables.succession.has(String(agent.state.rejoin?.takenOver)))
    return `${there.name} has not heard of the takeover`;
  return undefined;
}

function streamFrom({ dc, agent, action }: Rejoin, there: DataCenter): undefined {
  const outgoing = dc.to(there.name);
  if (!agent.simulation.broken('the old slots again')) outgoing.beginAnew();
  there.pg.generations.set(dc.name, dc.pg.generation + 1);
  there.pg.frozen.delete(dc.name);
  there.pg.thawed.set(dc.name, action.takenOver);
  outgoing.enable();
  return undefined;
}
