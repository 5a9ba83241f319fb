/** Calls of other agents: of other data centers, and of the one that leads here. Connections are kept open. */
import type { DataCenterName } from 'lanekeeper/model';
import { createTokenSource, type KeyRing, mintAgentToken } from 'lanekeeper/session';
import { Pool } from 'undici';

export type PeerCall = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  /** Another caller's token, when his request is only passed on. */
  readonly authorization?: string;
};

export type PeerAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly body: Readonly<Record<string, unknown>> }
  /** Nobody was reached, so nothing was done. */
  | { readonly kind: 'unreachable' }
  /** Sent, and no answer: it may have been done. */
  | { readonly kind: 'lost' };

/** Marks a request that a standby passed on, so that two who believe the other leads do not pass it on for ever. */
export const forwardedHeader = 'lanekeeper-forwarded';

const connectTimeoutMs = 2_000;
const keepAliveMs = 5 * 60_000;
/** Both sides of 16 moves, and the status that is asked for all the time. */
const connectionsPerAgent = 24;
const mostBytes = 4 * 1024 * 1024;

const notSent = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export class Peers {
  readonly #agents: Readonly<Record<DataCenterName, readonly string[]>>;
  readonly #token: (nowMs: number) => string;
  readonly #pools = new Map<string, Pool>();
  readonly #preferred = new Map<DataCenterName, number>();

  constructor(agents: Readonly<Record<DataCenterName, readonly string[]>>, keys: KeyRing) {
    this.#agents = agents;
    this.#token = createTokenSource(keys, mintAgentToken);
  }

  /** Any agent of the dc will do; the next one is asked only while nothing was sent. */
  async call(dataCenter: DataCenterName, call: PeerCall): Promise<PeerAnswer> {
    const urls = this.#agents[dataCenter] ?? [];
    const first = this.#preferred.get(dataCenter) ?? 0;
    const endMs = performance.now() + call.timeoutMs;
    for (let attempt = 0; attempt < urls.length; attempt++) {
      const index = (first + attempt) % urls.length;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) break;
      const answer = await this.callUrl(urls[index] as string, { ...call, timeoutMs: leftMs });
      if (answer.kind !== 'unreachable') {
        this.#preferred.set(dataCenter, index);
        return answer;
      }
    }
    return { kind: 'unreachable' };
  }

  async callUrl(url: string, call: PeerCall, forwarded = false): Promise<PeerAnswer> {
    const { method, path, body, timeoutMs, authorization = `Bearer ${this.#token(Date.now())}` } = call;
    try {
      const response = await this.#pool(url).request({
        method,
        path,
        headers: {
          authorization,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(forwarded ? { [forwardedHeader]: '1' } : {}),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(Math.ceil(timeoutMs)),
      });
      const answer = JSON.parse(await limitedText(response.body)) as unknown;
      if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return { kind: 'lost' };
      return { kind: 'answered', status: response.statusCode, body: answer as Record<string, unknown> };
    } catch (error) {
      return { kind: notSent.has(String((error as { code?: unknown }).code)) ? 'unreachable' : 'lost' };
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
    this.#pools.clear();
  }

  #pool(url: string): Pool {
    const { origin } = new URL(url);
    let pool = this.#pools.get(origin);
    if (pool === undefined) {
      pool = new Pool(origin, {
        connections: connectionsPerAgent,
        connect: { timeout: connectTimeoutMs },
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs,
      });
      this.#pools.set(origin, pool);
    }
    return pool;
  }
}

async function limitedText(body: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > mostBytes) throw new Error('too long an answer');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
