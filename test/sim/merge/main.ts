/** `npm run sim -- --merge`: schedules of shared rows by the thousand, a failing one made smaller, and the kill table of its mutants. */
import { hunt, mutants, shrink } from './mutants.ts';
import { describe, scheduleOf } from './schedule.ts';
import { run } from './world.ts';

export type MergeRun = { readonly from: number; readonly seeds: number };

const shownMax = 3;

export function runMerges({ from, seeds }: MergeRun): number {
  const beganMs = performance.now();
  const total = { steps: 0, writes: 0, conflicts: 0, purges: 0, waits: 0, eras: 0 };
  let failed = 0;
  for (let seed = from; seed < from + seeds; seed++) {
    const schedule = scheduleOf(seed);
    const { violation, ...seen } = run(schedule);
    total.steps += schedule.steps.length;
    for (const name of ['writes', 'conflicts', 'purges', 'waits', 'eras'] as const) total[name] += seen[name];
    if (violation === null) continue;
    if (++failed > shownMax) console.log(`seed ${seed}: ${violation.property}: ${violation.message}`);
    else {
      const small = shrink(schedule, violation.property);
      const { violation: same } = run(small);
      console.log(`${violation.property}: ${same?.message}, of ${schedule.steps.length} steps\n${describe(small)}\n`);
    }
  }
  const aMinute = Math.round((seeds / (performance.now() - beganMs)) * 60_000);
  console.log(`${seeds} schedules of ${Math.round(total.steps / seeds)} steps, ${aMinute} a minute: ${failed} failed`);
  const { writes, conflicts, purges, waits, eras } = total;
  console.log(
    `${writes} writes, ${conflicts} conflicts, ${purges} purges, ${waits} had to wait, ${eras} configurations`,
  );
  return failed === 0 ? 0 : 1;
}

export function huntMergeMutants(name: string | null, seeds: number): number {
  let survived = 0;
  console.log('| Mutant | Caught by | Schedules |\n|---|---|---|');
  for (const mutant of mutants) {
    if (name !== null && !mutant.name.includes(name)) continue;
    const { caught } = hunt(mutant, seeds);
    if (caught === null) survived++;
    console.log(`| ${mutant.name} | ${caught?.property ?? 'nothing'} | ${caught?.seed ?? `${seeds}, none`} |`);
  }
  console.log(survived === 0 ? 'every mutant was caught' : `${survived} survived`);
  return survived === 0 ? 0 : 1;
}
