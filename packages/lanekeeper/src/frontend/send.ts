/** One call to one backend, over a connection that is kept. What became of it is a value: only misuse throws. */
import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';

export type Sent =
  | { readonly kind: 'answered'; readonly response: Response; readonly setCookies: readonly string[] }
  | { readonly kind: 'unreachable' | 'broken' | 'late' };

export type Outgoing = {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
  readonly signal: AbortSignal | undefined;
};

export type SendLimits = {
  readonly connectMs: number;
  readonly answerMs: number;
};

/** Answers that have no body, whatever they say. */
const bodiless = new Set([204, 205, 304]);

export class Sender {
  readonly #limits: SendLimits;
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, maxFreeSockets: 64 }),
    'https:': new https.Agent({ keepAlive: true, maxFreeSockets: 64 }),
  };

  constructor(limits: SendLimits) {
    this.#limits = limits;
  }

  /** Resolves when the head of the answer is there. Rejects with the reason of `signal` only. */
  send(origin: string, { method, path, headers, body, signal }: Outgoing): Promise<Sent> {
    const { protocol, hostname, port } = new URL(origin);
    const secure = protocol === 'https:';
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const request = (secure ? https : http).request({
        method,
        path,
        hostname: hostname.replace(/^\[|\]$/g, ''),
        port: port === '' ? (secure ? 443 : 80) : port,
        agent: secure ? this.#agents['https:'] : this.#agents['http:'],
        headers: body === null ? headers : { ...headers, 'content-length': String(body.byteLength) },
        ...(secure ? { servername: hostname } : {}),
      });
      let connected = false;
      let timer = setTimeout(() => end({ kind: 'unreachable' }), this.#limits.connectMs);
      const onAbort = (): void => {
        clearTimeout(timer);
        request.destroy();
        reject((signal as AbortSignal).reason);
      };
      const settle = (sent: Sent): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        resolve(sent);
      };
      const end = (sent: Sent): void => {
        settle(sent);
        request.destroy();
      };
      const onConnected = (): void => {
        connected = true;
        clearTimeout(timer);
        timer = setTimeout(() => end({ kind: 'late' }), this.#limits.answerMs);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      request.on('socket', (socket) => {
        if (!socket.connecting) return onConnected();
        socket.once(secure ? 'secureConnect' : 'connect', onConnected);
      });
      request.on('response', (incoming) => {
        settle(answered(incoming, method));
        signal?.addEventListener('abort', () => incoming.destroy(), { once: true });
        incoming.setTimeout(this.#limits.answerMs, () =>
          incoming.destroy(new Error('The backend stopped in mid-answer.')),
        );
      });
      request.on('error', () => settle({ kind: connected ? 'broken' : 'unreachable' }));
      request.end(body ?? undefined);
    });
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }
}

function answered(incoming: http.IncomingMessage, method: string): Sent {
  const headers = new Headers();
  for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
    headers.append(incoming.rawHeaders[index] as string, incoming.rawHeaders[index + 1] as string);
  }
  const status = incoming.statusCode ?? 502;
  const empty = method === 'HEAD' || bodiless.has(status);
  if (empty) incoming.resume();
  const body = empty ? null : (Readable.toWeb(incoming) as ReadableStream<Uint8Array>);
  const response = new Response(body, { status, statusText: incoming.statusMessage ?? '', headers });
  return { kind: 'answered', response, setCookies: incoming.headers['set-cookie'] ?? [] };
}
