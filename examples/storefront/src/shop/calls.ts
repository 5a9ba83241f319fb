/** How each thing that the shop can do is called over HTTP, and what Lanekeeper is told about it. */
import type { LanekeeperRouteConfig } from 'lanekeeper/fastify';
import type { Shop } from './shop.ts';

export type Call = {
  /** GET: it changes nothing, and its fields are in the query. */
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** The same goes for the page that does it in one process. */
  readonly lanekeeper: LanekeeperRouteConfig;
  /** Asked of the data center that the frontend is in: the same everywhere, and about nobody. */
  readonly here: boolean;
  /** Only for those who have opened the desk. */
  readonly desk: boolean;
};

const read = call('GET');
/** Each is one transaction and nothing else: refused in its middle, it may be done again at the account's home. */
const write = call('POST', { replayable: true });
/** Whose account it is comes out in the work itself, so a guest's home must not decide where it is done. */
const forWhomever = call('POST', { anywhere: true });
/** Whoever sits at the desk may also be signed in as a customer, whose home has nothing to do with it. */
const atDesk = { ...call('POST', { anywhere: true, replayable: true }), desk: true };
const lookAtDesk = { ...read, here: true, desk: true };

const kinds = {
  visitor: read,
  products: { ...read, here: true },
  product: { ...read, here: true },
  cart: read,
  addToCart: write,
  setInCart: write,
  register: forWhomever,
  signIn: forWhomever,
  signOut: forWhomever,
  checkout: read,
  commitOrder: write,
  outcome: read,
  orders: read,
  order: read,
  // A copy that is everywhere.
  orderHistory: { ...read, here: true },
  customer: lookAtDesk,
  deskOrder: lookAtDesk,
  changeOrder: atDesk,
  retryPayment: atDesk,
  setAside: lookAtDesk,
} as const satisfies Record<keyof Shop, Omit<Call, 'path'>>;

/** `commitOrder` is `POST /CommitOrder`. */
export const calls = Object.fromEntries(
  Object.entries(kinds).map(([name, kind]) => [name, { ...kind, path: `/${name[0]?.toUpperCase()}${name.slice(1)}` }]),
) as Readonly<Record<keyof Shop, Call>>;

/** For a page's route that does this. */
export function doing(name: keyof Shop): { readonly config: { readonly lanekeeper: LanekeeperRouteConfig } } {
  return { config: { lanekeeper: calls[name].lanekeeper } };
}

function call(method: Call['method'], lanekeeper: LanekeeperRouteConfig = {}): Omit<Call, 'path'> {
  return { method, lanekeeper, here: false, desk: false };
}
