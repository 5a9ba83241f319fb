/**
 * A1: customers whose accounts are homed elsewhere notice nothing but, at most, the pause that the protocol allows (a lost
 * peer leaves the sync set after its timeout). Pure.
 */
import { type History, toldOf } from './history.ts';

export type OthersLimit = {
  /** The data center at which the fault is; accounts homed there are not asked. */
  readonly at: string;
  /** The longest that one of their requests may take, and the longest between two that are done. */
  readonly pauseMs: number;
  readonly fromMs: number;
  readonly toMs: number;
};

export function judgeOthers(
  history: History,
  limit: OthersLimit,
): { readonly accounts: number; readonly violations: readonly string[] } {
  const violations: string[] = [];
  let accounts = 0;
  for (const [account, home] of Object.entries(history.homes)) {
    if (home === limit.at || history.travellers.has(account)) continue;
    const operations = history.operations.filter((one) => one.account === account);
    // Somebody who came in by the broken data center's edge meets its outage, wherever the account is.
    if (operations.some(({ attempts }) => attempts.some(({ via }) => via === limit.at))) continue;
    accounts += 1;
    let lastMs = limit.fromMs;
    let longest = 0;
    let atMs = lastMs;
    for (const operation of operations) {
      const done = operation.attempts.find(({ outcome }) => outcome.kind === 'acknowledged');
      if (done === undefined || done.endMs < limit.fromMs || done.startMs > limit.toMs) {
        const first = operation.attempts[0];
        if (
          toldOf(operation) === 'unknown' &&
          first !== undefined &&
          first.startMs > limit.fromMs &&
          first.startMs < limit.toMs
        )
          violations.push(
            `${account} (home ${home}) was told nothing about a request sent at ${Math.round(first.startMs)} ms`,
          );
        continue;
      }
      if (done.endMs - lastMs > longest) {
        longest = done.endMs - lastMs;
        atMs = lastMs;
      }
      lastMs = done.endMs;
    }
    if (longest > limit.pauseMs)
      violations.push(
        `${account} (home ${home}) waited ${Math.round(longest)} ms from ${Math.round(atMs)} ms on; ${limit.pauseMs} ms is the limit`,
      );
  }
  return { accounts, violations };
}
