/** Before a request's handler runs: has what its session wrote last arrived in the database that it is going to read? */
import type { DataCenterName } from '../model/index.ts';
import type { CurrentRequest } from './request.ts';
import { ownerOf, type Runtime } from './runtime.ts';

/**
 * Waits a little for it. Returns the home when a read has to go there to see it; null when it can be served here, also because
 * nobody has it any more: then the request says so.
 */
export async function homeOfOwnWrites(
  runtime: Runtime,
  request: CurrentRequest,
  safe: boolean,
): Promise<DataCenterName | null> {
  const { bookmark } = request;
  if (bookmark === null) return null;
  const { bookmarks, configuration, here, deeds } = runtime;
  const arrival = await bookmarks.arrival(bookmark, safe ? configuration.reads.bookmarkWaitMs : 0);
  if (arrival === 'missing') request.mayMissSomething();
  // What writes is admitted at the home, where an account's deed never arrives before its data (R2).
  if (arrival !== 'late' || !safe) return null;
  const { account } = request.binding;
  const where = await deeds.whereIs(ownerOf(runtime, account ?? '')).catch(() => null);
  const home = where?.home ?? request.home;
  return home === here ? null : home;
}
