/**
 * The checker of drills: compares what customers were told with what the databases hold when all is healed. It lives apart:
 * it is handed a history and addresses of databases, asks PostgreSQL alone, and believes nothing that Lanekeeper says about
 * itself, but for the stranded ledger, as D1 demands, and for X1, where the question is whether it said anything.
 *
 * `history.ts` what is judged · `acknowledged.ts`, `charges.ts` D1 · `log.ts` W1, G1, E1 · `rows.ts` C1 · `trouble.ts` X1 · `others.ts` A1
 */
import { judgeAcknowledged, type Tally } from './acknowledged.ts';
import { judgeCharges, readCharges } from './charges.ts';
import type { Found, History, Invariant, Verdict, Violation } from './history.ts';
import { compareLogs, dropLog, type LogReading, type LogStart, readLog, readThrough, startLogs } from './log.ts';
import { judgeOthers, type OthersLimit } from './others.ts';
import { compareRows, type DatabaseUrls, readFound } from './rows.ts';
import { judgeSilence, newTrouble, readTrouble, type Trouble } from './trouble.ts';

export { type Judgement, judgeAcknowledged, type Tally } from './acknowledged.ts';
export { ask } from './ask.ts';
export { type Assertion, type AssertionInput, loadAssertion, runAssertion } from './assertions.ts';
export {
  type AccountRows,
  type Attempt,
  type Found,
  type History,
  type Invariant,
  invariants,
  type Operation,
  type Outcome,
  type Told,
  toldOf,
  type Verdict,
  type Violation,
  type Wanted,
} from './history.ts';
export { dropLog, readLog, startLogs } from './log.ts';
export type { OthersLimit } from './others.ts';
export type { DatabaseUrls } from './rows.ts';

export type CheckStart = {
  readonly logs: Readonly<Record<string, LogStart>>;
  readonly trouble: Trouble;
  /** Where the payment service writes down what it does; null: there is none. */
  readonly journal: string | null;
};

/** Call before the load. */
export async function beginCheck(urls: DatabaseUrls, journal: string | null): Promise<CheckStart> {
  return { logs: await startLogs(urls), trouble: await readTrouble(urls), journal };
}

export type CheckOptions = {
  readonly history: History;
  readonly start: CheckStart;
  /** What the product reported meanwhile. */
  readonly said: readonly string[];
  /** Null: the fault is not one that leaves others alone, and why. */
  readonly others: OthersLimit | { readonly notChecked: string };
  /** False when clocks were tampered with. */
  readonly orderByTime: boolean;
};

export type CheckResult = {
  readonly verdicts: Readonly<Record<Invariant, Verdict>>;
  readonly tally: Tally;
  readonly found: Found;
  /** Changes of customers' rows by the data center in which they were made, as far as its log is there. */
  readonly localWrites: Readonly<Record<string, number>>;
};

/** Call when everything is healed and has settled. */
export async function check(urls: DatabaseUrls, options: CheckOptions): Promise<CheckResult> {
  const { history } = options;
  const found = await readFound(urls, Object.keys(history.homes));
  const judged = judgeAcknowledged(history, found, { orderByTime: options.orderByTime });
  const accounts = new Set(Object.keys(history.homes));
  const charges = await readCharges(options.start.journal);
  const misCharged = judgeCharges(charges ?? [], accounts, ordersOf(found), found.strandedOrders);
  const readings = await readLogs(urls, options.start.logs, accounts);
  const compared = compareLogs(readings.read, found.strandedValues ?? new Map());
  const logged = [...Object.values(readings.read).flatMap(({ violations }) => violations), ...compared];
  const rows = await compareRows(urls);
  const trouble = newTrouble(options.start.trouble, await readTrouble(urls));
  const localWrites = Object.entries(readings.read).map(([name, { localWrites: n }]) => `${n} in ${name}`);
  const others = 'at' in options.others ? judgeOthers(history, options.others) : null;
  const ofLog = (invariant: Invariant): Verdict =>
    readings.missing.length > 0 && !logged.some((one) => one.invariant === invariant)
      ? { kind: 'not checked', why: `the log of ${readings.missing.join(' and ')} went with its database` }
      : verdict(
          invariant,
          logged,
          `the logs of ${Object.keys(readings.read).join(' and ')}: writes of customers ${localWrites.join(', ')}`,
        );
  return {
    found,
    tally: judged.tally,
    localWrites: Object.fromEntries(Object.entries(readings.read).map(([name, one]) => [name, one.localWrites])),
    verdicts: {
      W1: ofLog('W1'),
      D1: plain(
        [...judged.violations, ...misCharged],
        `${judged.tally.acknowledged} acknowledged, ${judged.tally.unknown} unknown, ${judged.tally.stranded} stranded; ${charges?.filter(({ account }) => accounts.has(account)).length ?? 0} charged`,
      ),
      G1: ofLog('G1'),
      C1: plain(rows.differences, `${rows.tables} tables, every row`),
      E1: ofLog('E1'),
      X1: plain(judgeSilence(trouble, rows.differences, options.said), describeTrouble(trouble)),
      A1:
        others === null
          ? { kind: 'not checked', why: 'notChecked' in options.others ? options.others.notChecked : '' }
          : others.accounts === 0
            ? { kind: 'not checked', why: 'no account was homed elsewhere all the time' }
            : plain(others.violations, `${others.accounts} accounts homed elsewhere`),
    },
  };
}

function ordersOf({ rows }: Found): ReadonlyMap<string, string> {
  const orders = Object.values(rows).flatMap((accounts) => Object.values(accounts).flatMap((one) => one.orders));
  return new Map(orders.map(({ id, value }) => [id, value]));
}

/** What `beginCheck` left in the databases; also after a drill that broke off. */
export async function endCheck(urls: DatabaseUrls): Promise<void> {
  for (const url of Object.values(urls)) await dropLog(url).catch(() => {});
}

async function readLogs(
  urls: DatabaseUrls,
  starts: Readonly<Record<string, LogStart>>,
  customers: ReadonlySet<string>,
): Promise<{ readonly read: Record<string, LogReading>; readonly missing: readonly string[] }> {
  const read: Record<string, LogReading> = {};
  const missing: string[] = [];
  for (const [name, url] of Object.entries(urls)) {
    const transactions = await readLog(url);
    const start = starts[name];
    if (transactions === null || start === undefined) missing.push(name);
    else read[name] = readThrough(name, transactions, start, customers);
  }
  return { read, missing };
}

function verdict(invariant: Invariant, violations: readonly Violation[], looked: string): Verdict {
  return plain(
    violations.filter((one) => one.invariant === invariant).map(({ what }) => what),
    looked,
  );
}

function plain(violations: readonly string[], looked: string): Verdict {
  return violations.length === 0 ? { kind: 'holds', looked } : { kind: 'violated', violations };
}

function describeTrouble({ counters, incidents }: Trouble): string {
  const all = [...Object.entries(counters), ...Object.entries(incidents)];
  return all.length === 0 ? 'nothing was counted' : all.map(([name, n]) => `${name}: ${n}`).join(', ');
}
