/**
 * A customer's browser, as far as a shop can tell: keeps cookies, follows a 307, gives up after a while. Says what it knows
 * of a request afterwards, and no more.
 */
import { Agent, request as httpRequest } from 'node:http';
import type { Outcome } from '../checker/index.ts';

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: unknown;
};

export type Reached =
  | { readonly kind: 'answered'; readonly answer: Answer }
  /** `sent`: whether any of the request may have arrived. */
  | { readonly kind: 'broken'; readonly why: string; readonly sent: boolean };

export class Browser {
  readonly #cookies = new Map<string, string>();
  readonly #timeoutMs: number;
  #connections = new Agent({ keepAlive: true, maxSockets: 4 });

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  close(): void {
    this.#connections.destroy();
  }

  /** Another address is behind the name now: what is open to the old one is given up. */
  reconnect(): void {
    this.#connections.destroy();
    this.#connections = new Agent({ keepAlive: true, maxSockets: 4 });
  }

  async send(base: string, method: string, path: string, body?: unknown): Promise<Reached> {
    let url = new URL(path, base);
    for (let hop = 0; hop < 5; hop += 1) {
      const reached = await this.#once(url, method, body);
      if (reached.kind === 'broken') return reached;
      const { status, headers } = reached.answer;
      for (const cookie of listOf(headers['set-cookie'])) this.#keep(cookie);
      const location = headers.location;
      if (status !== 307 || typeof location !== 'string') return reached;
      url = new URL(location, url);
    }
    return { kind: 'broken', why: 'sent round in a circle', sent: false };
  }

  #once(url: URL, method: string, body: unknown): Promise<Reached> {
    const payload = body === undefined ? null : JSON.stringify(body);
    return new Promise((resolve) => {
      let connected = false;
      const sending = httpRequest(url, {
        method,
        agent: this.#connections,
        headers: {
          accept: 'application/json',
          ...(this.#cookies.size === 0
            ? {}
            : { cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ') }),
          ...(payload === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        },
      });
      const timer = setTimeout(
        () => sending.destroy(new Error(`no answer within ${this.#timeoutMs} ms`)),
        this.#timeoutMs,
      );
      const broken = (error: NodeJS.ErrnoException): void => {
        clearTimeout(timer);
        resolve({ kind: 'broken', why: error.code ?? error.message, sent: connected || sending.reusedSocket });
      };
      sending.on('socket', (socket) => {
        if (!socket.connecting) connected = true;
        else socket.once('connect', () => (connected = true));
      });
      sending.on('error', broken);
      sending.on('response', (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', broken);
        response.on('aborted', () => broken(new Error('the answer broke off')));
        response.on('end', () => {
          clearTimeout(timer);
          const text = Buffer.concat(parts).toString('utf8');
          resolve({
            kind: 'answered',
            answer: { status: response.statusCode ?? 0, headers: response.headers, body: parse(text) },
          });
        });
      });
      sending.end(payload ?? undefined);
    });
  }

  #keep(cookie: string): void {
    const [pair = '', ...attributes] = cookie.split(';');
    const at = pair.indexOf('=');
    const name = pair.slice(0, at).trim();
    const gone = attributes.some((attribute) => /^\s*max-age=0\s*$/i.test(attribute));
    if (gone || at === -1) this.#cookies.delete(name);
    else this.#cookies.set(name, pair.slice(at + 1));
  }
}

/** Codes with which the shop says that it does not know itself. */
const uncertain: ReadonlySet<string> = new Set(['LK_OUTCOME_UNKNOWN', 'LK_NO_ANSWER', 'LK_LATE_ANSWER']);

/** What a customer may conclude. A 5xx without a code of Lanekeeper's says nothing about what was done. */
export function outcomeOf(reached: Reached): Outcome {
  if (reached.kind === 'broken') {
    return reached.sent
      ? { kind: 'unknown', why: reached.why }
      : { kind: 'refused', code: reached.why, dataCenter: '' };
  }
  const { status, headers, body } = reached.answer;
  const dataCenter = textOf(headers['lanekeeper-data-center']);
  if (status < 400) {
    const durability = textOf(headers['lanekeeper-durability']) || durabilityIn(body);
    return {
      kind: 'acknowledged',
      dataCenter,
      durability: durability === 'local' || durability === 'remote' ? durability : null,
    };
  }
  const code = codeIn(body);
  if (code !== null && uncertain.has(code)) return { kind: 'unknown', why: code };
  if (status >= 500 && (code === null || !code.startsWith('LK_')))
    return { kind: 'unknown', why: `${status} ${code ?? ''}`.trim() };
  return { kind: 'refused', code: code ?? String(status), dataCenter };
}

function codeIn(body: unknown): string | null {
  const code = (body as { error?: { code?: unknown } } | null)?.error?.code;
  return typeof code === 'string' ? code : null;
}

function durabilityIn(body: unknown): string {
  const said = (body as { durability?: unknown } | null)?.durability;
  return typeof said === 'string' ? said : '';
}

function textOf(value: string | readonly string[] | undefined): string {
  return typeof value === 'string' ? value : (value?.[0] ?? '');
}

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text === '' ? null : text;
  }
}
