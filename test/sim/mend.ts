/**
 * Fetches what another data center has applied of the log of one that is gone, and applies it as if it had come from there: in
 * the order in which it was committed there, as replica, held at the same marks.
 */
import type { Action, OwnershipEvent } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';
import type { DataCenter } from './data-center.ts';
import { lsnOf } from './handover.ts';
import { relayed } from './relay.ts';
import { ApplyError, type CutRow, type Transaction } from './rows.ts';

type Result = Extract<OwnershipEvent, { kind: 'mended' }>['result'];

const answerWithinMs = 1000;
const holdMs = 1500;
const holdLookMs = 25;

export function performMend(agent: AgentProcess, { of, from, round, upTo }: Extract<Action, { kind: 'mend' }>): void {
  const { dc, simulation } = agent;
  const answer = (result: Result) => agent.handle({ kind: 'mended', round, result });
  const generation = agent.state.view.peers.get(of)?.record.incarnation.generation ?? 1;
  fetchTail(agent, simulation.dc(from), of, { generation, homed: lsnOf(upTo.homed) }, (problem) => {
    if (problem === null) return answer({ kind: 'reached', cut: dc.tail(of) });
    if (problem !== 'lost') return answer({ kind: 'not-yet', problem });
    agent.query(
      () => {
        const frozen = dc.pg.frozen.get(of);
        if (frozen !== undefined) dc.pg.frozen.set(of, { ...frozen, lost: true });
        return true;
      },
      () => answer({ kind: 'lost', problem: 'nobody keeps it' }),
    );
  });
}

/** `done`: null when everything up to there is here, `lost` when it is not kept any more. */
export function fetchTail(
  agent: AgentProcess,
  source: DataCenter,
  of: string,
  { generation, homed: upToLsn }: CutRow,
  done: (problem: string | 'lost' | null) => void,
): void {
  const { dc, simulation } = agent;
  const { pg } = dc;
  const { links, timeline } = simulation;
  const fromLsn = pg.progress.get(of) ?? 0;
  if (fromLsn >= upToLsn) return agent.later(1, () => done(null));
  const whole = links.isUp(dc.name, source.name) && links.isUp(source.name, dc.name);
  if (!whole || !source.pg.up) return agent.later(200, () => done(`${source.name} does not answer`));
  let answered = false;
  const once = (found: readonly Transaction[] | string) => {
    if (answered) return;
    answered = true;
    agent.later(links.delayMs(source.name, dc.name), () => {
      if (typeof found === 'string') done(found);
      else replay(found);
    });
  };
  agent.later(answerWithinMs, () => once('no answer'));
  timeline.after(links.delayMs(dc.name, source.name), () =>
    source.pg.later(0, () => {
      if (dc.random.chance(simulation.lossRate)) return once('the connection broke');
      const complete = source.pg.relay.isComplete(dc.name, of, fromLsn) || simulation.broken('relay slots unchecked');
      const kept = relayed(source.pg, of, Math.max(fromLsn, source.pg.relay.beginOf(dc.name, of)), upToLsn);
      once(complete ? kept : 'lost');
    }),
  );

  function replay(transactions: readonly Transaction[]): void {
    const patienceMs = timeline.nowMs + holdMs;
    let at = 0;
    const next = () => {
      const transaction = transactions[at];
      agent.query(
        () => {
          if (transaction === undefined) {
            pg.progress.set(of, Math.max(pg.progress.get(of) ?? 0, upToLsn));
            pg.generations.set(of, Math.max(pg.generations.get(of) ?? 1, generation));
            return 'all';
          }
          const originLsn = transaction.originLsn as number;
          // Another agent of this data center may have been here.
          if ((pg.progress.get(of) ?? 0) >= originLsn) return 'applied';
          if (pg.waitsFor(transaction.changes) !== null) return timeline.nowMs < patienceMs ? 'held' : 'stays held';
          try {
            pg.applyFrom(of, { ...transaction, lsn: originLsn });
          } catch (error) {
            if (!(error instanceof ApplyError)) throw error;
            return error.message;
          }
          simulation.observer.seen.mended++;
          return 'applied';
        },
        (result) => {
          if (result === 'all') return done(null);
          if (result === 'held') return agent.later(holdLookMs, next);
          if (result !== 'applied') return done(`a transaction of ${of} cannot be applied: ${result}`);
          at++;
          next();
        },
      );
    };
    next();
  }
}
