/** What an order's page may say of its payment: only what is known here (R6). */
import type { PaymentState } from '../database/tables.ts';

export type Payment = {
  /**
   * `none`: nothing is or was to be charged here. `pending`: it will be done by itself. `paid`, `returned`: done.
   * `declined`: the payment service said no. `stuck`: somebody has to look into it.
   */
  readonly state: 'none' | 'pending' | 'paid' | 'returned' | 'declined' | 'stuck';
  /** What was charged so far, less what was given back. US cents. */
  readonly charged: number;
  /** What is still to come, below zero: to be given back. Once it was asked for, it may have happened unheard. US cents. */
  readonly outstanding: number;
  /** The payment service has been asked, or was about to be, and has not given its answer yet. */
  readonly asked: boolean;
  /** What hindered it last, for those who look into it. */
  readonly problem: string | null;
  /** The payment service's number of the latest step. */
  readonly receipt: string | null;
  /** ISO 8601. */
  readonly settledAt: string | null;
};

type Step = {
  readonly amount: number;
  readonly state: PaymentState;
  readonly attempts: number;
  readonly problem: string | null;
  readonly receipt: string | null;
  readonly settled_at: Date | null;
};

/** `steps` in their order. */
export function paymentOf(steps: readonly Step[]): Payment {
  const done = steps.filter((step) => step.state === 'done');
  const open = steps.filter((step) => ['due', 'set-aside', 'declined'].includes(step.state));
  const sum = (some: readonly Step[]): number => some.reduce((total, step) => total + step.amount, 0);
  return {
    state: stateOf(done, open),
    charged: sum(done),
    outstanding: sum(open),
    asked: open.some((step) => step.attempts > 0),
    problem: open.find((step) => step.problem !== null)?.problem ?? null,
    receipt: done.at(-1)?.receipt ?? null,
    settledAt: done.at(-1)?.settled_at?.toISOString() ?? null,
  };
}

function stateOf(done: readonly Step[], open: readonly Step[]): Payment['state'] {
  if (open.some((step) => step.state === 'set-aside')) return 'stuck';
  if (open.some((step) => step.state === 'declined')) return 'declined';
  if (open.length > 0) return 'pending';
  if (done.length === 0) return 'none';
  return done.reduce((total, step) => total + step.amount, 0) === 0 ? 'returned' : 'paid';
}
