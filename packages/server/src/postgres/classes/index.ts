/**
 * What the classes of tables mean beyond homes and merging.
 *
 * - `pieces.ts` the triggers of tables that one data center feeds · `publishing.ts` when such a table may be written
 * - `copies.ts` tables made from others as of a moment · `arrival.ts` how it is known that nothing is missing
 * - `leaks.ts` tables that never leave, and whether somebody made them
 */
import type { Queryable } from '../queryable.ts';
import { type CopyState, readCopies } from './copies.ts';
import { type PublishingEntry, readPublishing } from './publishing.ts';

export {
  type CopyState,
  latestDue,
  type RefreshOptions,
  type RefreshResult,
  readCopies,
  refreshCopy,
} from './copies.ts';
export {
  beginPublishing,
  endPublishing,
  forgetPublishing,
  type PublishingEntry,
  type PublishingRequest,
  readPublishing,
  renewPublishing,
} from './publishing.ts';

const openAtMost = 20;

/** For `status`: of when each copy is, and what may be published now. */
export async function readClasses(
  client: Queryable,
): Promise<{ readonly copies: readonly CopyState[]; readonly publishing: readonly PublishingEntry[] }> {
  const copies = await readCopies(client);
  return { copies, publishing: await readPublishing(client, { atMost: openAtMost, onlyOpen: true }) };
}
