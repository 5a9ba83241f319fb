/** What a cart is. */
export const maxQuantity = 99;

export type CartLine = {
  readonly sku: string;
  readonly name: string;
  readonly quantity: number;
  /** US cents: each, and all of them. */
  readonly price: number;
  readonly total: number;
};

export type Cart = { readonly lines: readonly CartLine[]; readonly count: number; readonly total: number };

export const emptyCart: Cart = { lines: [], count: 0, total: 0 };
