/**
 * What the customers of a drill did, and what they were told: all that the checker believes. Times are milliseconds since
 * the drill began.
 */
export type Outcome =
  /** The shop said that it is done. `durability`: how far it said it is stored; null when it did not say. */
  | { readonly kind: 'acknowledged'; readonly dataCenter: string; readonly durability: 'local' | 'remote' | null }
  /** It said that nothing was done. */
  | { readonly kind: 'refused'; readonly code: string; readonly dataCenter: string }
  /** Nobody can say: the connection broke, no answer came, or the shop said so itself. */
  | { readonly kind: 'unknown'; readonly why: string };

export type Attempt = {
  readonly startMs: number;
  readonly endMs: number;
  /** Whose edge it was sent to. */
  readonly via: string;
  readonly outcome: Outcome;
};

export type Wanted =
  /** An order with a note that nobody else writes, under a request id: sent again until an answer comes. */
  | { readonly kind: 'append'; readonly value: string; readonly requestId: string }
  /** So many more pieces into the cart. Never sent again when its outcome is unknown. */
  | { readonly kind: 'add'; readonly amount: number }
  /** The cart's line of `key` is to have so many pieces; 0 removes it. May be sent again. */
  | { readonly kind: 'set'; readonly key: string; readonly amount: number };

export type Operation = {
  /** Rises in the order in which the customer began; a customer does one thing after the other. */
  readonly number: number;
  readonly account: string;
  readonly wanted: Wanted;
  readonly attempts: readonly Attempt[];
};

export type History = {
  /** By account: where it was written when the load began. */
  readonly homes: Readonly<Record<string, string>>;
  /** Accounts whose owners rest, travel and sign in elsewhere: their pauses are their own, and their home changes. */
  readonly travellers: ReadonlySet<string>;
  readonly operations: readonly Operation[];
};

/** What the customer knows at the end: one yes is a yes; a no counts only when nothing was left open. */
export type Told = 'acknowledged' | 'refused' | 'unknown' | 'never-sent';

export function toldOf({ attempts }: Operation): Told {
  if (attempts.length === 0) return 'never-sent';
  if (attempts.some(({ outcome }) => outcome.kind === 'acknowledged')) return 'acknowledged';
  return attempts.some(({ outcome }) => outcome.kind === 'unknown') ? 'unknown' : 'refused';
}

/** Whether it was acknowledged as stored in another data center as well. */
export function isRemote({ attempts }: Operation): boolean {
  return attempts.some(({ outcome }) => outcome.kind === 'acknowledged' && outcome.durability === 'remote');
}

/** The rows of one account in one data center. */
export type AccountRows = {
  readonly orders: readonly {
    readonly id: string;
    readonly value: string;
    readonly pieces: number;
    /** In the order in which they were placed, as the rows say. */
    readonly placedAt: string;
  }[];
  /** By sku. */
  readonly cart: Readonly<Record<string, number>>;
};

export type Found = {
  /** By data center, then by account. */
  readonly rows: Readonly<Record<string, Readonly<Record<string, AccountRows>>>>;
  /** Orders in the stranded ledger that wait for a person, by value; null when there is no ledger. */
  readonly strandedValues: ReadonlyMap<string, number> | null;
  /** Accounts with anything in the ledger: what they hold is not the whole truth until a person has looked. */
  readonly strandedAccounts: ReadonlySet<string>;
  /** Their ids, with the values. */
  readonly strandedOrders: ReadonlyMap<string, string>;
  /** Of whatever kind. */
  readonly strandedTransactions: number;
};

export type Invariant = 'W1' | 'D1' | 'G1' | 'C1' | 'E1' | 'X1' | 'A1';

export type Violation = { readonly invariant: Invariant; readonly what: string };

/** `not checked` says why, and is never taken for `holds`. */
export type Verdict =
  | { readonly kind: 'holds'; readonly looked: string }
  | { readonly kind: 'violated'; readonly violations: readonly string[] }
  | { readonly kind: 'not checked'; readonly why: string };

export const invariants: Readonly<Record<Invariant, string>> = {
  W1: 'at most one writer per account and epoch',
  D1: 'every acknowledged write is in the final state or in the stranded ledger, exactly once',
  G1: 'a new home holds everything before it writes',
  C1: 'after healing, all data centers are equal',
  E1: 'an epoch never falls, anywhere',
  X1: 'nothing is skipped silently',
  A1: 'accounts homed elsewhere are not affected',
};
