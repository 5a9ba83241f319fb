/**
 * Everything a page refers to: style, script, font and the drawn pictures. The name of each carries a hash of its
 * content, so browsers and CDNs may keep it for ever, and it is the same in every data center.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { drawGallery } from '../pictures/gallery.ts';

export type Asset = { readonly type: string; readonly path: string; readonly body: Buffer; readonly title: string };

export type Encoding = 'br' | 'gzip' | 'identity';

export class Assets {
  readonly #byName = new Map<string, Asset>();
  readonly #compressed = new Map<string, Promise<Buffer>>();

  add(name: string, type: string, body: Buffer, title = ''): void {
    const hash = createHash('sha256').update(body).digest('base64url').slice(0, 10);
    const dot = name.lastIndexOf('.');
    this.#byName.set(name, { type, body, title, path: `/assets/${name.slice(0, dot)}.${hash}${name.slice(dot)}` });
  }

  /** The path to write into a page. Throws for a name that is not there: a page must not refer to nothing. */
  path(name: string): string {
    return this.get(name).path;
  }

  get(name: string): Asset {
    const asset = this.#byName.get(name);
    if (asset === undefined) throw new Error(`There is no asset ${name}.`);
    return asset;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** By the last part of a path, with or without a hash. `current`: the hash is today's, so it may be kept for ever. */
  find(file: string): { readonly asset: Asset; readonly name: string; readonly current: boolean } | null {
    const plain = this.#byName.get(file);
    if (plain !== undefined) return { asset: plain, name: file, current: false };
    const match = /^([\w-]+)\.[\w-]{10}(\.\w+)$/.exec(file);
    const name = match === null ? '' : `${match[1]}${match[2]}`;
    const asset = this.#byName.get(name);
    return asset === undefined ? null : { asset, name, current: asset.path === `/assets/${file}` };
  }

  /** Compresses each asset once, when it is first asked for. */
  encoded(name: string, encoding: Encoding): Promise<Buffer> {
    const asset = this.get(name);
    if (encoding === 'identity') return Promise.resolve(asset.body);
    const key = `${encoding} ${name}`;
    let body = this.#compressed.get(key);
    if (body === undefined) {
      body = encoding === 'br' ? brotli(asset.body) : promisify(gzip)(asset.body);
      this.#compressed.set(key, body);
    }
    return body;
  }
}

function brotli(body: Buffer): Promise<Buffer> {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: body.length };
  return promisify(brotliCompress)(body, { params });
}

/** In the order of the cascade; sent as one. */
const styles = ['base', 'front', 'goods', 'cart', 'desk', 'small'] as const;

const require = createRequire(import.meta.url);

/** Reads and draws everything once; some 50 ms. */
export function loadAssets(): Assets {
  const assets = new Assets();
  const file = (name: string): Buffer => readFileSync(new URL(`../../assets/${name}`, import.meta.url));
  const font = '@fontsource-variable/bricolage-grotesque/files/bricolage-grotesque-latin-wght-normal.woff2';
  assets.add('bricolage.woff2', 'font/woff2', readFileSync(require.resolve(font)));
  const style = styles.map((name) => file(`style/${name}.css`).toString('utf8')).join('\n');
  const named = style.replace('bricolage.woff2', assets.path('bricolage.woff2'));
  assets.add('shop.css', 'text/css; charset=utf-8', Buffer.from(named));
  assets.add('shop.js', 'text/javascript; charset=utf-8', file('shop.js'));
  for (const { name, svg, title } of drawGallery()) {
    assets.add(`${name}.svg`, 'image/svg+xml; charset=utf-8', Buffer.from(svg), title);
  }
  return assets;
}

/** The best of what the client takes. A font is compressed already. */
export function encodingFor(acceptEncoding: string | undefined, type: string): Encoding {
  if (type.startsWith('font/') || acceptEncoding === undefined) return 'identity';
  const taken = (name: string) =>
    new RegExp(`(?:^|[\\s,])${name}(?!\\s*;\\s*q=0(?:\\.0+)?\\s*(?:,|$))`).test(acceptEncoding);
  return taken('br') ? 'br' : taken('gzip') ? 'gzip' : 'identity';
}
