/** Holes, one at a time: wrappers around what the protocol hears and asks for, or a model that forgets a rule. */
import type { Action, OwnershipEvent, Settings } from '@lanekeeper/server/ownership';
import type { LeaseView, Tail } from 'lanekeeper/model';
import type { AgentProcess } from './agent.ts';
import { run } from './run.ts';
import { type Fault, type Schedule, scheduleOf } from './schedule.ts';

export type Mutant = {
  readonly name: string;
  /** Where the remedy is said: the number of the hole in the list of faults, or the part of the protocol. */
  readonly from: string;
  /** A rule of the models that is left out: asked for by name where it is kept. */
  readonly hole?: string;
  readonly settings?: Partial<Settings>;
  /** How many it takes to see it. */
  readonly dataCenters?: 2 | 3;
  /** One that is made for it: by chance it is shown too seldom. */
  readonly schedule?: Schedule;
  readonly event?: (event: OwnershipEvent, agent: AgentProcess) => OwnershipEvent;
  readonly actions?: (actions: readonly Action[], agent: AgentProcess) => readonly Action[];
};

/** What the store says of the others, before the protocol hears it. */
function withPeers(
  change: (record: LeaseView['leases'][number], agent: AgentProcess) => LeaseView['leases'][number],
): NonNullable<Mutant['event']> {
  return (event, agent) => {
    const altered = (view: LeaseView): LeaseView => ({
      ...view,
      leases: view.leases.map((record) => (record.dataCenter === agent.dc.name ? record : change(record, agent))),
    });
    if ((event.kind === 'watched' || event.kind === 'store-view') && event.view !== null)
      return { ...event, view: altered(event.view) };
    if ((event.kind === 'store-answer' || event.kind === 'succeeded') && event.result !== null)
      return { ...event, result: { ...event.result, view: altered(event.result.view) } } as OwnershipEvent;
    return event;
  };
}

/** Reports of how far another one had come in the logs of those who are gone. */
function withReports(
  change: (tail: Tail | undefined, of: LeaseView['leases'][number]) => Tail | undefined,
): NonNullable<Mutant['event']> {
  const altered = (view: LeaseView, agent: AgentProcess): LeaseView => ({
    ...view,
    leases: view.leases.map((record) => {
      if (record.dataCenter === agent.dc.name || record.takenOver !== null) return record;
      const gone = view.leases.filter(({ takenOver }) => takenOver !== null);
      const frozen = gone.flatMap((of) => {
        const tail = change(record.positions.frozen?.[of.dataCenter], of);
        return tail === undefined ? [] : [[of.dataCenter, tail] as const];
      });
      return { ...record, positions: { ...record.positions, frozen: Object.fromEntries(frozen) } };
    }),
  });
  return (event, agent) => {
    if ((event.kind === 'watched' || event.kind === 'store-view') && event.view !== null)
      return { ...event, view: altered(event.view, agent) };
    if ((event.kind === 'store-answer' || event.kind === 'succeeded') && event.result !== null)
      return { ...event, result: { ...event.result, view: altered(event.result.view, agent) } } as OwnershipEvent;
    return event;
  };
}

const hole = (name: string, from: string, which = name): Mutant => ({ name, from, hole: which });
const three = (mutant: Mutant, shown?: Pick<Schedule, 'seed' | 'faults'> & Partial<Schedule>): Mutant => {
  if (shown === undefined) return { ...mutant, dataCenters: 3 };
  const schedule = { dataCenters: ['ny', 'la', 'fra'], manual: false, operations: [], ...shown };
  return { ...mutant, dataCenters: 3, schedule };
};
const fault = (kind: string, dc: string, atMs: number, untilMs: number, peer?: string): Fault => ({
  ...{ kind, dc, atMs, untilMs, value: 0 },
  ...(peer === undefined ? {} : { peer }),
});
const asked = new WeakMap<AgentProcess, number>();

export const mutants: readonly Mutant[] = [
  hole('unlocked deed read', 'faults 1'),
  hole('give without waiting for writers', 'faults 1', 'give without waiting'),
  hole('no check at commit', 'faults 2', 'no commit check'),
  {
    name: 'the lease counts from the answer',
    from: 'faults 9',
    actions: (actions, agent) => {
      for (const { kind } of actions) if (kind === 'renew' || kind === 'acquire') asked.set(agent, agent.monoMs);
      const sinceMs = agent.monoMs - (asked.get(agent) ?? agent.monoMs);
      return actions.map((action) =>
        action.kind === 'write-lease' && action.lease !== null
          ? {
              ...action,
              lease: {
                validUntilMs: action.lease.validUntilMs + sinceMs,
                validUntilUptimeMs:
                  action.lease.validUntilUptimeMs === null ? null : action.lease.validUntilUptimeMs + sinceMs,
              },
            }
          : action,
      );
    },
  },
  {
    name: 'a vanished lease is permission',
    from: 'faults 9',
    event: withPeers((record) => (record.state === 'expired' ? { ...record, state: 'yielded' } : record)),
  },
  hole('the lease survives a crash', 'faults 2'),
  hole('a lease for one who was taken over', 'Leases and the view change'),
  hole('taken over without freezing', 'faults 4', 'not frozen'),
  hole('disabled, the worker not terminated', 'Leases and the view change, 2', 'disabled, not terminated'),
  hole('cut read before the freeze', 'Leases and the view change, 2', 'cut before the freeze'),
  {
    name: 'taken over by one who is not in the sync set',
    from: 'Leases and the view change, 3',
    hole: 'nobody asked',
    event: withPeers((record, agent) => ({ ...record, inSync: [agent.dc.name] })),
    actions: (actions) =>
      actions.map((action) =>
        action.kind === 'succeed' && action.request.kind === 'take'
          ? { ...action, request: { ...action.request, forced: true } }
          : action,
      ),
  },
  {
    name: 'the next agent does not go on with a takeover',
    from: 'Leases and the view change, 1',
    event: (event, agent) =>
      event.kind === 'successions-read'
        ? { ...event, terms: [...new Set([...event.terms, ...agent.simulation.successions().map(({ term }) => term)])] }
        : event,
  },
  {
    name: 'succession without the earlier ones',
    from: 'Succession',
    actions: (actions) =>
      actions.map((action) =>
        action.kind === 'record' ? { ...action, successions: action.successions.slice(-1) } : action,
      ),
  },
  {
    name: 'given away before the store decided',
    from: 'Succession',
    actions: (actions, agent) => {
      const { pg } = agent.dc;
      for (const action of actions)
        if (action.kind === 'succeed' && action.request.kind !== 'take' && agent.dc.agent === agent) {
          const { kind, from, to, term } = action.request;
          const undoes = action.request.kind === 'return' ? action.request.undoes : null;
          const value = { term: term + 1, kind, from, to, undoes, cuts: null };
          pg.commit([{ op: 'insert', table: 'succession', key: String(value.term), value }]);
        }
      return actions;
    },
  },
  hole('given away while somebody writes', 'Succession', 'switch without the lock'),
  hole('no comparison of views with an old snapshot', 'Deed and fence', 'no view check'),
  {
    name: 'recorded as in sync before the database waits',
    from: 'Durability and the sync set',
    actions: (actions, agent) =>
      actions.map((action) =>
        action.kind === 'renew'
          ? { ...action, claim: { ...action.claim, inSync: agent.dc.peers.map(({ name }) => name) } }
          : action,
      ),
  },
  hole('the sync set grown without names', 'Durability and the sync set', 'recorded before the database waits'),
  {
    name: 'the names shrunk before the store forgets',
    from: 'Durability and the sync set',
    event: (event, agent) => {
      if (event.kind !== 'replication') return event;
      const { pg } = agent.dc;
      const silent = pg.names.filter((name) => (event.links[name]?.replyAgeMs ?? 0) >= 1000);
      if (silent.length === 0) return event;
      pg.names = pg.names.filter((name) => !silent.includes(name));
      agent.simulation.checkSyncSet(agent.dc);
      return event;
    },
  },
  {
    name: 'an empty list of standbys, and views not compared',
    from: 'Durability and the sync set',
    hole: 'an empty list of standbys',
    event: (event, agent) => {
      const { pg } = agent.dc;
      const links = event.kind === 'replication' ? Object.values(event.links) : [];
      if (links.some(({ replyAgeMs }) => replyAgeMs > 700) && pg.names.length > 0) {
        pg.names = [];
        for (const one of [...pg.waiting]) one.end('flushed');
      }
      return event;
    },
  },
  hole('a cancelled wait is success', 'faults 5'),
  hole('accepted without the digest', 'faults 10', 'accept without the digest'),
  hole('arrived means accepted', 'faults 6'),
  hole('what was applied is sent on', 'Durability and the sync set'),
  hole('read on from the slot, not from the origin', 'Rejoin', 'read on from the slot'),
  hole('rejoined without the undo', 'Rejoin, 2'),
  hole('rejoined without the hold', 'Rejoin', 'no hold'),
  hole('stranded by slot position, not by commit end', 'Rejoin, 1', 'stranded by slot position'),
  hole('stranded while somebody writes', 'Rejoin, 1'),
  hole('undone before the ledger is durable', 'Rejoin, 2'),
  hole('not sent again', 'Rejoin, 3'),
  hole('the old slots again', 'Rejoin, 4'),
  hole('the same generation', 'Rejoin, 4'),
  // With three data centers.
  three(hole('one of the sync set is enough', 'Durability and the sync set')),
  three({
    name: 'recorded before the others have said how far they came',
    from: 'faults 7',
    event: withReports((_, { takenOver }) => ({ term: takenOver as number, homed: '0/0', rest: '0/0' })),
  }),
  three({
    name: 'recorded without what another one has',
    from: 'faults 7',
    event: withReports((tail) => (tail === undefined ? undefined : { ...tail, homed: '0/0' })),
  }),
  three(hole('read on without the tail', 'Leases and the view change, 5', 'no hold for tails')),
  three(hole('what is not kept is taken for nothing', 'Leases and the view change, 5', 'relay slots unchecked')),
  three(
    {
      name: 'a second failure, and what the first one acknowledged is not here',
      from: 'Leases and the view change, 3',
      event: withPeers((record, agent) =>
        record.takenOver === null ? record : { ...record, inSync: [...record.inSync, agent.dc.name] },
      ),
    },
    // Only `la` has what `ny` acknowledged last, and dies before it could say how far it had come.
    {
      seed: 50,
      faults: [
        fault('links cut', 'ny', 5000, 15_000, 'fra'),
        fault('data center lost', 'ny', 8000, 26_000),
        fault('data center lost', 'la', 10_900, 24_000),
      ],
    },
  ),
  three(hole('the acceptance before the deed', 'faults 6', 'no hold for acceptances')),
  three(hole('a deed before the succession of its term', 'faults 6', 'no hold for terms')),
  three(hole('an adoption before what it goes by', 'faults 6', 'no hold for adoptions')),
  three(hole('a deed of one who is not the home here yet', 'faults 6', 'no hold for givers'), {
    // Given to `la`, which hands everything over before it has heard of that; and `fra` gives it on before it has written.
    seed: 106,
    faults: [fault('link cut one way', 'ny', 5990, 9000, 'la')],
    operations: [
      { kind: 'move', atMs: 5950, account: 'a1', to: 'la' },
      { kind: 'switch', atMs: 6060, from: 'la', to: 'fra' },
      { kind: 'move', atMs: 6270, account: 'a1', to: 'ny' },
    ],
  }),
  three({
    name: 'accepted before a third has the deed',
    from: 'Rehome, 5',
    event: (event, agent) => {
      if (event.kind === 'deed-arrived')
        for (const { name: peer } of agent.dc.peers)
          agent.later(0, () =>
            agent.handle({ kind: 'deed-seen', account: event.account, peer, epoch: event.deed.epoch }),
          );
      return event;
    },
  }),
  three(hole('written before the mark of a switchover', 'faults 6', 'written before the mark'), {
    seed: 87,
    faults: [fault('apply blocked', 'fra', 6000, 9500, 'ny')],
    operations: [{ kind: 'switch', atMs: 6170, from: 'ny', to: 'la' }],
  }),
  three(hole('marks put down without a lease', 'faults 6')),
  three(hole('only the own log is stranded', 'Rejoin, 1', 'only the own lineage')),
  three(hole('nothing fetched in coming back', 'Rejoin, 2')),
  three(hole('two that are back never read each other', 'Rejoin, 4', 'not thawed afterwards')),
  three(hole('slots for those who are gone', 'Rejoin, 4')),
  three(
    hole(
      'a row tells only of those who were gone in its term',
      'Leases and the view change, 4',
      'cuts of those before',
    ),
  ),
  three(hole('set aside once and for all', 'Rejoin, 1')),
];

export type Kill = {
  readonly mutant: Mutant;
  /** The first schedule that shows it, how many were run until then, and what it violates; null when nothing does. */
  readonly caught: {
    readonly seed: number;
    readonly schedules: number;
    readonly invariant: string;
    readonly message: string;
  } | null;
};

export function hunt(mutant: Mutant, seeds: Iterable<number>, dataCenters: number = mutant.dataCenters ?? 2): Kill {
  const made = mutant.schedule;
  let schedules = 0;
  const show = (schedule: Schedule): Kill | null => {
    const { violation } = run(schedule, { mutant });
    schedules++;
    if (violation === null) return null;
    const { invariant, message } = violation;
    return { mutant, caught: { seed: schedule.seed, schedules, invariant, message } };
  };
  const kill = made === undefined ? null : show(made);
  if (kill !== null) return kill;
  for (const seed of seeds) {
    const found = show(scheduleOf(seed, dataCenters));
    if (found !== null) return found;
  }
  return { mutant, caught: null };
}
