/** A browser, as far as the shop can tell: keeps cookies, sends forms or JSON, goes to any coast by its host name. */
import http from 'node:http';
import type { Side } from '../../support/sides.ts';
import type { Coast, TwoCoasts } from './two-coasts.ts';

export type Answer = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** The data center that served it. */
  readonly dc: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it.
  readonly json: any;
};

export type Ask = {
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default JSON; `text/html` for what a person sees. */
  readonly accept?: string;
  /** Past the edge, straight to the shop. */
  readonly direct?: boolean;
};

export class Shopper {
  readonly cookies = new Map<string, string>();
  readonly #coasts: TwoCoasts;

  constructor(coasts: TwoCoasts) {
    this.#coasts = coasts;
  }

  get(dc: Side, path: string, ask: Ask = {}): Promise<Answer> {
    return this.ask(dc, 'GET', path, ask);
  }

  post(dc: Side, path: string, json: unknown = {}, ask: Ask = {}): Promise<Answer> {
    return this.ask(dc, 'POST', path, { json, ...ask });
  }

  /** What a person sees. */
  page(dc: Side, path: string): Promise<Answer> {
    return this.ask(dc, 'GET', path, { accept: 'text/html' });
  }

  /** A form that a person sends, from a page of the same coast. */
  send(dc: Side, path: string, form: Readonly<Record<string, string>>): Promise<Answer> {
    return this.ask(dc, 'POST', path, {
      form,
      accept: 'text/html',
      headers: { origin: originOf(this.#coasts.at(dc)) },
    });
  }

  async ask(dc: Side, method: string, path: string, ask: Ask = {}): Promise<Answer> {
    const coast = this.#coasts.at(dc);
    const { hostname, port } = new URL(ask.direct ? coast.app : coast.edge.url);
    const body = bodyOf(ask);
    const type = ask.form ? 'application/x-www-form-urlencoded' : 'application/json';
    const headers: http.OutgoingHttpHeaders = {
      host: new URL(originOf(coast)).host,
      accept: ask.accept ?? 'application/json',
      ...(body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) }),
      ...(this.cookies.size === 0 ? {} : { cookie: [...this.cookies].map(([k, v]) => `${k}=${v}`).join('; ') }),
      ...ask.headers,
    };
    const answer = await exchange({ hostname, port, method, path, headers, agent: false }, body);
    for (const cookie of answer.headers['set-cookie'] ?? []) this.#keep(cookie);
    return answer;
  }

  #keep(cookie: string): void {
    const [pair = '', ...attributes] = cookie.split(';');
    const [name = '', value = ''] = pair.split('=');
    const gone = attributes.some((attribute) => attribute.trim().toLowerCase() === 'max-age=0');
    if (gone || value === '') this.cookies.delete(name);
    else this.cookies.set(name, value);
  }
}

function bodyOf({ form, json }: Ask): string | undefined {
  if (form !== undefined) return new URLSearchParams(form).toString();
  return json === undefined ? undefined : JSON.stringify(json);
}

export function originOf(coast: Coast): string {
  return new URL(coast.configuration.dataCenters[coast.name]!.url).origin;
}

function exchange(options: http.RequestOptions, body: string | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = (response.headers['content-type'] ?? '').startsWith('application/json');
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text,
          dc: response.headers['lanekeeper-data-center'] as string | undefined,
          json: isJson ? JSON.parse(text) : undefined,
        });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}
