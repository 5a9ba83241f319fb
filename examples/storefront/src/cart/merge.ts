/**
 * A guest's cart becomes the customer's at sign-in. Both are accounts with deeds of their own, so both must be homed in one
 * place: `takeOverGuestCart` asks for the guest to be moved when it is not, and otherwise leaves everything for a later visit.
 */
import { findLanekeeperError, type Lanekeeper } from 'lanekeeper';
import type { Database, Writer } from '../database/connect.ts';
import { addToCart, lockCart } from './cart.ts';

export type TakeOver =
  /** `lines` were added; the guest has nothing left. */
  | { readonly kind: 'taken'; readonly lines: number }
  /** The guest cannot be written here yet: keep its id and try at the next look into the cart. */
  | { readonly kind: 'later'; readonly reason: string };

/** How long a customer who has just signed in may wait for the guest's cart to come over. */
const moveWaitMs = 1500;

export async function takeOverGuestCart(
  shop: { readonly db: Database; readonly lanekeeper: Lanekeeper },
  { guest, account, home }: { readonly guest: string; readonly account: string; readonly home: string },
): Promise<TakeOver> {
  const { db, lanekeeper } = shop;
  try {
    const where = await lanekeeper.whereIs(guest);
    if (where === null) return { kind: 'later', reason: 'the guest has not arrived here' };
    if (where.home !== home) {
      const move = await lanekeeper.move(guest, home, { waitMs: moveWaitMs, reason: 'guest cart' });
      if (move.kind !== 'moved' && move.kind !== 'already-there') {
        return { kind: 'later', reason: move.reason ?? move.kind };
      }
    }
    const lines = await db
      .transaction()
      .execute((trx) => mergeCarts(trx, { guest, account, newCartId: () => lanekeeper.id('cart') }));
    return { kind: 'taken', lines };
  } catch (error) {
    const refusal = findLanekeeperError(error);
    if (refusal === undefined || refusal.code === 'LK_OUTCOME_UNKNOWN') throw error;
    return { kind: 'later', reason: refusal.message };
  }
}

/**
 * Adds the guest's lines to the customer's and leaves the guest's cart empty, so that doing it again adds nothing. The
 * first writes touch both accounts in the order of their ids: so their deeds are locked in the same order by everyone
 * who merges, and no two can wait for each other.
 */
export async function mergeCarts(
  trx: Writer,
  { guest, account, newCartId }: { readonly guest: string; readonly account: string; readonly newCartId: () => string },
): Promise<number> {
  const now = new Date();
  for (const id of [guest, account].sort()) {
    const merged = id === guest ? { merged_into: account } : {};
    await trx
      .updateTable('accounts')
      .set({ updated_at: now, ...merged })
      .where('id', '=', id)
      .execute();
  }
  const lines = await trx
    .deleteFrom('cart_lines')
    .using('carts')
    .whereRef('carts.id', '=', 'cart_lines.cart_id')
    .where('carts.account_id', '=', guest)
    .returning(['cart_lines.sku', 'cart_lines.quantity'])
    .execute();
  if (lines.length === 0) return 0;
  const cart = await lockCart(trx, account, newCartId);
  for (const { sku, quantity } of lines) await addToCart(trx, cart, sku, quantity);
  return lines.length;
}
