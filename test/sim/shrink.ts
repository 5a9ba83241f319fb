/** Makes a schedule that fails smaller, as long as it goes on failing in the same way. */
import { type RunOptions, run } from './run.ts';
import type { Schedule } from './schedule.ts';

const runsMax = 300;

export function shrink(schedule: Schedule, invariant: string, options: RunOptions = {}): Schedule {
  let runs = 0;
  const fails = (smaller: Schedule) => runs++ < runsMax && run(smaller, options).violation?.invariant === invariant;
  let present = schedule;
  /** Without ever smaller parts of a list, until no single one can be left out. */
  const reduce = (part: 'faults' | 'operations') => {
    for (let size = present[part].length; size >= 1; size = Math.floor(size / 2))
      for (let at = 0; at < present[part].length; ) {
        const smaller = { ...present, [part]: present[part].toSpliced(at, size) };
        if (fails(smaller)) present = smaller;
        else at += size;
      }
  };
  reduce('operations');
  reduce('faults');
  reduce('operations');
  return present;
}
