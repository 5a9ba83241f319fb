/** A client that keeps cookies as a browser would, and never follows a redirect by itself. */
import { request as httpRequest } from 'node:http';

export type Page = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the application under test answers.
  readonly json: any;
};

export class Browser {
  readonly cookies = new Map<string, string>();
  readonly #host: string;

  /** `host` goes into the Host header, so that cookies are for that name wherever the server listens. */
  constructor(host = 'ny.shop.localhost') {
    this.#host = host;
  }

  get(url: string, headers: Record<string, string> = {}): Promise<Page> {
    return this.#request('GET', url, undefined, headers);
  }

  post(url: string, body: Record<string, unknown> = {}, headers: Record<string, string> = {}): Promise<Page> {
    return this.#request('POST', url, JSON.stringify(body), headers);
  }

  get sessionCookie(): string | undefined {
    return [...this.cookies].find(([name]) => name.endsWith('lanekeeper'))?.[1];
  }

  #request(method: string, url: string, body: string | undefined, headers: Record<string, string>): Promise<Page> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    return new Promise((resolve, reject) => {
      const sent = httpRequest(
        url,
        {
          method,
          agent: false,
          headers: {
            host: this.#host,
            ...(cookie === '' ? {} : { cookie }),
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...headers,
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('end', () => {
            this.#keep(response.headers['set-cookie'] ?? []);
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
          });
          response.on('error', reject);
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }

  #keep(setCookies: readonly string[]): void {
    for (const line of setCookies) {
      const [pair = '', ...attributes] = line.split('; ');
      const name = pair.slice(0, pair.indexOf('='));
      if (attributes.includes('Max-Age=0')) this.cookies.delete(name);
      else this.cookies.set(name, pair.slice(name.length + 1));
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
