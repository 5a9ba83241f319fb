import { run } from './run.ts';
import { describe, scheduleOf } from './schedule.ts';

export async function main(args: readonly string[]): Promise<number> {
  const option = (name: string, otherwise: number) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : Number(args[at + 1]);
  };
  const from = option('--from', 1);
  const count = option('--seeds', 100);
  const beganMs = performance.now();
  const byKind = new Map<string, number>();
  let events = 0;
  const seen: Record<string, number> = {};
  let shown = 0;
  for (let seed = from; seed < from + count; seed++) {
    const schedule = scheduleOf(seed);
    const outcome = run(schedule);
    events += outcome.events;
    for (const [name, n] of Object.entries(outcome.seen)) seen[name] = (seen[name] ?? 0) + n;
    if (outcome.violation === null) continue;
    if (args.includes('--debug')) console.dir((outcome as never as { debug: unknown }).debug, { depth: 6 });
    byKind.set(outcome.violation.invariant, (byKind.get(outcome.violation.invariant) ?? 0) + 1);
    if (++shown <= option('--show', 3))
      console.log(
        `${outcome.violation.invariant} at ${outcome.violation.atMs}: ${outcome.violation.message}\n${describe(schedule)}`,
      );
    else console.log(`seed ${seed}: ${outcome.violation.invariant} ${outcome.violation.message.slice(0, 150)}`);
  }
  const tookMs = performance.now() - beganMs;
  console.log(
    count,
    'schedules',
    Math.round((count / tookMs) * 60_000),
    'a minute',
    Math.round(events / count),
    'events each',
    [...byKind],
    seen,
  );
  return byKind.size > 0 ? 1 : 0;
}
