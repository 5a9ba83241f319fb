/** Which refused statements may be tried once more in another database without anybody noticing, and in which. */
import { setTimeout as delay } from 'node:timers/promises';
import type { AccountId, DataCenterName, LanekeeperError } from '../model/index.ts';
import type { Lanes } from './lanes.ts';

const begins = /^\s*(?:begin|start\s+transaction)\b[^;]*;?\s*$/i;
const sets = /^\s*set\b[^;]*;?\s*$/i;

/** It begins a transaction (`fresh`) or says how the one is to be that was begun; it asks nothing and writes nothing. */
export function isOpening(text: string, fresh: boolean): boolean {
  return fresh ? begins.test(text) : sets.test(text);
}

/** One statement: several in one text may have committed in between. */
export function isAlone({ text, values }: { readonly text: string; readonly values?: unknown }): boolean {
  // With parameters PostgreSQL takes no more than one.
  return (Array.isArray(values) && values.length > 0) || !text.trimEnd().replace(/;$/, '').includes(';');
}

/** A move takes milliseconds; a switchover less than a second. */
const settleMs = 2_000;
const pauseMs = 25;

/**
 * Where the account is written by now, according to the database that refused; null when the refusal says all there is to say.
 * An account that is on its way from or to there is waited for.
 */
export async function whereNow(
  lanes: Lanes,
  refusedBy: DataCenterName,
  { code, details }: LanekeeperError,
  owner: AccountId | null,
): Promise<DataCenterName | null> {
  // Whoever lost his lease may know of a successor.
  if (code === 'LK_WRONG_HOME' || code === 'LK_NO_LEASE') {
    const { home } = details;
    return home !== undefined && home !== refusedBy && lanes.has(home) ? home : null;
  }
  if (code !== 'LK_MOVING' && code !== 'LK_ARRIVING') return null;
  const account = details.account ?? owner;
  if (account === null) return null;
  const deadlineMs = performance.now() + settleMs;
  do {
    await delay(pauseMs);
    const where = await lanes.whereIs(refusedBy, account).catch(() => null);
    if (where === null) return null;
    if (where.home !== refusedBy) return lanes.has(where.home) ? where.home : null;
    if (where.accepted && !where.draining) return refusedBy;
  } while (performance.now() < deadlineMs);
  return null;
}
