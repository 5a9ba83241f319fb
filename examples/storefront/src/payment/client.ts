/** Asks the payment service. Every answer, and every silence, becomes one of five kinds. */
import type { Claimed } from './outbox.ts';

export type PaymentAnswer =
  | { readonly kind: 'done'; readonly receipt: string }
  /** It said no, and moved nothing. */
  | { readonly kind: 'declined'; readonly reason: string }
  /** It will say the same however often it is asked. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** It cannot be reached, is busy, or its answer was lost: whether anything was moved is not known. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** It answered something that we do not understand. */
  | { readonly kind: 'strange'; readonly reason: string };

/** Longer, and the answer counts as lost. Less than a claim lasts (`worker.ts`). */
export const answerTimeoutMs = 5_000;

const unavailable = new Set([408, 425, 429, 502, 503, 504]);

export async function pay(
  url: string,
  { id, order, account, amount }: Pick<Claimed, 'id' | 'order' | 'account' | 'amount'>,
  signal: AbortSignal,
): Promise<PaymentAnswer> {
  let status: number;
  let text: string;
  try {
    const response = await fetch(new URL(amount > 0 ? '/charges' : '/refunds', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': id },
      body: JSON.stringify({ order, account, amount: Math.abs(amount), currency: 'USD' }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    return { kind: 'unavailable', reason: causeOf(error) };
  }
  const body = parse(text);
  if (status === 200 || status === 201) {
    const { key, receipt } = body;
    // An answer to something else is no answer.
    if (key === id && body.amount === Math.abs(amount) && typeof receipt === 'string') return { kind: 'done', receipt };
    return { kind: 'strange', reason: `${status} that does not name ${id}` };
  }
  const reason = typeof body.message === 'string' ? body.message.slice(0, 500) : `status ${status}`;
  if (status === 402) return { kind: 'declined', reason };
  if (unavailable.has(status)) return { kind: 'unavailable', reason };
  return { kind: status >= 400 && status < 500 ? 'refused' : 'strange', reason };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function causeOf(error: unknown): string {
  const { message, cause } = error as Error;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : message;
}
