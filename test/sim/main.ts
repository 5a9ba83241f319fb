/**
 * `npm run sim -- --seeds N --from S`: runs schedules, prints how it goes, and for one that fails the schedule, a smaller one
 * that fails in the same way, and how to run that again. `--mutants`: lets every mutant be hunted, and prints the kill table.
 */
import { huntMergeMutants, runMerges } from './merge/main.ts';
import { hunt, type Kill, mutants } from './mutants.ts';
import { run } from './run.ts';
import { describe, type Schedule, scheduleOf } from './schedule.ts';
import { shrink } from './shrink.ts';
import { traced } from './trace.ts';

const usage = `npm run sim -- [--seeds N] [--from SEED]      N schedules (100) from a seed on (1)
npm run sim -- --from SEED --faults 0,2 --asked 1,5 [--trace]   some of one schedule's faults and requests, by number
npm run sim -- ... --data-centers 3                  all of them with that many; otherwise each seed has two or three
npm run sim -- --mutants [NAME] [--seeds N]   each mutant on at most N schedules (400), and which invariant caught it
npm run sim -- --merge [--seeds N] [--from SEED]   the rules of merging: N schedules (20000); --merge --mutants [NAME] as above`;

const progressEveryMs = 5_000;
const shownMax = 3;

export function main(args: readonly string[]): number {
  if (args.includes('--help')) {
    console.log(usage);
    return 0;
  }
  if (args.includes('--merge')) {
    if (args.includes('--mutants'))
      return huntMergeMutants(textOption(args, '--mutants'), numberOption(args, '--seeds', 50_000));
    return runMerges({ from: numberOption(args, '--from', 1), seeds: numberOption(args, '--seeds', 20_000) });
  }
  const dataCenters = args.includes('--data-centers') ? numberOption(args, '--data-centers', 3) : undefined;
  if (dataCenters !== undefined && dataCenters !== 2 && dataCenters !== 3)
    throw new RangeError('--data-centers takes 2 or 3');
  if (args.includes('--mutants'))
    return huntAll(textOption(args, '--mutants'), numberOption(args, '--seeds', 400), dataCenters);
  if (args.includes('--faults') || args.includes('--trace')) return replay(args, dataCenters);
  return runMany(numberOption(args, '--from', 1), numberOption(args, '--seeds', 100), dataCenters);
}

function runMany(from: number, count: number, dataCenters: number | undefined): number {
  const beganMs = performance.now();
  const total: Record<string, number> = {};
  let events = 0;
  let failed = 0;
  let saidMs = beganMs;
  for (let seed = from; seed < from + count; seed++) {
    const schedule = scheduleOf(seed, dataCenters);
    const outcome = run(schedule);
    events += outcome.events;
    for (const [name, times] of Object.entries(outcome.seen)) total[name] = (total[name] ?? 0) + times;
    if (outcome.violation !== null && ++failed <= shownMax) explain(schedule, outcome.violation.invariant);
    else if (outcome.violation !== null) console.log(`seed ${seed}: ${outcome.violation.message}`);
    const nowMs = performance.now();
    if (nowMs - saidMs < progressEveryMs) continue;
    saidMs = nowMs;
    console.log(`${seed - from + 1} of ${count}, ${failed} failed, ${aMinute(seed - from + 1, beganMs)} a minute`);
  }
  const all = Object.entries(total).map(([name, times]) => `${name} ${times}`);
  console.log(
    `${count} schedules of ${Math.round(events / count)} events, ${aMinute(count, beganMs)} a minute: ${failed} failed`,
  );
  console.log(all.join(', '));
  return failed === 0 ? 0 : 1;
}

function explain(schedule: Schedule, invariant: string): void {
  console.log(`\n${describe(schedule)}`);
  const small = shrink(schedule, invariant);
  const { violation } = run(small);
  console.log(`smaller, ${violation?.message} at ${violation?.atMs} ms\n${describe(small)}`);
  console.log(
    `again: npm run sim -- --from ${schedule.seed} --data-centers ${schedule.dataCenters.length} --faults ${places(schedule, small, 'faults')} --asked ${places(schedule, small, 'operations')} --trace\n`,
  );
}

function places(of: Schedule, small: Schedule, part: 'faults' | 'operations'): string {
  const kept: readonly unknown[] = small[part];
  return of[part].flatMap((one, at) => (kept.includes(one) ? [at] : [])).join(',') || 'none';
}

function replay(args: readonly string[], dataCenters: number | undefined): number {
  const whole = scheduleOf(numberOption(args, '--from', 1), dataCenters);
  const chosen = <T>(list: readonly T[], name: string): readonly T[] => {
    const text = textOption(args, name);
    if (text === null) return list;
    const wanted = text.split(',').map(Number);
    return list.filter((_, at) => wanted.includes(at));
  };
  const schedule = {
    ...whole,
    faults: chosen(whole.faults, '--faults'),
    operations: chosen(whole.operations, '--asked'),
  };
  console.log(describe(schedule));
  const watch = args.includes('--trace') ? traced(schedule, (line) => console.log(line)) : () => {};
  const { violation, healedInMs } = run(schedule, { watch });
  console.log(
    violation === null
      ? `holds; healed in ${Math.round(healedInMs)} ms`
      : `${violation.message} at ${violation.atMs} ms`,
  );
  return violation === null ? 0 : 1;
}

function huntAll(name: string | null, count: number, dataCenters: number | undefined): number {
  const seeds = Array.from({ length: count }, (_, index) => index + 1);
  let survived = 0;
  console.log(tableHead);
  for (const mutant of mutants) {
    if (name !== null && !mutant.name.includes(name)) continue;
    const kill = hunt(mutant, seeds, dataCenters);
    if (kill.caught === null) survived++;
    console.log(tableRow(kill, count));
  }
  console.log(survived === 0 ? 'every mutant was caught' : `${survived} survived`);
  return survived === 0 ? 0 : 1;
}

const tableHead = '| Mutant | Remedy in | Caught by | Schedules |\n|---|---|---|---|';

function tableRow({ mutant, caught }: Kill, count: number): string {
  return `| ${mutant.name} | ${mutant.from} | ${caught?.invariant ?? 'nothing'} | ${caught?.schedules ?? `${count}, none`} |`;
}

function aMinute(count: number, sinceMs: number): number {
  return Math.round((count / (performance.now() - sinceMs)) * 60_000);
}

function numberOption(args: readonly string[], name: string, otherwise: number): number {
  const text = textOption(args, name);
  const value = text === null ? otherwise : Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${name} takes a whole number`);
  return value;
}

function textOption(args: readonly string[], name: string): string | null {
  const at = args.indexOf(name);
  const text = at < 0 ? undefined : args[at + 1];
  return text === undefined || text.startsWith('--') ? null : text;
}
