/**
 * Thousands of seeded schedules of two agents over models of databases, streams, links and a lease store. A failure prints its
 * schedule; `npm run sim -- --seeds 1 --from SEED` runs it alone and shrinks it.
 */
import { describe, expect, it } from 'vitest';
import { run } from './run.ts';
import { describe as describeSchedule, type Schedule, scheduleOf } from './schedule.ts';

const seeds = Array.from({ length: Number(process.env.SIM_SCHEDULES ?? 800) }, (_, index) => index + 1);

function mustHold(schedule: Schedule) {
  const outcome = run(schedule);
  const { violation } = outcome;
  if (violation !== null)
    throw new Error(`${violation.message} at ${violation.atMs} ms\n${describeSchedule(schedule)}`);
  return outcome;
}

describe('ownership, simulated', () => {
  it('keeps every invariant through faults, and heals', { timeout: 180_000 }, () => {
    const total = { commits: 0, remote: 0, stranded: 0, successions: 0, readmissions: 0, given: 0, refused: 0 };
    for (const seed of seeds) {
      const schedule = scheduleOf(seed);
      expect(schedule.faults.length).toBeGreaterThanOrEqual(3);
      const { events, seen } = mustHold(schedule);
      expect(events).toBeGreaterThan(200);
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += seen[name];
    }
    // The schedules are worth something only if all of this happened in them, and often.
    const { length } = seeds;
    expect(total.commits).toBeGreaterThan(length * 100);
    expect(total.remote).toBeGreaterThan(length * 30);
    expect(total.given).toBeGreaterThan(length);
    expect(total.refused).toBeGreaterThan(length);
    expect(total.successions).toBeGreaterThan(length / 2);
    expect(total.readmissions).toBeGreaterThan(length / 4);
    expect(total.stranded).toBeGreaterThan(length / 2);
  });

  it('is the same when it is run again', () => {
    expect(run(scheduleOf(3))).toEqual(run(scheduleOf(3)));
  });

  it.each([
    ['the taker', 'la'],
    ['the taken', 'ny'],
  ])(
    'survives the agent of %s being killed at every step of a takeover and of coming back',
    { timeout: 60_000 },
    (_, killed) => {
      let happened = 0;
      for (let step = 0; step < 30; step++)
        for (const after of [0, 1]) {
          const lost = { kind: 'links cut', dc: 'ny', atMs: 6000, untilMs: 12_000, value: 0 };
          const cut = { ...lost, kind: 'cut off from the store' };
          const kill = {
            kind: 'agent killed at a step',
            dc: killed,
            atMs: killed === 'la' ? 9000 : 11_500,
            untilMs: 0,
            value: step * 2 + after,
          };
          const { seen } = mustHold({
            seed: 5000 + step,
            dataCenters: ['ny', 'la'],
            manual: false,
            faults: [lost, cut, kill],
            operations: [],
          });
          happened += seen.readmissions;
        }
      expect(happened).toBeGreaterThan(40);
    },
  );
});

/** Seeds that once failed, by what they showed. */
describe('what the simulation found', () => {
  it.each([
    [
      'after a change of the sync set whose answer was lost the store believed in more than the database waits for',
      176,
    ],
    ['the same, once the peer was gone', 775],
    ['an agent that came to lead while its peer was gone let remote commits wait for it', 728],
    ['a lease that a dead agent left, brought to life by a clock set back, outlived a takeover', 711],
    ['an agent that woke up in a stage of coming back wrote it over the one that its successor had reached', 11_989],
  ])('%s', (_, seed) => {
    mustHold(scheduleOf(seed, 2));
  });
});
