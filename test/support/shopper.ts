/** A customer with a cookie jar of his own who talks JSON to an edge, follows redirects and tries again when told to. */
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown };

export type Told =
  /** The shop said that it was done. */
  | { readonly kind: 'done'; readonly answer: Answer }
  /** It said no, for good. */
  | { readonly kind: 'refused'; readonly answer: Answer }
  /** Nobody knows: the connection broke, or the shop said so itself. */
  | { readonly kind: 'unknown'; readonly why: string };

export class Shopper {
  readonly #edge: string;
  readonly #cookies = new Map<string, string>();
  /** How often the shop asked for another try. */
  retries = 0;
  readonly servedBy = new Map<string, number>();

  constructor(edge: string, cookies: ReadonlyMap<string, string> = new Map()) {
    this.#edge = edge;
    for (const [name, value] of cookies) this.#cookies.set(name, value);
  }

  get cookies(): ReadonlyMap<string, string> {
    return this.#cookies;
  }

  /** The same person in front of another edge: the cookies go along, as they do below a common domain. */
  at(edge: string): Shopper {
    return new Shopper(edge, this.#cookies);
  }

  async once(method: string, path: string, body?: unknown): Promise<Answer> {
    let url = new URL(path, this.#edge);
    for (let hop = 0; hop < 5; hop++) {
      const response = await fetch(url, {
        method,
        redirect: 'manual',
        headers: {
          accept: 'application/json',
          ...(this.#cookies.size > 0
            ? { cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
            : {}),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(20_000),
      });
      for (const cookie of response.headers.getSetCookie()) this.#keep(cookie);
      const served = response.headers.get('lanekeeper-data-center') ?? '?';
      this.servedBy.set(served, (this.servedBy.get(served) ?? 0) + 1);
      const location = response.headers.get('location');
      if (response.status === 307 && location) {
        await response.arrayBuffer();
        url = new URL(location, url);
        continue;
      }
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text === '' ? null : parse(text) };
    }
    throw new Error(`${method} ${path}: sent round in a circle`);
  }

  /** Tries again, bounded, while the shop says that the same request may succeed later and that nothing was done. */
  async tell(method: string, path: string, body?: unknown, tries = 40): Promise<Told> {
    for (let i = 0; i < tries; i++) {
      let answer: Answer;
      try {
        answer = await this.once(method, path, body);
      } catch (error) {
        return { kind: 'unknown', why: String(error) };
      }
      if (answer.status < 400) return { kind: 'done', answer };
      const code = codeOf(answer);
      if (code === 'LK_OUTCOME_UNKNOWN') return { kind: 'unknown', why: code };
      if (!retryable.has(code ?? ''))
        return {
          kind: answer.status < 500 ? 'refused' : 'unknown',
          answer,
          why: `${answer.status} ${JSON.stringify(answer.body)}`,
        } as Told;
      this.retries++;
      const waitMs = Math.min(2000, Number(answer.headers.get('retry-after') ?? 0) * 1000 || 100);
      await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random())));
    }
    return { kind: 'unknown', why: 'still asked to try again' };
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

const retryable = new Set([
  'LK_WRONG_HOME',
  'LK_UNKNOWN_ACCOUNT',
  'LK_ARRIVING',
  'LK_MOVING',
  'LK_NO_LEASE',
  'LK_HOME_UNREACHABLE',
  'LK_AGENT_UNAVAILABLE',
]);

export function codeOf(answer: Answer): string | undefined {
  return (answer.body as { error?: { code?: string } } | null)?.error?.code;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
