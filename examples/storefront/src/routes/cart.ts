/**
 * `/cart`: a guest's first write makes an account for the guest, which gives it a deed and so a home; looking makes none.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { addToCart, type Cart, emptyCart, lockCart, readCart, setInCart } from '../cart/cart.ts';
import { takeOverGuestCart } from '../cart/merge.ts';
import { readProduct } from '../catalog/products.ts';
import type { Shop } from '../shop.ts';
import { cartPage } from '../views/cart.ts';
import { goTo, sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { fieldsOf, quantity, skuPattern, text } from '../web/input.ts';
import { invalid, notFound } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

/** Each is one transaction and nothing else: refused in its middle, it may be done again at the account's home. */
export const replayable = { config: { lanekeeper: { replayable: true } } };

export function cartRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets } = shop;

  app.get('/cart', async (request, reply) => {
    const guestCartLate = !(await settleGuest(shop, request));
    const account = request.lanekeeper.account ?? request.lanekeeper.guest;
    const cart = account === null ? emptyCart : await readCart(db, account);
    if (wantsJson(request)) return sendJson(reply, cartJson(cart));
    const added = text(fieldsOf(request.query), 'added', 64);
    const visit = await visitOf(shop, request);
    return sendPage(reply, cartPage({ visit, assets }, cart, { guestCartLate, ...(added === null ? {} : { added }) }));
  });

  app.post('/cart', replayable, async (request, reply) => {
    const body = fieldsOf(request.body);
    return change(request, reply, text(body, 'sku', 64), body.quantity === undefined ? 1 : body.quantity, 'add');
  });

  app.put<{ Params: { sku: string } }>('/cart/:sku', replayable, (request, reply) =>
    change(request, reply, request.params.sku, fieldsOf(request.body).quantity, 'set'),
  );
  // Forms know no PUT.
  app.post<{ Params: { sku: string } }>('/cart/:sku', replayable, (request, reply) =>
    change(request, reply, request.params.sku, fieldsOf(request.body).quantity, 'set'),
  );

  async function change(
    request: FastifyRequest,
    reply: FastifyReply,
    sku: string | null,
    wanted: unknown,
    how: 'add' | 'set',
  ): Promise<FastifyReply> {
    const number = quantity(wanted);
    if (number === null)
      return sendProblem(shop, request, reply, invalid({ quantity: 'How many? A number from 0 to 99.' }));
    if (sku === null) return sendProblem(shop, request, reply, invalid({ sku: 'Which piece? Its `sku` is missing.' }));
    const known = skuPattern.test(sku) ? await readProduct(db, sku) : null;
    if (known === null) return sendProblem(shop, request, reply, notFound('piece'));
    const cart = await writeCart(shop, request, { sku: known.sku, quantity: number, how: number === 0 ? 'set' : how });
    if (wantsJson(request)) return sendJson(reply, cartJson(cart));
    return goTo(reply, how === 'add' && number > 0 ? `/cart?added=${known.sku}` : '/cart');
  }
}

type Wanted = { readonly sku: string; readonly quantity: number; readonly how: 'add' | 'set' };

async function writeCart({ db, lanekeeper }: Shop, request: FastifyRequest, wanted: Wanted): Promise<Cart> {
  const scope = request.lanekeeper;
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

/** Takes over what a customer chose before signing in. True when nothing is left to take over. */
export async function settleGuest(shop: Shop, request: FastifyRequest): Promise<boolean> {
  const scope = request.lanekeeper;
  const { account, guest } = scope;
  if (account === null || guest === null) return true;
  // Only the account's home may write its cart; a look from elsewhere changes nothing.
  if (scope.home !== shop.lanekeeper.here) return false;
  const taken = await takeOverGuestCart(shop, { account, guest });
  if (taken.kind === 'later') {
    request.log.info({ account, guest, reason: taken.reason }, 'the guest’s cart comes later');
    return false;
  }
  await scope.forgetGuest();
  return true;
}

export function cartJson(cart: Cart): Cart & { currency: string } {
  return { ...cart, currency: 'USD' };
}
