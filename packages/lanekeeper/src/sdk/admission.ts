/**
 * Whether work for an account may start in this dc. Decided from the deed as the database here shows it and from what the session
 * says; both are hints that spare the work a refusal: the fence decides (R1).
 */
import { type AccountId, compareEpochs, type DataCenterName, type Epoch } from '../model/index.ts';
import type { Whereabouts } from './api.ts';
import type { Deeds } from './deeds.ts';
import type { DrainGate, Entry } from './gate.ts';

/** What the session's token says. */
export type Hint = { readonly home: DataCenterName; readonly epoch: Epoch };

export type Judgement =
  | { readonly kind: 'here' }
  /** `term` is that of the deed, or of the token, that says so. */
  | { readonly kind: 'elsewhere'; readonly home: DataCenterName; readonly term: number }
  /** Its home is here, or so says someone who knows more; the data are on the way. */
  | { readonly kind: 'arriving' }
  /** It is here and about to leave. */
  | { readonly kind: 'moving' }
  | { readonly kind: 'unknown' };

export type Admission =
  | { readonly kind: 'here'; readonly where: Whereabouts; readonly leave: () => void }
  /** No deed: perhaps a new account whose row is not committed yet. Counted as in flight all the same. */
  | { readonly kind: 'unknown'; readonly leave: () => void }
  | {
      readonly kind: 'elsewhere';
      readonly home: DataCenterName;
      readonly term: number;
      readonly where: Whereabouts | null;
      /** Of use only when it is done from here all the same (`follows`). */
      readonly leave: () => void;
    }
  | { readonly kind: 'arriving' | 'moving'; readonly where: Whereabouts | null };

export type AdmissionQuestion = {
  readonly account: AccountId;
  readonly hint: Hint | null;
  /** How many edges have passed the request on: another dc may have seen a newer deed than the one that is here. */
  readonly hops: number;
  /**
   * How long to wait for a move to finish, towards us or away. While all of this dc drains there is nowhere else to go: that wait has
   * its own bound and does not count.
   */
  readonly waitMs: number;
  /** It is part of work in flight, for which a drain of everything waits: then it must not wait for that. Default false. */
  readonly within?: boolean;
  /** Whether what is written in another dc can be done from here, over its database; it is in flight here then. Default: no. */
  readonly follows?: (home: DataCenterName) => boolean;
};

export type Admitter = { readonly here: DataCenterName; readonly gate: DrainGate; readonly deeds: Deeds };

export function judge(here: DataCenterName, where: Whereabouts | null, hint: Hint | null, hops: number): Judgement {
  if (where === null) {
    return hint !== null && hint.home !== here ? elsewhere(hint) : { kind: 'unknown' };
  }
  // The token was issued after a move whose deed has not arrived here yet.
  if (hint !== null && compareEpochs(hint.epoch, where.epoch) > 0) {
    return hint.home === here ? { kind: 'arriving' } : elsewhere(hint);
  }
  if (where.home !== here) {
    return wasSentHere(where, hint, hops) ? { kind: 'arriving' } : elsewhere(where);
  }
  if (!where.accepted) return { kind: 'arriving' };
  return where.draining ? { kind: 'moving' } : { kind: 'here' };
}

function elsewhere({ home, epoch }: Hint): Judgement {
  return { kind: 'elsewhere', home, term: epoch.term };
}

/**
 * Whether an application elsewhere sent the request here, having seen a deed that has not arrived yet. An edge that only followed
 * the cookie knew no more than the token says.
 */
function wasSentHere(where: Whereabouts, hint: Hint | null, hops: number): boolean {
  return hops > 1 || (hops === 1 && (hint === null || compareEpochs(where.epoch, hint.epoch) <= 0));
}

/** Waits out moves that are under way, within `waitMs`, and counts the work as in flight if it may start here. */
export async function admit({ here, gate, deeds }: Admitter, question: AdmissionQuestion): Promise<Admission> {
  const { account, hint, within = false } = question;
  let deadlineMs = performance.now() + question.waitMs;
  let hops = question.hops;
  const look = (where: Whereabouts | null) => {
    const stays = within && where?.draining === true && gate.everythingHeldMs > 0;
    return judge(here, stays ? { ...where, draining: false } : where, hint, hops);
  };
  let extended = false;
  for (;;) {
    // Enter first and look then: a drain that starts in between waits for us, and the deed cannot leave unseen.
    const leave = gate.enter(account, { within });
    if (leave === null) {
      const heldMs = gate.everythingHeldMs;
      if (heldMs > 0 && !extended) {
        extended = true;
        deadlineMs += heldMs + openingMarginMs;
      }
      const waitMs = deadlineMs - performance.now();
      if (waitMs <= 0 || !(await inTime(gate.opened(account), waitMs))) {
        return { kind: 'moving', where: await deeds.whereIsNow(account) };
      }
      continue;
    }
    let admitted = false;
    try {
      const where = await deeds.whereIs(account);
      const judgement = look(where);
      if (judgement.kind === 'here' && where !== null) {
        admitted = true;
        return { kind: 'here', where, leave };
      }
      if (judgement.kind === 'unknown') {
        admitted = true;
        return { kind: 'unknown', leave };
      }
      if (judgement.kind === 'elsewhere') {
        admitted = question.follows?.(judgement.home) === true;
        return { ...judgement, where, leave };
      }
    } finally {
      if (!admitted) leave();
    }
    const settled = (where: Whereabouts | null) => look(where).kind !== 'arriving' && look(where).kind !== 'moving';
    const where = await deeds.until(account, settled, Math.max(0, deadlineMs - performance.now()));
    if (settled(where)) continue;
    if (hops > 0 && where !== null && where.home !== here) {
      // Whoever sent it was mistaken, or the deed takes longer than we wait: go by what is here.
      hops = 0;
      continue;
    }
    const { kind } = look(where);
    return { kind: kind === 'moving' ? 'moving' : 'arriving', where };
  }
}

/**
 * For work of nobody in particular, or for an account that is only now to be: waits while everything drains, and counts it as in flight.
 * Null: it still drains, or this account does.
 */
export async function enterWhenOpen(
  gate: DrainGate,
  account: AccountId | null,
  { within = false }: Entry = {},
): Promise<(() => void) | null> {
  const heldMs = gate.everythingHeldMs;
  if (!within && heldMs > 0) await inTime(gate.opened(account), heldMs + openingMarginMs);
  return gate.enter(account, { within });
}

/** A timer of the gate's own ends the drain; this is only so that no wait is without a bound. */
const openingMarginMs = 100;

/** Whether `promise` resolved in time. */
async function inTime(promise: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  try {
    return await Promise.race([promise.then(() => true as const), late]);
  } finally {
    clearTimeout(timer);
  }
}
