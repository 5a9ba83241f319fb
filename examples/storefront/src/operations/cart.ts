/** A guest's first write makes an account for the guest, which gives it a deed and so a home; looking makes none. */
import { addToCart, lockCart, readCart, setInCart } from '../cart/cart.ts';
import { type Cart, emptyCart } from '../cart/lines.ts';
import { takeOverGuestCart } from '../cart/merge.ts';
import { readProduct } from '../catalog/products.ts';
import type { CartChange, Fields, Shop } from '../shop/shop.ts';
import { quantity, skuPattern, text } from '../web/input.ts';
import type { Back, Caller } from './back.ts';

export function cartOperations(back: Back, caller: Caller): Pick<Shop, 'cart' | 'addToCart' | 'setInCart'> {
  const { db } = back;
  return {
    cart: async () => {
      const guestCartLate = !(await settleGuestOnLook(back, caller));
      const account = caller.scope.account ?? caller.scope.guest;
      return { cart: account === null ? emptyCart : await readCart(db, account), guestCartLate };
    },
    addToCart: (fields) => change(fields, fields.quantity === undefined ? 1 : fields.quantity, 'add'),
    setInCart: (fields) => change(fields, fields.quantity, 'set'),
  };

  async function change(fields: Fields, wanted: unknown, how: 'add' | 'set'): Promise<CartChange> {
    const number = quantity(wanted);
    if (number === null) return { kind: 'invalid', fields: { quantity: 'How many? A number from 0 to 99.' } };
    const sku = text(fields, 'sku', 64);
    if (sku === null) return { kind: 'invalid', fields: { sku: 'Which piece? Its `sku` is missing.' } };
    const known = skuPattern.test(sku) ? await readProduct(db, sku) : null;
    if (known === null) return { kind: 'no-such-piece' };
    const wantedLine: Wanted = { sku: known.sku, quantity: number, how: number === 0 ? 'set' : how };
    const cart = await writeCart(back, caller, wantedLine);
    return { kind: 'changed', cart, sku: known.sku, added: how === 'add' && number > 0 };
  }
}

type Wanted = { readonly sku: string; readonly quantity: number; readonly how: 'add' | 'set' };

async function writeCart({ db, lanekeeper }: Back, { scope }: Caller, wanted: Wanted): Promise<Cart> {
  const known = scope.account ?? scope.guest;
  if (known === null && wanted.quantity === 0) return emptyCart;
  const account = known ?? lanekeeper.id('guest');
  await db.transaction().execute(async (trx) => {
    if (known === null)
      await trx
        .insertInto('accounts')
        .values({ id: account, name: '', ...nobody })
        .execute();
    const cart = await lockCart(trx, account, () => lanekeeper.id('cart'));
    const write = wanted.how === 'add' ? addToCart : setInCart;
    await write(trx, cart, wanted.sku, wanted.quantity);
    await trx.updateTable('carts').set({ updated_at: new Date() }).where('id', '=', cart).execute();
  });
  if (known === null) await scope.beGuest(account);
  return readCart(db, account);
}

const nobody = { email: null, password_hash: null, merged_into: null };

/** As `settleGuest`; but what only reads is served from this database, and a look from elsewhere changes nothing. */
export async function settleGuestOnLook(back: Back, caller: Caller): Promise<boolean> {
  const { account, guest, home } = caller.scope;
  if (account === null || guest === null) return true;
  return home === back.lanekeeper.here && settleGuest(back, caller);
}

/** Takes over what a customer chose before signing in. True when nothing is left to take over. */
export async function settleGuest(back: Back, { scope, log }: Caller): Promise<boolean> {
  const { account, guest, home } = scope;
  if (account === null || guest === null || home === null) return true;
  const taken = await takeOverGuestCart(back, { account, guest, home });
  if (taken.kind === 'later') {
    log.info({ account, guest, reason: taken.reason }, 'the guest’s cart comes later');
    return false;
  }
  await scope.forgetGuest();
  return true;
}
