/** Moves of one account in the model of a database: `lanekeeper.give`, `accept` and `decline`. */
import { compareEpochs, type Epoch } from 'lanekeeper/model';
import { epochKey, type ModelPostgres } from './postgres.ts';
import type { Deed } from './rows.ts';

export function digest(pg: ModelPostgres, account: string): string {
  const rows: string[] = [];
  for (const [key, value] of pg.tables.row) if (key.startsWith(`${account}/`)) rows.push(`${key}=${value}`);
  return rows.sort().join(' ');
}

export function give(
  pg: ModelPostgres,
  account: string,
  to: string,
  expected: Epoch,
): Epoch | 'no-lease' | 'not-here' | 'stale' | 'no-such-dc' | 'busy' {
  const latest = pg.latest;
  const present = pg.present(account);
  if (latest < pg.view) return 'busy';
  if (pg.frozen.has(to)) return 'no-such-dc';
  if (pg.leaseLeftMs() <= 0) return 'no-lease';
  if (present?.home !== pg.here || !present.accepted) return 'not-here';
  if (compareEpochs(present.epoch, expected) !== 0) return 'stale';
  const epoch = { term: latest, counter: present.epoch.counter + 1 };
  pg.drains.delete(account);
  const value = { home: to, epoch, giver: pg.here, digest: digest(pg, account) };
  pg.commit([{ op: 'update', table: 'deed', key: account, value }]);
  return epoch;
}

/** Whether the rows are the ones that were given with that deed. */
export function compare(pg: ModelPostgres, account: string, expected: Epoch): boolean {
  const deed = pg.deed(account);
  if (deed?.home !== pg.here || compareEpochs(deed.epoch, expected) !== 0) return false;
  return deed.digest === digest(pg, account) || pg.broken('accept without the digest');
}

export function accept(
  pg: ModelPostgres,
  account: string,
  expected: Epoch,
  compared: boolean,
): 'accepted' | 'already' | 'stale' | 'no-lease' | 'digest-differs' {
  const deed = pg.deed(account);
  const present = pg.present(account);
  if (deed?.home !== pg.here || present === null || present.applied || compareEpochs(deed.epoch, expected) !== 0)
    return 'stale';
  if (present.accepted) return 'already';
  if (pg.leaseLeftMs() <= 0) return 'no-lease';
  if (
    deed.digest !== null &&
    !compared &&
    deed.digest !== digest(pg, account) &&
    !pg.broken('accept without the digest')
  )
    return 'digest-differs';
  pg.commit([{ op: 'insert', table: 'acceptance', key: epochKey(account, deed.epoch), value: pg.here }]);
  return 'accepted';
}

export function decline(
  pg: ModelPostgres,
  account: string,
  expected: Epoch,
): 'declined' | 'already' | 'stale' | 'no-lease' {
  const deed = pg.deed(account);
  const present = pg.present(account);
  if (
    deed?.home !== pg.here ||
    deed.giver === null ||
    present === null ||
    present.applied ||
    compareEpochs(deed.epoch, expected) !== 0
  )
    return 'stale';
  if (present.accepted) return 'already';
  if (pg.leaseLeftMs() <= 0) return 'no-lease';
  const epoch = { term: deed.epoch.term, counter: deed.epoch.counter + 1 };
  const value = { home: deed.giver, epoch, giver: pg.here, digest: null };
  const back = { op: 'update', table: 'deed', key: account, value } as const;
  // A mark: a third one has to know that it was given before it hears that it comes back.
  const mark = { op: 'insert', table: 'acceptance', key: epochKey(account, deed.epoch), value: pg.here } as const;
  pg.commit(pg.marks && !pg.broken('declined without a mark') ? [mark, back] : [back]);
  return 'declined';
}

/** Deeds that name this dc and wait for its word. */
export function unaccepted(pg: ModelPostgres): { readonly account: string; readonly deed: Deed }[] {
  const waiting: { account: string; deed: Deed }[] = [];
  for (const [account, value] of pg.tables.deed) {
    const deed = value as Deed;
    if (deed.home === pg.here && deed.giver !== null && pg.present(account)?.accepted === false)
      waiting.push({ account, deed });
  }
  return waiting;
}
