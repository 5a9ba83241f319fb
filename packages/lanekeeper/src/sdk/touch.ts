/** Recording that an account is in use here, so that nobody moves it away from under its customer. Not worth a wait or an error. */
import type { AccountId } from '../model/index.ts';
import type { RunSql } from './deeds.ts';

const everyMs = 60_000;
const mostRemembered = 10_000;

export function createTouch(run: RunSql): (account: AccountId) => void {
  const touchedAtMs = new Map<AccountId, number>();
  return (account) => {
    const nowMs = performance.now();
    const lastMs = touchedAtMs.get(account);
    if (lastMs !== undefined && nowMs - lastMs < everyMs) return;
    if (touchedAtMs.size >= mostRemembered) touchedAtMs.clear();
    touchedAtMs.set(account, nowMs);
    run('SELECT lanekeeper.touch($1)', [account]).catch(() => touchedAtMs.delete(account));
  };
}
