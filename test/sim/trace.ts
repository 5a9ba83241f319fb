/** What happened in a run, line by line: deeds, successions, leases, faults; not the rows that applications write. */
import type { Schedule } from './schedule.ts';
import type { Simulation } from './simulation.ts';

export function traced(schedule: Schedule, write: (line: string) => void): (simulation: Simulation) => void {
  return (simulation) => {
    const { timeline } = simulation;
    const say = (who: string, what: string) =>
      write(`${String(Math.round(timeline.nowMs)).padStart(6)}  ${who.padEnd(5)} ${what}`);
    for (const { kind, dc, atMs, untilMs, value } of schedule.faults) {
      timeline.at(atMs, () => say(dc, `-- ${kind}${value === 0 ? '' : ` (${value})`}`));
      timeline.at(untilMs, () => say(dc, `-- end of ${kind}`));
    }
    for (const { name, pg } of simulation.dcs) {
      const { frozen } = pg;
      const freeze = frozen.set.bind(frozen);
      frozen.set = (dc, how) => {
        if (frozen.get(dc)?.term !== how.term) say(name, `${dc} is frozen at ${pg.progress.get(dc)}, term ${how.term}`);
        return freeze(dc, how);
      };
      const thaw = frozen.delete.bind(frozen);
      frozen.delete = (dc) => {
        if (frozen.has(dc)) say(name, `${dc} is thawed at ${pg.progress.get(dc)}`);
        return thaw(dc);
      };
      const commit = pg.commit.bind(pg);
      pg.commit = (changes, origin = null, originLsn = null) => {
        const transaction = commit(changes, origin, originLsn);
        for (const { op, table, key, value } of changes)
          if (table !== 'row' && table !== 'adoption')
            say(
              name,
              `${op} ${table} ${key} ${JSON.stringify(value, leaveOut)}${origin === null ? '' : ` from ${origin} at ${originLsn}`}`,
            );
        return transaction;
      };
      const writeLease = pg.writeLease.bind(pg);
      pg.writeLease = (lease, credential) => {
        if ((lease === null) !== (pg.lease === null))
          say(name, lease === null ? 'the lease is taken back' : 'the lease is written');
        writeLease(lease, credential);
      };
    }
    const succeed = simulation.succeed.bind(simulation);
    simulation.succeed = (request, nowMs) => {
      const result = succeed(request, nowMs);
      const { kind, from, to, term } = request;
      say(
        'store',
        `${kind} ${from} to ${to} after term ${term}: ${result.kind === 'refused' ? result.reason : result.kind}`,
      );
      return result;
    };
  };
}

function leaveOut(name: string, value: unknown): unknown {
  return name === 'digest' || name === 'change' ? undefined : value;
}
