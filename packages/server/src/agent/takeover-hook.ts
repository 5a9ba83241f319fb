/** Tells `hooks.onTakeover` that this data center has taken another one over: so that somebody gives it the machines it now needs. */
import type { Configuration } from 'lanekeeper/config';
import { type Queryable, readTakeovers } from '../postgres/index.ts';
import type { Hooks } from './hooks.ts';

/** Older ones were told, or need no machines any more. */
const tellWithinMs = 24 * 3_600_000;

export async function collectTakeovers(
  hooks: Hooks,
  { here, dataCenters }: Configuration,
  client: Queryable,
): Promise<void> {
  if (!hooks.wanted('takeover')) return;
  for (const { term, from, to, at } of await readTakeovers(client, tellWithinMs)) {
    const load = [dataCenters[here], dataCenters[from]].map((dc) => dc?.capacity ?? null);
    const peaks = load.map((capacity) => capacity?.peak ?? null);
    await hooks.tell(
      client,
      'takeover',
      String(term),
      {
        term,
        from,
        to,
        // Requests a second: what this data center was made for, and what both together get at their busiest; null: nobody has said.
        capacity: load[0]?.limit ?? null,
        peak: peaks.includes(null) ? null : peaks.reduce<number>((sum, peak) => sum + (peak ?? 0), 0),
      },
      at,
    );
  }
}
