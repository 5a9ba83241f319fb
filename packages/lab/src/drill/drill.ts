/**
 * One drill in a running lab: customers shop, something breaks, it is healed, and then what they were told is compared with
 * what the databases hold. Everything that was broken is mended before it returns, also when it breaks off.
 */

import { join } from 'node:path';
import type { LabDescription } from '../lab/description.ts';
import { LinksClient } from '../links/client.ts';
import { sleepMs } from '../processes/observe.ts';
import {
  type Assertion,
  ask,
  beginCheck,
  type CheckResult,
  check,
  endCheck,
  type History,
  runAssertion,
} from './checker/index.ts';
import { type Arena, type Fault, superusers } from './faults/index.ts';
import { prepareLoad } from './load/index.ts';
import { randomFrom } from './random.ts';
import type { Moments, Round, TimelineEntry } from './report/index.ts';
import { awaitArrival } from './settle.ts';
import { Watch } from './watch.ts';

export type DrillOptions = {
  readonly lab: LabDescription;
  readonly seed: number;
  /** Under load, in milliseconds; the fault comes again and again until then. Null: once, as short as it can be. */
  readonly durationMs: number | null;
  readonly buyers: number;
  readonly keepers: number;
  /** Where the fault is. Default: the seed decides. */
  readonly at?: string;
  readonly assertion: Assertion | null;
  readonly aborted: () => boolean;
  readonly onNote: (atMs: number, text: string) => void;
};

export type DrillRun = {
  readonly history: History;
  readonly checked: CheckResult;
  readonly timeline: readonly TimelineEntry[];
  readonly rounds: readonly Round[];
  /** One for each round. */
  readonly moments: readonly Moments[];
  readonly said: readonly string[];
  /** What was wrong beyond the invariants: not back in time, not arrived, the fault's and the user's own assertions. */
  readonly failures: readonly string[];
  readonly at: string;
  readonly loadEndMs: number;
};

export class DrillAborted extends Error {
  override readonly name = 'DrillAborted';
}

const warmUpMs = 2_500;
const readyLimitMs = 45_000;
const settleLimitMs = 60_000;
const backLimitMs = 40_000;
const betweenRoundsMs = 2_000;

export async function runDrill(fault: Fault, options: DrillOptions): Promise<DrillRun> {
  const { lab } = options;
  const startMs = performance.now();
  const clock = (): number => performance.now() - startMs;
  const random = randomFrom(options.seed);
  const timeline: TimelineEntry[] = [];
  const note = (text: string): void => {
    timeline.push({ atMs: clock(), text });
    options.onNote(clock(), text);
  };
  const urls = superusers(lab);
  const names = Object.keys(lab.dataCenters);
  const drawn = names[Math.floor(random() * names.length)] as string;
  const at = options.at ?? drawn;
  const undoing: (() => Promise<unknown>)[] = [];
  const watch = new Watch(lab, clock);
  const stopIfAborted = (): void => {
    if (options.aborted()) throw new DrillAborted('The drill was broken off');
  };
  const pause = async (ms: number): Promise<void> => {
    const endMs = performance.now() + ms;
    for (let left = ms; left > 0; left = endMs - performance.now()) {
      stopIfAborted();
      await sleepMs(Math.min(left, 100));
    }
    stopIfAborted();
  };
  let load: Awaited<ReturnType<typeof prepareLoad>> | null = null;
  let failed = true;
  try {
    await watch.start();
    const whyUnready = async (): Promise<readonly string[]> => {
      const endMs = performance.now() + readyLimitMs;
      for (;;) {
        const reasons = await watch.unreadiness();
        if (reasons.length === 0 || performance.now() > endMs) return reasons;
        await pause(500);
      }
    };
    const unready = await whyUnready();
    if (unready.length > 0)
      throw new Error(`the lab was not ready for a fault within ${readyLimitMs / 1000} s: ${unready.join('; ')}`);
    load = await prepareLoad({
      edges: Object.fromEntries(names.map((name) => [name, lab.dataCenters[name]?.edge ?? ''])),
      buyers: options.buyers,
      keepers: options.keepers,
      clock,
      random,
      mark: `d${process.pid.toString(36)}${Math.floor(performance.now()).toString(36)}`,
    });
    const shoppers = load;
    const arenaAt = (place: string): Arena => ({
      lab,
      at: place,
      other: names.find((name) => name !== place) as string,
      third: names.filter((name) => name !== place)[1] ?? null,
      load: shoppers,
      random,
      links: new LinksClient(lab.links),
      agentToken: (name) => watch.agentToken(name),
      ask: (url, text) => ask(url, text),
      problems: () => watch.problemsNow(),
      note,
      undo: (step) => undoing.push(step),
      aborted: options.aborted,
      pause,
    });
    let arena = arenaAt(at);
    await fault.prepare?.(arena);
    const start = await beginCheck(urls, join(lab.dir, 'payments.journal'));
    const said = (): readonly string[] => watch.problemsSince(rounds[0]?.faultMs ?? 0);
    const rounds: Round[] = [];
    const moments: Moments[] = [];
    const failures: string[] = [];

    note(`${load.customers.length} customers shop`);
    load.start();
    const loadStartMs = clock();
    await pause(warmUpMs);
    if (!(await load.everybodyWritesAgain(loadStartMs, 15_000, options.aborted)))
      throw new Error('Not every customer could shop before anything was broken: the lab is not well');
    do {
      if (rounds.length > 0) {
        await pause(betweenRoundsMs);
        // Where everything was taken over to is where it hurts.
        if (fault.takesOver === true) arena = arenaAt(arena.other);
      }
      await watch.expect(arena.at);
      const faultMs = clock();
      note(`${fault.name} in ${arena.at}`);
      await fault.inject(arena);
      await pause(Math.max(0, fault.holdMs - (clock() - faultMs)));
      if (fault.expectation.after === 'fault')
        await load.everybodyWritesAgain(faultMs, fault.expectation.writesAgainMs ?? 0, options.aborted);
      await heal(fault, arena, undoing);
      const healMs = clock();
      note('healed');
      const back = await load.everybodyWritesAgain(healMs, backLimitMs, options.aborted);
      stopIfAborted();
      rounds.push({ at: arena.at, faultMs, healMs, backMs: back ? clock() : null });
      moments.push(watch.momentsOf(arena.at));
      if (!back) {
        const late = load.customers.filter(({ lastDoneMs }) => lastDoneMs <= healMs);
        failures.push(
          `${late.length} of ${load.customers.length} customers could not write again within ${backLimitMs / 1000} s of healing (${late
            .slice(0, 3)
            .map(({ account, home, via }) => `${account}, home ${home}, at the edge of ${via}`)
            .join('; ')})`,
        );
        break;
      }
    } while (options.durationMs !== null && fault.usesUp !== true && clock() - loadStartMs < options.durationMs);

    await load.stop();
    const loadEndMs = clock();
    note('customers have gone home');
    const missing = await awaitArrival(urls, settleLimitMs, options.aborted);
    stopIfAborted();
    if (missing !== null) failures.push(`not everything arrived within ${settleLimitMs / 1000} s: ${missing}`);
    else note('everything has arrived');
    const history = load.history();
    const first = rounds[0] as Round | undefined;
    const wandered = rounds.some((round) => round.at !== at);
    const limit = wandered ? null : fault.expectation.othersPauseMs;
    const checked = await check(urls, {
      history,
      start,
      said: said(),
      others:
        limit === null
          ? {
              notChecked: wandered
                ? 'the fault came in more than one data center'
                : (fault.expectation.why ?? 'it affects them'),
            }
          : { at, pauseMs: limit, fromMs: first?.faultMs ?? 0, toMs: loadEndMs },
      orderByTime: fault.bendsTime !== true,
    });
    failures.push(...((await fault.inspect?.(arena)) ?? []));
    const stillUnready = await whyUnready();
    if (stillUnready.length === 0) note('ready for another fault');
    else failures.push(`not ready for another fault within ${readyLimitMs / 1000} s: ${stillUnready.join('; ')}`);
    if (options.assertion !== null) {
      failures.push(
        ...(await runAssertion(options.assertion, {
          history,
          found: checked.found,
          databases: urls,
          drill: { name: fault.name, seed: options.seed },
        })),
      );
    }
    failed = false;
    return { history, checked, timeline, rounds, moments, said: said(), failures, at, loadEndMs };
  } finally {
    load?.close();
    // What went wrong first is what matters.
    await undoAll(undoing).catch((error: unknown) => {
      if (!failed) throw error;
    });
    await watch.stop();
    await endCheck(urls);
  }
}

/** What the fault itself does about it, then everything that was put down to be undone. */
async function heal(fault: Fault, arena: Arena, undoing: (() => Promise<unknown>)[]): Promise<void> {
  await fault.heal?.(arena);
  await undoAll(undoing);
}

async function undoAll(undoing: (() => Promise<unknown>)[]): Promise<void> {
  let failure: unknown = null;
  for (let step = undoing.pop(); step !== undefined; step = undoing.pop()) {
    try {
      await step();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== null) throw failure;
}
