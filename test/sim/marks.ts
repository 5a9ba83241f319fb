/**
 * What may not overtake what (`packages/server/sql/000014.sql`): with three data centers two streams bring the writes to one
 * account when its home has changed, so that a stream is held at a mark until the other one has brought what comes before it.
 */
import { compareEpochs } from 'lanekeeper/model';
import type { ModelPostgres } from './postgres.ts';
import { type Change, type Deed, fold, type Rejoining, type SuccessionRow } from './rows.ts';

const stagesAfterUndo = new Set(['undone', 'caught-up', 'streaming', 'verified', 'readmitted']);

export function isAfterUndo(rejoining: Rejoining | null): boolean {
  return stagesAfterUndo.has(rejoining?.stage ?? '');
}

/** The mark of a switchover or a hand-back: an acceptance of nobody's account. */
export const markKey = (term: number) => `@${term}.0`;

/** A row that takes from this very generation: nothing is read behind it before what was stranded here is undone. */
export function isHeld(pg: ModelPostgres, { kind, cuts }: SuccessionRow): boolean {
  const own = cuts?.[pg.here];
  if (pg.broken('no hold') || kind !== 'take' || own === undefined || own.generation !== pg.generation) return false;
  return !isAfterUndo(pg.rejoining) || (pg.rejoining?.cut ?? 0) > own.homed;
}

export function waitsFor(pg: ModelPostgres, changes: readonly Change[]): string | null {
  if (!pg.marks) return null;
  for (const { op, table, key, value } of changes) {
    if (table === 'succession' && op === 'insert' && !pg.broken('no hold for tails')) {
      const { cuts } = value as SuccessionRow;
      for (const [dc, { generation, homed }] of Object.entries(cuts ?? {})) {
        if (dc === pg.here || generation < (pg.generations.get(dc) ?? 1)) continue;
        const progress = pg.progress.get(dc) ?? 0;
        if (progress < homed) return `the log of ${dc} up to ${homed}`;
        if (pg.broken('more than the cut is let in')) continue;
        // Only one that is not in the view may still be reading, or have more: nobody waits for what it says.
        if (!pg.frozen.has(dc)) return `the end of the log of ${dc}`;
        if (pg.isComingBack && progress > homed) return `what is here of ${dc} beyond ${homed} being set aside`;
      }
    } else if (table === 'acceptance' && op === 'insert' && !pg.broken('no hold for acceptances')) {
      const [account, epoch] = key.split('@') as [string, string];
      const [term, counter] = epoch.split('.').map(Number) as [number, number];
      if (account === '' && !pg.tables.succession.has(String(term))) return `the succession of term ${term}`;
      const deed = pg.deed(account);
      if (account !== '' && (deed === undefined || compareEpochs(deed.epoch, { term, counter }) < 0))
        return `the deed of ${account} of ${epoch}`;
    } else if (table === 'adoption' && op === 'insert') {
      // The mark of a switchover says the same of all accounts that were there, and sooner.
      if (pg.broken('no hold for adoptions') || pg.broken('written before the mark')) continue;
      const [account, term] = key.split('@') as [string, string];
      const base = pg.deed(account) === undefined ? pg.bases.get(account) : undefined;
      const present = base === undefined ? pg.present(account)?.epoch : fold(pg.successions, base.home, base.term);
      if ((present?.term ?? 0) < Number(term)) return `what ${term} takes ${account} from`;
    } else if (table === 'deed' && op === 'update') {
      const deed = value as Deed;
      const present = pg.deed(key);
      if (present === undefined || deed.giver === null || compareEpochs(deed.epoch, present.epoch) <= 0) continue;
      const { term } = deed.epoch;
      if (term > 1 && !pg.tables.succession.has(String(term)) && !pg.broken('no hold for terms'))
        return `the succession of term ${term}`;
      if (pg.broken('no hold for givers')) continue;
      const { home, epoch } = present;
      if (deed.giver !== home && deed.giver !== fold(pg.successions, home, epoch.term).home)
        return `what made ${deed.giver} the home of ${key}`;
    }
  }
  return null;
}
