/** Tells `hooks.onConflict` of conflicts that were logged here. */
import { conflictsToTell, type Queryable } from '../postgres/index.ts';
import { type Hooks, hookLastsMs } from './hooks.ts';

/** A storm is told a part at a time. */
const atOnce = 500;

export async function collectConflicts(hooks: Hooks, client: Queryable): Promise<void> {
  if (!hooks.wanted('conflict')) return;
  for (const { id, at, table, key, policy, winner, loser } of await conflictsToTell(client, hookLastsMs, atOnce))
    if (!(await hooks.tell(client, 'conflict', String(id), { conflict: id, table, key, policy, winner, loser }, at)))
      return;
}
