/** What an order is called. */
import { createHash } from 'node:crypto';

/** Crockford's: no letter that is taken for another on the telephone. */
const letters = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * Follows from the account and its request, so that the same form is the same order, also when two data centers take it
 * without knowing of each other: one that was lost with its data center and comes back meets itself, and its charge is
 * the same charge.
 */
export function orderIdFor(account: string, requestId: string): string {
  const digest = createHash('sha256').update(`${account}\n${requestId}`).digest();
  let text = '';
  for (let i = 0; i < 26; i += 1) text += letters[digest.readUInt8(i) & 31];
  return `ord_${text}`;
}
