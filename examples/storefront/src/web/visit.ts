/** What every page shows besides its subject: who is here, what is in the cart, which data center serves, where the home is. */
import type { FastifyRequest } from 'fastify';
import type { Front } from './front.ts';

export type Visit = {
  readonly path: string;
  readonly here: string;
  /** Where the account of this visit is written; null when there is none yet. */
  readonly home: string | null;
  readonly dataCenters: readonly { readonly name: string; readonly place: string; readonly url: string }[];
  /** Links to the other data centers are shown. */
  readonly demo: boolean;
  /** Null: nobody has signed in. `name` is empty when the account's row has not arrived here yet. */
  readonly customer: { readonly id: string; readonly name: string; readonly email: string } | null;
  readonly cartCount: number;
};

export async function visitOf(front: Front, request: FastifyRequest): Promise<Visit> {
  const { account, name, email, home, cartCount } = await front.shop(request).visitor();
  const customer = account === null ? null : { id: account, name, email };
  return { ...plainVisit(front, request), home, customer, cartCount };
}

/** The same without asking the shop, for pages that say that something is wrong with it. */
export function plainVisit(front: Front, request: FastifyRequest): Visit {
  const session = front.session(request);
  return {
    path: request.url,
    here: front.here,
    home: session?.home ?? null,
    dataCenters: Object.values(front.dataCenters),
    demo: front.settings.demo,
    customer: session?.account ? { id: session.account, name: '', email: '' } : null,
    cartCount: 0,
  };
}

/** A data center's city, or its name when the configuration knows none. */
export function placeOf(visit: Pick<Visit, 'dataCenters'>, name: string): string {
  return visit.dataCenters.find((dc) => dc.name === name)?.place ?? name;
}
