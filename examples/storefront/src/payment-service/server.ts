/**
 * A payment service, as small as one can be that keeps its word: moves money once for a key, and remembers it. It belongs
 * to neither data center, knows nothing of Lanekeeper, and moves nobody's real money.
 *
 * - `POST /charges`, `POST /refunds`: `Idempotency-Key`, `{order, account, amount, currency}` → 201, repeated 200 with the
 *   same answer; 402 above its limit; 409 when the key was used for something else; 422 for a refund of more than was charged
 * - `GET /movements?order=`: what it has done · `GET /health` · `PUT /open` `{open: false}`: closed until it is told otherwise
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Journal, Movement } from './journal.ts';

export type PaymentServiceOptions = {
  readonly journal: Journal;
  /** The largest charge it takes, in US cents. */
  readonly limit: number;
  /** It answers only so long after the money has moved. */
  readonly answerDelayMs: number;
};

type Answer = { readonly status: number; readonly body: unknown };

const keyPattern = /^[\x21-\x7e]{1,200}$/;
const bodyLimitBytes = 16 * 1024;

export function createPaymentService(options: PaymentServiceOptions): Server {
  const state = { open: true };
  return createServer((request, response) => {
    route(request, options, state).then(
      (answer) => send(response, answer),
      (error: unknown) => {
        console.error(error);
        send(response, refusal(500, 'the mistake is ours'));
      },
    );
  });
}

async function route(
  request: IncomingMessage,
  options: PaymentServiceOptions,
  state: { open: boolean },
): Promise<Answer> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const body = await readJson(request);
  switch (`${request.method} ${pathname}`) {
    case 'GET /health':
      return state.open ? { status: 200, body: { status: 'PASS' } } : { status: 503, body: { status: 'FAIL' } };
    case 'GET /movements': {
      const order = searchParams.get('order');
      const movements = options.journal.all().filter((one) => order === null || one.order === order);
      return { status: 200, body: { movements } };
    }
    case 'PUT /open':
      if (typeof body?.open !== 'boolean') return refusal(400, '`open` is true or false');
      state.open = body.open;
      return { status: 200, body: { open: state.open } };
    case 'POST /charges':
    case 'POST /refunds':
      if (!state.open) return refusal(503, 'we are closed');
      return move(request, body, pathname === '/charges' ? 'charge' : 'refund', options);
    default:
      return refusal(404, 'there is nothing here');
  }
}

async function move(
  request: IncomingMessage,
  body: Readonly<Record<string, unknown>> | null,
  kind: Movement['kind'],
  { journal, limit, answerDelayMs }: PaymentServiceOptions,
): Promise<Answer> {
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string' || !keyPattern.test(key)) return refusal(400, 'an Idempotency-Key is needed');
  const { order, account, amount, currency } = body ?? {};
  if (typeof order !== 'string' || typeof account !== 'string' || currency !== 'USD' || !isAmount(amount)) {
    return refusal(400, '`order`, `account`, `amount` in cents and `currency` USD are needed');
  }
  const before = journal.find(key);
  if (before !== undefined) {
    const same = before.kind === kind && before.order === order && before.account === account;
    if (!same || before.amount !== amount) return refusal(409, `the key ${key} was used for something else`);
    await journal.settled();
    return { status: 200, body: before };
  }
  if (kind === 'charge' && amount > limit) return refusal(402, `we charge at most ${limit} cents at once`);
  if (kind === 'refund' && amount > chargedFor(journal, order)) return refusal(422, 'that is more than was charged');
  const receipt = `R${String(journal.all().length + 1).padStart(6, '0')}`;
  const movement = { key, kind, order, account, amount, receipt, at: new Date().toISOString() };
  await journal.add(movement);
  if (answerDelayMs > 0) await sleep(answerDelayMs);
  return { status: 201, body: movement };
}

function chargedFor(journal: Journal, order: string): number {
  const movements = journal.all().filter((one) => one.order === order);
  return movements.reduce((sum, one) => sum + (one.kind === 'charge' ? one.amount : -one.amount), 0);
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/** Null for anything that is not a JSON object of a reasonable size. */
async function readJson(request: IncomingMessage): Promise<Readonly<Record<string, unknown>> | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    if (bytes <= bodyLimitBytes) chunks.push(chunk as Buffer);
  }
  if (bytes > bodyLimitBytes) return null;
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

function refusal(status: number, message: string): Answer {
  return { status, body: { message } };
}

function send(response: ServerResponse, { status, body }: Answer): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
