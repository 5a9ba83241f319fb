/** Carts: one for each account, guests included. Everything that writes runs in the caller's transaction. */
import { sql } from 'kysely';
import type { Reader, Writer } from '../database/connect.ts';
import { type Cart, maxQuantity } from './lines.ts';

export async function readCart(db: Reader, account: string): Promise<Cart> {
  const rows = await db
    .selectFrom('carts')
    .innerJoin('cart_lines', 'cart_lines.cart_id', 'carts.id')
    .innerJoin('products', 'products.sku', 'cart_lines.sku')
    .where('carts.account_id', '=', account)
    .select(['products.sku', 'products.name', 'products.price', 'cart_lines.quantity'])
    .orderBy('products.position')
    .execute();
  const lines = rows.map((row) => ({ ...row, total: row.price * row.quantity }));
  return {
    lines,
    count: lines.reduce((sum, line) => sum + line.quantity, 0),
    total: lines.reduce((sum, line) => sum + line.total, 0),
  };
}

/** The id of the account's cart, locked until the transaction ends; made with `newId` when there is none. */
export async function lockCart(trx: Writer, account: string, newId: () => string): Promise<string> {
  const lock = () =>
    trx.selectFrom('carts').select('id').where('account_id', '=', account).forUpdate().executeTakeFirst();
  const found = await lock();
  if (found !== undefined) return found.id;
  await trx
    .insertInto('carts')
    .values({ id: newId(), account_id: account })
    .onConflict((conflict) => conflict.column('account_id').doNothing())
    .execute();
  // Somebody else's insert may have won.
  return (await lock())!.id;
}

/** Adds to the line, up to `maxQuantity`. */
export async function addToCart(trx: Writer, cart: string, sku: string, quantity: number): Promise<void> {
  await trx
    .insertInto('cart_lines')
    .values({ cart_id: cart, sku, quantity })
    .onConflict((conflict) =>
      conflict
        .columns(['cart_id', 'sku'])
        .doUpdateSet({ quantity: sql`least(${sql.lit(maxQuantity)}, cart_lines.quantity + excluded.quantity)` }),
    )
    .execute();
}

/** Makes the line that long; 0 removes it. */
export async function setInCart(trx: Writer, cart: string, sku: string, quantity: number): Promise<void> {
  if (quantity === 0) {
    await trx.deleteFrom('cart_lines').where('cart_id', '=', cart).where('sku', '=', sku).execute();
    return;
  }
  await trx
    .insertInto('cart_lines')
    .values({ cart_id: cart, sku, quantity })
    .onConflict((conflict) => conflict.columns(['cart_id', 'sku']).doUpdateSet({ quantity }))
    .execute();
}
