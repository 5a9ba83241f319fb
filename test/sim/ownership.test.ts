/**
 * Thousands of seeded schedules of the agents of two or three data centers over models of databases, streams, links and a lease store. A failure prints its
 * schedule; `npm run sim -- --seeds 1 --from SEED` runs it alone and shrinks it.
 */
import { describe, expect, it } from 'vitest';
import { type RunOptions, run } from './run.ts';
import { describe as describeSchedule, type Schedule, scheduleOf } from './schedule.ts';

const share = (of: number) => Math.ceil((of * Number(process.env.SIM_SCHEDULES ?? 800)) / 800);
const seedsUpTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

function mustHold(schedule: Schedule, watch?: RunOptions['watch']) {
  const outcome = run(schedule, watch === undefined ? {} : { watch });
  const { violation } = outcome;
  if (violation !== null)
    throw new Error(`${violation.message} at ${violation.atMs} ms\n${describeSchedule(schedule)}`);
  return outcome;
}

describe('ownership, simulated', () => {
  it.each([
    [2, share(560)],
    [3, share(200)],
  ])('keeps every invariant of %i data centers through faults, and heals', { timeout: 180_000 }, (count, length) => {
    const total = { commits: 0, remote: 0, stranded: 0, successions: 0, readmissions: 0, given: 0, refused: 0 };
    const among = { mended: 0, foreign: 0 };
    for (const seed of seedsUpTo(length)) {
      const schedule = scheduleOf(seed, count);
      expect(schedule.faults.length).toBeGreaterThanOrEqual(3);
      const { events, seen } = mustHold(schedule);
      expect(events).toBeGreaterThan(200);
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += seen[name];
      for (const name of Object.keys(among) as (keyof typeof among)[]) among[name] += seen[name];
    }
    // The schedules are worth something only if all of this happened in them, and often.
    expect(total.commits).toBeGreaterThan(length * 100);
    expect(total.remote).toBeGreaterThan(length * 30);
    expect(total.given).toBeGreaterThan(length);
    expect(total.refused).toBeGreaterThan(length);
    expect(total.successions).toBeGreaterThan(length / 2);
    expect(total.readmissions).toBeGreaterThan(length / 4);
    expect(total.stranded).toBeGreaterThan(length / (count === 2 ? 2 : 8));
    if (count === 3) expect(among.mended).toBeGreaterThan(length);
    if (count === 3) expect(among.foreign).toBeGreaterThan(length / 20);
  });

  it.each([2, 3])('is the same when it is run again, with %i data centers', (count) => {
    expect(run(scheduleOf(3, count))).toEqual(run(scheduleOf(3, count)));
  });

  it('lets the seed choose how many data centers there are', () => {
    expect(new Set(seedsUpTo(20).map((seed) => scheduleOf(seed).dataCenters.length))).toEqual(new Set([2, 3]));
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

describe('two failures, one after the other', () => {
  /** `ny` is lost while `fra` lacks what it wrote last, then `la`, which took it over, and both come back. */
  const lost = (dc: string, atMs: number, untilMs: number) => ({
    kind: 'data center lost',
    dc,
    atMs,
    untilMs,
    value: 0,
  });
  const behind = { kind: 'link slow', dc: 'ny', peer: 'fra', atMs: 5000, untilMs: 15_000, value: 1200 };
  const dataCenters = ['ny', 'la', 'fra'];

  it.each([
    ['after the third has what it lacked', 11_500],
    ['before that', 9_900],
  ])('the successor is lost %s', { timeout: 60_000 }, (_, secondMs) => {
    let readmissions = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const faults = [behind, lost('ny', 6000 + seed * 10, 16_000), lost('la', secondMs + seed * 40, 15_000)];
      const operations = [{ kind: 'failover', atMs: 15_500, from: 'la', to: 'fra' }] as const;
      readmissions += mustHold({ seed, dataCenters, manual: false, faults, operations }).seen.readmissions;
    }
    expect(readmissions).toBeGreaterThan(8);
  });

  it.each(['la', 'fra'])('an agent of %s is killed at every step of it', { timeout: 60_000 }, (killed) => {
    let mended = 0;
    for (let step = 0; step < 12; step++) {
      const kill = { kind: 'agent killed at a step', dc: killed, atMs: 8500, untilMs: 0, value: step * 2 + (step % 2) };
      const faults = [behind, lost('ny', 6050, 13_000), kill];
      mended += mustHold({ seed: 40 + step, dataCenters, manual: false, faults, operations: [] }).seen.mended;
    }
    expect(mended).toBeGreaterThan(12);
  });
});

describe('a link between those who are left is cut as well', () => {
  const untilMs = 24_000;
  const cut = (dc: string, peer: string, atMs: number) => ({ kind: 'links cut', dc, peer, atMs, untilMs, value: 0 });
  const dataCenters = ['ny', 'la', 'fra'];

  it.each(['la', 'fra'])('who has all of it takes over, be it %s', { timeout: 60_000 }, (whole) => {
    const behind = whole === 'la' ? 'fra' : 'la';
    for (let seed = 1; seed <= 6; seed++) {
      const lost = { kind: 'data center lost', dc: 'ny', atMs: 6800, untilMs, value: 0 };
      // Cut for a shorter time than a peer is waited for: both are in the sync set of ny when it is lost.
      const faults = [cut('ny', behind, 6000 + seed * 20), cut('la', 'fra', 6400 + seed * 60), lost];
      const owners = new Set<string>();
      mustHold({ seed, dataCenters, manual: false, faults, operations: [] }, ({ timeline, dcs }) =>
        timeline.at(untilMs - 500, () => {
          for (const { name, pg } of dcs)
            for (const { kind, from, to } of pg.successions)
              if (name === to && kind === 'take' && from === 'ny') owners.add(to);
        }),
      );
      expect([seed, ...owners]).toEqual([seed, whole]);
    }
  });
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

  it.each([
    ['the mark of a switchover, put down by one who had been taken over', 10],
    ['fetching what is missing before the home is read again, which has to come first', 23],
    ['slots for one who came back while the others did too', 104],
    ['relay slots that held nothing after a return, and somebody who was behind', 1111],
    ['new slots that begin at different positions, so that nothing looks like something missing', 1237],
    ['a stream read on while everything was taken from elsewhere', 1250],
    ['a deed of a term whose succession had not arrived', 2427],
    ['a move in flight to one who hands everything over', 2521],
    ['subscriptions of the dead that read slots of the living', 2551],
    ['a stage of an earlier return going on beside the next one', 2622],
    ['one taken over that was not frozen, for the succession was here', 2758],
    ['a slot withheld from one who was seeded again', 4057],
    ['more of one that is gone than its successor had, in one that is coming back', 10_040],
    ['the same, in one that had set nothing of it aside when it was taken over', 21_904],
    ['the same, in one that went on hearing it behind the row of its takeover', 21_133],
    ['the same, in one that was taken over and had not heard of that', 34_392],
    ['what was fetched of a later generation, taken for more of the one before', 20_245],
    ['one that died and came back while another one was coming back and away', 31_816],
    ['the same, when that one was about to be let in', 22_797],
    ['two that came back, one of which had begun again for a later takeover', 23_558],
    ['a generation that was raised, and a view that changed before the answer', 21_217],
    ['a slot made anew for an earlier home, and what was stranded before', 31_602],
    ['a succession undone with what was stranded, and marks that go by it', 33_070],
    ['the mark of a switchover, sent again beside its own stream', 21_275],
    ['begun again, after the lease store had let it in without a word', 25_183],
  ])('among three: %s', (_, seed) => {
    mustHold(scheduleOf(seed, 3));
  });
});
