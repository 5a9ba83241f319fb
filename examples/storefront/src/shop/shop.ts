/**
 * What the shop can do for one visitor: all that its pages need to know. `direct.ts` does it on the database, in the
 * same process; `remote.ts` asks a backend (`backend.ts`), so that the pages need no database at all.
 *
 * Answers are plain JSON: moments are ISO 8601, money is US cents. What can be expected comes back as a `kind`; a
 * refusal of Lanekeeper's is thrown as it is.
 */
import type { Durability } from 'lanekeeper/model';
import type { Cart } from '../cart/lines.ts';
import type { Product } from '../catalog/products.ts';
import type { OrderHistory } from '../orders/history.ts';
import type { Order } from '../orders/orders.ts';
import type { SetAside } from '../payment/outbox.ts';

/** From forms and JSON alike; whoever does the work looks at them. */
export type Fields = Readonly<Record<string, unknown>>;

export type Visitor = {
  /** Null: nobody has signed in. */
  readonly account: string | null;
  /** Empty when the account's row has not arrived here yet. */
  readonly name: string;
  readonly email: string;
  /** Where the account of this visit, a guest's included, is written; null when there is none yet. */
  readonly home: string | null;
  readonly cartCount: number;
};

export type VisitorsCart = {
  readonly cart: Cart;
  /** The cart of the time before sign-in cannot be reached yet. */
  readonly guestCartLate: boolean;
};

/** What is wrong with the fields, by name. */
export type Invalid = { readonly kind: 'invalid'; readonly fields: Readonly<Record<string, string>> };
export type NoSuchPiece = { readonly kind: 'no-such-piece' };
/** It is about an account, and nobody has signed in. */
export type Nobody = { readonly kind: 'nobody' };
export type NotFound = { readonly kind: 'not-found' };

export type Signed = {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly home: string | null;
};

export type CartChange =
  | Invalid
  | NoSuchPiece
  | { readonly kind: 'changed'; readonly cart: Cart; readonly sku: string; readonly added: boolean };

export type Registered =
  | Invalid
  | { readonly kind: 'registered'; readonly account: Signed }
  | { readonly kind: 'taken' }
  /** Nobody can say whether the e-mail is free. */
  | { readonly kind: 'unavailable'; readonly reason: string };

export type SignedIn =
  | Invalid
  | { readonly kind: 'signed-in'; readonly account: Signed }
  | { readonly kind: 'wrong' }
  | { readonly kind: 'too-many'; readonly waitMs: number };

export type CheckoutForm =
  | Nobody
  | { readonly kind: 'form'; readonly requestId: string; readonly cart: Cart; readonly email: string };

export type Committed =
  | Invalid
  | Nobody
  | { readonly kind: 'empty' }
  | {
      /** `repeated`: it was placed before, by the same form. */
      readonly kind: 'placed' | 'repeated';
      readonly id: string;
      /** Null when it cannot be read here yet. */
      readonly order: Order | null;
      /** Null for a repetition, which wrote nothing. */
      readonly durability: Durability | null;
    };

export type OrderOutcome =
  | Nobody
  | { readonly kind: 'done'; readonly order: Order; readonly dataCenter: string }
  | { readonly kind: 'unknown'; readonly dataCenter: string; readonly home: string | null };

export type Orders = Nobody | { readonly kind: 'orders'; readonly orders: readonly Order[] };
export type OneOrder = Nobody | NotFound | { readonly kind: 'found'; readonly order: Order };

export type DeskCustomer = {
  readonly account: string;
  readonly name: string;
  readonly email: string | null;
  readonly since: string;
  /** Null when no deed is known here. */
  readonly home: string | null;
};

export type DeskOrder = { readonly order: Order; readonly customer: DeskCustomer };

export type DeskChange =
  | { readonly kind: 'invalid'; readonly message: string }
  | NotFound
  | ({ readonly kind: 'changed' } & DeskOrder)
  /** Nothing was changed; this is how it is. */
  | ({ readonly kind: 'stale' | 'cancelled-before' | 'nothing-left' } & DeskOrder);

export interface Shop {
  visitor(): Promise<Visitor>;

  /** `query`, `category`. */
  products(fields?: Fields): Promise<readonly Product[]>;
  /** `sku`. */
  product(fields: Fields): Promise<Product | null>;

  cart(): Promise<VisitorsCart>;
  /** `sku`, `quantity` (default 1): adds to the line; 0 removes it. */
  addToCart(fields: Fields): Promise<CartChange>;
  /** `sku`, `quantity`: sets the line; 0 removes it. */
  setInCart(fields: Fields): Promise<CartChange>;

  /** `email`, `password`, `name`. */
  register(fields: Fields): Promise<Registered>;
  /** `email`, `password`. */
  signIn(fields: Fields): Promise<SignedIn>;
  signOut(): Promise<null>;

  checkout(): Promise<CheckoutForm>;
  /** `requestId`, `note`. */
  commitOrder(fields: Fields): Promise<Committed>;
  /** `requestId`. */
  outcome(fields: Fields): Promise<OrderOutcome>;
  orders(): Promise<Orders>;
  /** `id`. */
  order(fields: Fields): Promise<OneOrder>;
  /** What one has ordered, in sum, as of a moment ago; null when that is not known yet. */
  orderHistory(): Promise<Nobody | { readonly kind: 'history'; readonly history: OrderHistory | null }>;

  /** `find`: an e-mail, an order's number or id, an account's id. */
  customer(fields: Fields): Promise<{ readonly customer: DeskCustomer; readonly orders: readonly Order[] } | null>;
  /** `id`. */
  deskOrder(fields: Fields): Promise<DeskOrder | null>;
  /** `id`, `revision`, and `quantities` (or `quantity.<sku>`) with `note`, or `action: cancel`. */
  changeOrder(fields: Fields): Promise<DeskChange>;
  /** `id`. */
  retryPayment(fields: Fields): Promise<DeskOrder | null>;
  /** Payments that wait for a person. */
  setAside(): Promise<readonly SetAside[]>;
}
