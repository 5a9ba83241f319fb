/**
 * Reads a request as one thing or refuses it. Node's parser (llhttp, strict) has already refused what it calls
 * malformed; this refuses what it lets through and two servers could read in two ways: faults.md, "Security". Whatever
 * goes on to an application is built from what is returned here, never from the bytes that came. Pure.
 */
import type { ErrorCode } from 'lanekeeper/model';
import { headerKind } from './header-kinds.ts';

export type RawRequest = {
  readonly method: string;
  /** The request-target as sent. */
  readonly target: string;
  readonly httpVersion: string;
  /** Names and values in turn, as `IncomingMessage.rawHeaders`. */
  readonly rawHeaders: readonly string[];
};

export type Admitted = {
  readonly kind: 'admitted';
  /** In origin-form: `/path?query`. Starts with exactly one slash. */
  readonly path: string;
  /** Lower case, with the port if there was one. */
  readonly host: string;
  /** `chunked`, or its length in bytes; 0 when there is none. */
  readonly body: number | 'chunked';
  /** All `Cookie` lines as one, or null. */
  readonly cookie: string | null;
  /** Names and values in turn, to be passed on as they are. */
  readonly endToEnd: readonly string[];
  /** `Forwarded`, `X-Forwarded-…`: worth what their sender is worth. Names in lower case. */
  readonly forwarded: readonly string[];
  /** `Lanekeeper-…`, likewise. */
  readonly ours: readonly string[];
  /** The protocol it asks to change to, or null. */
  readonly upgrade: string | null;
  readonly wantsTrailers: boolean;
};

export type Refused = { readonly kind: 'refused'; readonly code: ErrorCode; readonly why: string };

const headersMax = 100;
const none: readonly string[] = [];

export function admit(request: RawRequest): Admitted | Refused {
  const { rawHeaders } = request;
  if (rawHeaders.length > headersMax * 2) {
    return { kind: 'refused', code: 'LK_HEADERS_TOO_LARGE', why: `More than ${headersMax} headers.` };
  }
  let host: string | null = null;
  let length: string | null = null;
  let encoding: string | null = null;
  let connection: string | null = null;
  let cookie: string | null = null;
  let upgrade: string | null = null;
  let wantsTrailers = false;
  let endToEnd: string[] = [];
  let forwarded: string[] | null = null;
  let ours: string[] | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    const value = rawHeaders[i + 1] as string;
    switch (headerKind(name)) {
      case 'end-to-end':
        endToEnd.push(name, value);
        break;
      case 'host':
        if (host !== null) return bad('There are two Host headers.');
        host = value.toLowerCase();
        break;
      case 'content-length':
        if (length !== null) return bad('There are two Content-Length headers.');
        length = value;
        break;
      case 'transfer-encoding':
        if (encoding !== null) return bad('There are two Transfer-Encoding headers.');
        encoding = value;
        break;
      case 'connection':
        connection = connection === null ? value : `${connection},${value}`;
        break;
      case 'cookie':
        cookie = cookie === null ? value : `${cookie}; ${value}`;
        break;
      case 'upgrade':
        upgrade = upgrade === null ? value : `${upgrade},${value}`;
        break;
      case 'te':
        wantsTrailers ||= /(?:^|,)\s*trailers\s*(?:,|$)/i.test(value);
        break;
      case 'forwarded':
        forwarded ??= [];
        forwarded.push(name.toLowerCase(), value);
        break;
      case 'ours':
        ours ??= [];
        ours.push(name.toLowerCase(), value);
        break;
      default: // Hop-by-hop headers and twins end here.
    }
  }

  if (host === null || !hostShape.test(host)) return bad('There is no valid Host header.');
  const path = originForm(request, host);
  if (path === null) return bad('This request-target is not accepted.');
  const body = framing(request, length, encoding);
  if (body === null) return bad('Its length cannot be told for certain.');

  let upgrading = false;
  if (connection !== null && connection !== 'keep-alive' && connection !== 'close') {
    const nominated = new Set<string>();
    for (const token of connection.toLowerCase().split(',')) {
      const name = token.trim();
      if (name === 'upgrade') upgrading = true;
      else if (name !== '') nominated.add(name);
    }
    if (nominated.has('host') || nominated.has('content-length') || nominated.has('transfer-encoding')) {
      return bad('Connection names a header that the request cannot do without.');
    }
    // "Intermediaries … MUST … remove any header or trailer field(s) from the message with the same name as the
    // connection-option" (RFC 9110, 7.6.1): before ours are added, so that it cannot name them away.
    if (nominated.size > 0) {
      endToEnd = without(endToEnd, nominated);
      if (forwarded !== null) forwarded = without(forwarded, nominated);
      if (ours !== null) ours = without(ours, nominated);
      if (nominated.has('cookie')) cookie = null;
    }
  }

  return {
    kind: 'admitted',
    path,
    host,
    body,
    cookie,
    endToEnd,
    forwarded: forwarded ?? none,
    ours: ours ?? none,
    upgrade: upgrading ? upgrade : null,
    wantsTrailers,
  };
}

function bad(why: string): Refused {
  return { kind: 'refused', code: 'LK_BAD_REQUEST', why };
}

/** A name or address with a port perhaps: no user, no path, nothing that a URL parser could read otherwise. */
const hostShape = /^(?:[a-z0-9](?:[a-z0-9_.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/;

function originForm({ method, target }: RawRequest, host: string): string | null {
  // CONNECT asks for a tunnel to anywhere; TRACE shows a script cookies that it must not see.
  if (method === 'CONNECT' || method === 'TRACE') return null;
  let path = target;
  if (target.charCodeAt(0) !== slash) {
    // Absolute-form: a proxy's client may send it, and then it outranks Host (RFC 9112, 3.2.2): the two must agree.
    const absolute = /^https?:\/\/([^/?#\\]*)(.*)$/is.exec(target);
    if (absolute === null || absolute[1]?.toLowerCase() !== host) return null;
    const rest = absolute[2] as string;
    path = rest.charCodeAt(0) === slash ? rest : `/${rest}`;
  }
  // `//evil` and `/\evil` become another host where such a path is made into a link or a Location.
  const second = path.charCodeAt(1);
  if (second === slash || second === backslash) return null;
  // A fragment is never sent, and to browsers a backslash is a slash, except in the query.
  if (path.includes('#')) return null;
  const at = path.indexOf('\\');
  if (at !== -1) {
    const query = path.indexOf('?');
    if (query === -1 || at < query) return null;
  }
  return path;
}

const slash = 47;
const backslash = 92;

function framing(request: RawRequest, length: string | null, encoding: string | null): number | 'chunked' | null {
  if (encoding !== null) {
    // HTTP/1.0 has no Transfer-Encoding: who ignores it sees another request in the body (RFC 9112, 6.1).
    if (length !== null || request.httpVersion !== '1.1' || encoding.toLowerCase() !== 'chunked') return null;
    return 'chunked';
  }
  if (length === null) return 0;
  return /^[0-9]{1,15}$/.test(length) ? Number(length) : null;
}

function without(pairs: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, pairs[i + 1] as string);
  }
  return kept;
}
