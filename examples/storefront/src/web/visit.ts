/** What every page shows besides its subject: who is here, what is in the cart, which data center serves, where the home is. */
import type { FastifyRequest } from 'fastify';
import type { Shop } from '../shop.ts';

export type Visit = {
  readonly path: string;
  readonly here: string;
  /** Where the account of this visit is written; null when there is none yet. */
  readonly home: string | null;
  readonly dataCenters: readonly { readonly name: string; readonly place: string; readonly url: string }[];
  /** Links to the other data centers are shown. */
  readonly demo: boolean;
  /** Null: nobody has signed in. `name` is empty when the account's row has not arrived here yet. */
  readonly customer: { readonly id: string; readonly name: string } | null;
  readonly cartCount: number;
};

export async function visitOf(shop: Shop, request: FastifyRequest): Promise<Visit> {
  const scope = request.lanekeeper;
  const account = scope.account ?? scope.guest;
  const found = account === null ? undefined : await readVisitor(shop, account);
  return {
    ...plainVisit(shop, request),
    customer: scope.account === null ? null : { id: scope.account, name: found?.name ?? '' },
    cartCount: Number(found?.count ?? 0),
  };
}

/** The same without asking the database, for pages that say that something is wrong with it. */
export function plainVisit(shop: Shop, request: FastifyRequest): Visit {
  const scope = scopeOf(request);
  const { lanekeeper, settings } = shop;
  return {
    path: request.url,
    here: lanekeeper.here,
    home: scope?.home ?? null,
    dataCenters: Object.values(lanekeeper.configuration.dataCenters),
    demo: settings.demo,
    customer: scope?.account ? { id: scope.account, name: '' } : null,
    cartCount: 0,
  };
}

/** Null for a request that could not even be routed: then nobody has looked at its session. */
export function scopeOf(request: FastifyRequest): FastifyRequest['lanekeeper'] | null {
  try {
    return request.lanekeeper;
  } catch {
    return null;
  }
}

function readVisitor({ db }: Shop, account: string) {
  return db
    .selectFrom('accounts')
    .where('accounts.id', '=', account)
    .select((eb) => [
      'accounts.name',
      eb
        .selectFrom('carts')
        .innerJoin('cart_lines', 'cart_lines.cart_id', 'carts.id')
        .whereRef('carts.account_id', '=', 'accounts.id')
        .select((sum) => sum.fn.sum<string | null>('cart_lines.quantity').as('count'))
        .as('count'),
    ])
    .executeTakeFirst();
}

/** A data center's city, or its name when the configuration knows none. */
export function placeOf(visit: Pick<Visit, 'dataCenters'>, name: string): string {
  return visit.dataCenters.find((dc) => dc.name === name)?.place ?? name;
}
