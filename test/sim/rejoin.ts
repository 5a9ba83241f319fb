/**
 * Carries out the stages of coming back after a takeover, as protocol.md ("Rejoin") has them. Each may be repeated; the stage
 * that was reached is in the database.
 */
import { type Action, type RejoinStage, rejoinStages } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';
import { textOf } from './handover.ts';
import type { Change, Stranded, SuccessionRow, Transaction } from './rows.ts';

type RejoinAction = Extract<Action, { kind: 'rejoin' }>;

const catchUpWithinMs = 1500;
const drainWithinMs = 900;

export function performRejoin(agent: AgentProcess, action: RejoinAction): void {
  const { dc, simulation } = agent;
  const { pg, peer, incoming, outgoing } = dc;
  const { round, term, successor } = action;
  const there = peer.pg;

  const notYet = (problem: string) => agent.handle({ kind: 'rejoined', round, result: { kind: 'not-yet', problem } });
  const reached = (stage: RejoinStage) => agent.handle({ kind: 'rejoined', round, result: { kind: 'reached', stage } });
  /** On our database. */
  const here = (work: () => undefined | 'wait' | string, next: () => void) =>
    agent.query(
      () => work() ?? null,
      (answer) => (answer === null ? next() : notYet(answer)),
    );
  /** On the successor's database, over both links. */
  const remote = (work: () => undefined | string, next: () => void) => {
    if (!simulation.links.isUp(dc.name, peer.name) || !simulation.links.isUp(peer.name, dc.name) || !there.up)
      return agent.later(200, () => notYet('the successor does not answer'));
    let answered = false;
    const answer = (problem: string | undefined) => {
      if (answered) return;
      answered = true;
      agent.later(simulation.links.delayMs, () => (problem === undefined ? next() : notYet(problem)));
    };
    const { life } = there;
    there.later(simulation.links.delayMs, () =>
      answer(dc.random.chance(simulation.lossRate) ? 'the connection broke' : work()),
    );
    agent.later(1000, () => answer(life === there.life ? 'no answer' : 'the successor crashed'));
  };
  const reach = (stage: RejoinStage, keys = pg.rejoining?.keys ?? []) =>
    here(
      () => {
        // An agent that stood still in a stage may wake up when another one has come further.
        const present = pg.rejoining?.term === term ? rejoinStages.indexOf(pg.rejoining.stage as RejoinStage) : -1;
        if (present >= rejoinStages.indexOf(stage)) return 'another agent has come further meanwhile';
        pg.rejoining = { term, stage, keys };
        return undefined;
      },
      () => reached(stage),
    );
  const cutOf = () => (there.tables.succession.get(String(term)) as SuccessionRow | undefined)?.cut ?? null;
  const strandedBeyond = (cut: number): readonly Transaction[] => {
    const from = simulation.broken('stranded by slot position') ? (outgoing.slot?.writtenLsn ?? 0) : cut;
    return pg.wal.filter(({ lsn, origin }) => origin === null && lsn > from);
  };

  // J2: an earlier life may have come further.
  const remembered = pg.rejoining?.term === term ? pg.rejoining.stage : null;
  const ahead = remembered === null ? -1 : rejoinStages.indexOf(remembered as RejoinStage);
  if (ahead >= rejoinStages.indexOf(action.stage) && action.stage !== 'readmitted')
    return agent.later(1, () => reached(remembered as RejoinStage));

  switch (action.stage) {
    case 'frozen':
      return here(
        () => {
          pg.frozen.add(successor);
          incoming.disable();
          incoming.terminate();
          return incoming.hasWorker ? 'a stream does not end' : undefined;
        },
        () => reach('frozen', []),
      );
    case 'stranded': {
      // Whoever passed the check at commit before the lease was taken back has finished when the lock was granted once.
      const session = {};
      const untilMs = simulation.timeline.nowMs + drainWithinMs;
      let keys: Pick<Change, 'table' | 'key'>[] = [];
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
      return here(quiet, () =>
        remote(
          () => {
            const cut = cutOf();
            if (cut?.of !== dc.name) return 'the takeover is not recorded yet';
            const transactions = strandedBeyond(cut.homed);
            const entries = transactions.flatMap((one) =>
              one.changes.map((change, sequence) => ({
                key: `${dc.name}/${cut.generation}/${textOf(one.lsn)}/${sequence}`,
                change,
              })),
            );
            const touched = entries.map(({ change: { table, key } }) => [`${table} ${key}`, { table, key }] as const);
            keys = [...new Map(touched).values()];
            const ledger = entries.filter(({ key }) => !there.tables.stranded.has(key));
            const write = () =>
              there.commit(
                ledger.map(({ key, change }) => {
                  const value: Stranded = { dc: dc.name, change };
                  return { op: 'insert', table: 'stranded', key, value };
                }),
              );
            if (simulation.broken('undone before the ledger is durable'))
              there.later(dc.random.between(0, 20_000), write);
            else if (ledger.length > 0) write();
            return undefined;
          },
          () => reach('stranded', keys),
        ),
      );
    }
    case 'undone':
      return here(
        () => {
          if (simulation.broken('rejoined without the undo')) return undefined;
          const keys = (pg.rejoining?.keys ?? []).filter(
            ({ table, key }) => table !== 'succession' && pg.tables[table].has(key),
          );
          if (keys.length > 0)
            pg.commit(
              keys.map(({ table, key }) => ({ op: 'delete', table, key })),
              'undo',
            );
          return undefined;
        },
        () => reach('undone'),
      );
    case 'caught-up':
      return here(
        () => {
          pg.frozen.delete(successor);
          incoming.enable();
          return undefined;
        },
        () => resend(),
      );
    case 'streaming':
      return remote(
        () => {
          if (!simulation.broken('the old slots again')) outgoing.makeSlot();
          there.frozen.delete(dc.name);
          outgoing.enable();
          return undefined;
        },
        () => reach('streaming'),
      );
    case 'verified':
      return remote(
        () => {
          const wrong = simulation.broken('not verified') ? null : simulation.difference();
          if (wrong !== null) return wrong;
          there.conflicts = 0;
          pg.conflicts = 0;
          return undefined;
        },
        () => reach('verified'),
      );
    case 'readmitted':
      return here(
        () => {
          if (pg.rejoining?.stage !== 'readmitted' || pg.rejoining.term !== term) {
            if (!simulation.broken('the same generation')) pg.generation++;
            pg.rejoining = { term, stage: 'readmitted', keys: [] };
          }
          return undefined;
        },
        () =>
          agent.askStore(
            () => simulation.readmit(dc, term),
            (ok) => (ok === true ? reached('readmitted') : notYet('the lease store does not answer')),
          ),
      );
  }

  /** The home sends every key that was undone, and its present row comes after whatever was written to it before. */
  function resend(): void {
    const keys = new Map((pg.rejoining?.keys ?? []).map((one) => [`${one.table} ${one.key}`, one]));
    let upTo = 0;
    const send = () =>
      remote(
        () => {
          if (!incoming.connected) return 'the stream does not run';
          for (const { table, key } of simulation.broken('not sent again') ? [] : keys.values()) {
            if (table === 'succession' || table === 'stranded') continue;
            const value = there.tables[table].get(key);
            there.commit([{ op: 'repair', table, key, ...(value === undefined ? {} : { value }) }]);
          }
          upTo = there.lsn;
          return undefined;
        },
        () => wait(simulation.timeline.nowMs + catchUpWithinMs),
      );
    const wait = (untilMs: number) => {
      agent.query(
        () => incoming.connected && incoming.appliedLsn >= upTo,
        (there) => {
          if (there === true) return reach('caught-up');
          if (simulation.timeline.nowMs > untilMs) return notYet('not caught up');
          agent.later(50, () => wait(untilMs));
        },
      );
    };
    send();
  }
}
