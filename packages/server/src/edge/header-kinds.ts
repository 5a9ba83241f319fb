/**
 * What a header is to a proxy. One lookup per header: spellings seen are remembered.
 *
 * A name with `_`, `.` or the like where ours have `-` is another header to us and the same header to some application
 * servers behind us (CGI turns both into `_`), so such twins of a header that matters here are never passed on.
 */
import { headerPrefix } from 'lanekeeper/model';

export type HeaderKind =
  | 'end-to-end'
  | 'host'
  | 'content-length'
  | 'transfer-encoding'
  | 'connection'
  | 'cookie'
  | 'upgrade'
  | 'te'
  /** Only for the next hop, and of no interest. */
  | 'hop-by-hop'
  /** What the proxies before us say about the customer. */
  | 'forwarded'
  | 'ours'
  /** A twin in another spelling of any of the others. */
  | 'twin';

const known: Readonly<Record<string, HeaderKind>> = {
  host: 'host',
  'content-length': 'content-length',
  'transfer-encoding': 'transfer-encoding',
  connection: 'connection',
  cookie: 'cookie',
  upgrade: 'upgrade',
  te: 'te',
  'keep-alive': 'hop-by-hop',
  'proxy-connection': 'hop-by-hop',
  'proxy-authenticate': 'hop-by-hop',
  'proxy-authorization': 'hop-by-hop',
  'proxy-authentication-info': 'hop-by-hop',
  // Not hop-by-hop by the letter, but the edge answers `Expect` itself and does not pass on a request's trailers.
  expect: 'hop-by-hop',
  trailer: 'hop-by-hop',
  'http2-settings': 'hop-by-hop',
  forwarded: 'forwarded',
  'x-real-ip': 'forwarded',
};

const rememberedMax = 1_000;
const remembered = new Map<string, HeaderKind>();

/** By first character: most names can be passed over without a lookup. A twin differs only further on. */
const beginsSomethingKnown: readonly boolean[] = Array.from({ length: 128 }, (_, code) => {
  const letter = String.fromCharCode(code).toLowerCase();
  return [headerPrefix, 'x-forwarded-', ...Object.keys(known)].some((name) => name.startsWith(letter));
});

/** `name` in any spelling. */
export function headerKind(name: string): HeaderKind {
  if (beginsSomethingKnown[name.charCodeAt(0)] !== true) return 'end-to-end';
  let kind = remembered.get(name);
  if (kind === undefined) {
    kind = classify(name.toLowerCase());
    // Clients make up names without end; those of ordinary traffic fit.
    if (remembered.size < rememberedMax && name.length <= 64) remembered.set(name, kind);
  }
  return kind;
}

function classify(lower: string): HeaderKind {
  const plain = lower.replace(/[^a-z0-9]/g, '-');
  const kind = classifyPlain(plain);
  return kind === 'end-to-end' || plain === lower ? kind : 'twin';
}

function classifyPlain(name: string): HeaderKind {
  if (name.startsWith(headerPrefix) || `${name}-` === headerPrefix) return 'ours';
  if (name.startsWith('x-forwarded-')) return 'forwarded';
  return Object.hasOwn(known, name) ? (known[name] as HeaderKind) : 'end-to-end';
}
