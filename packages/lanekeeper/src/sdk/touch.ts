/** Recording that an account is in use here, so that nobody moves it away from under its customer. Not worth a wait or an error. */
import type { AccountId, DataCenterName } from '../model/index.ts';

export type RunSqlAt = (at: DataCenterName, text: string, values: unknown[]) => Promise<unknown>;

const everyMs = 60_000;
const mostRemembered = 10_000;

export function createTouch(here: DataCenterName, run: RunSqlAt): (account: AccountId, at?: DataCenterName) => void {
  const touchedAtMs = new Map<AccountId, number>();
  return (account, at = here) => {
    const nowMs = performance.now();
    const lastMs = touchedAtMs.get(account);
    if (lastMs !== undefined && nowMs - lastMs < everyMs) return;
    if (touchedAtMs.size >= mostRemembered) touchedAtMs.clear();
    touchedAtMs.set(account, nowMs);
    run(at, 'SELECT lanekeeper.touch($1)', [account]).catch(() => touchedAtMs.delete(account));
  };
}
