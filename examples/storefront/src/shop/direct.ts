/** The shop on its database, in this process. */
import { accountOperations } from '../operations/account.ts';
import type { Back, Caller } from '../operations/back.ts';
import { cartOperations } from '../operations/cart.ts';
import { catalogOperations } from '../operations/catalog.ts';
import { checkoutOperations } from '../operations/checkout.ts';
import { deskOperations } from '../operations/desk.ts';
import type { Shop } from './shop.ts';

export function directShop(back: Back, caller: Caller): Shop {
  return {
    ...catalogOperations(back),
    ...cartOperations(back, caller),
    ...accountOperations(back, caller),
    ...checkoutOperations(back, caller),
    ...deskOperations(back, caller),
  };
}
