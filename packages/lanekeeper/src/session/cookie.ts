/**
 * The cookie that carries the session (RFC 6265bis). Its name and attributes follow from where the request arrived:
 *
 * - under the parent domain of the configuration: `__Secure-<name>`, shared by all data centers
 * - another host: `__Host-<name>`, for this host only
 * - plain http on a host where a browser would drop a Secure cookie (an IP address): `<name>`
 *
 * Readers accept the three names and refuse more than one cookie under them.
 */
import type { Configuration } from '../config/index.ts';
import type { KeyRing } from './ring.ts';
import { type Session, verifySession } from './session-token.ts';
import { type Refused, refused } from './token.ts';

type CookieSettings = Pick<Configuration['sessions'], 'cookie' | 'domain' | 'maxAgeMs'>;

export type CookieShape = {
  readonly name: string;
  /** Null: for the host that sets it only. */
  readonly domain: string | null;
  readonly secure: boolean;
};

/** In characters. Browsers send at most about 4 KiB per cookie and servers usually take 16 KiB of headers in all. */
export const maxCookieHeaderLength = 16_384;

/** Whether a cookie of the parent domain reaches a host (with or without a port): the domain itself and what is below it. */
export function reachesHost(domain: string | null, host: string): domain is string {
  const name = hostnameOf(host);
  return domain !== null && (name === domain || name.endsWith(`.${domain}`));
}

/**
 * The cookie for a request to `host` (the Host header, with or without port), over https or not.
 * Browsers keep Secure cookies over plain http for `localhost` and names below it, so those count as secure.
 */
export function cookieFor(settings: CookieSettings, host: string, secure: boolean): CookieShape {
  const hostname = hostnameOf(host);
  const keepsSecure = secure || hostname === 'localhost' || hostname.endsWith('.localhost');
  const { domain } = settings;
  const shared = reachesHost(domain, hostname);
  if (!keepsSecure) return { name: settings.cookie, domain: shared ? domain : null, secure: false };
  if (shared) return { name: `__Secure-${settings.cookie}`, domain, secure: true };
  return { name: `__Host-${settings.cookie}`, domain: null, secure: true };
}

function hostnameOf(host: string): string {
  const withoutPort = host.startsWith('[') ? host.slice(0, host.indexOf(']') + 1) : host.split(':', 1)[0]!;
  return withoutPort.toLowerCase().replace(/\.$/, '');
}

/** The Set-Cookie value that stores `token`. */
export function serializeCookie(shape: CookieShape, token: string, maxAgeMs: number): string {
  const domain = shape.domain === null ? '' : `; Domain=${shape.domain}`;
  return `${shape.name}=${token}${domain}; Path=/; Max-Age=${Math.floor(maxAgeMs / 1000)}; HttpOnly${shape.secure ? '; Secure' : ''}; SameSite=Lax`;
}

/**
 * The Set-Cookie values that end the session at this host, whatever name it was stored under: the configuration may have
 * changed since, and a forgotten second cookie would get the customer refused.
 */
export function clearCookies(settings: CookieSettings, host: string, secure: boolean): string[] {
  const present = cookieFor(settings, host, secure);
  const shapes: CookieShape[] = [present];
  if (present.secure) {
    for (const name of [`__Host-${settings.cookie}`, `__Secure-${settings.cookie}`])
      shapes.push({ name, domain: null, secure: true });
  }
  shapes.push({ name: settings.cookie, domain: null, secure: false });
  const seen = new Set<string>();
  return shapes.flatMap((shape) => {
    const text = serializeCookie(shape, '', 0);
    if (seen.has(text)) return [];
    seen.add(text);
    return [text];
  });
}

export type CookieResult = { readonly kind: 'none' } | { readonly kind: 'found'; readonly token: string } | Refused;

/** Finds the session token in a Cookie header. */
export function findSessionCookie(cookie: string, header: string | undefined): CookieResult {
  if (header === undefined || header === '') return { kind: 'none' };
  if (header.length > maxCookieHeaderLength) return refused('cookie-too-long');
  let token: string | null = null;
  let start = 0;
  while (start < header.length) {
    let end = header.indexOf(';', start);
    if (end < 0) end = header.length;
    const equals = header.indexOf('=', start);
    if (equals >= 0 && equals < end && isSessionName(header.slice(start, equals).trim(), cookie)) {
      if (token !== null) return refused('duplicate-cookie');
      token = header.slice(equals + 1, end).trim();
    }
    start = end + 1;
  }
  return token === null ? { kind: 'none' } : { kind: 'found', token };
}

function isSessionName(name: string, cookie: string): boolean {
  if (name.length < cookie.length || !name.endsWith(cookie)) return false;
  const prefix = name.slice(0, name.length - cookie.length);
  return prefix === '' || prefix === '__Secure-' || prefix === '__Host-';
}

export type ReadSessionResult =
  | { readonly kind: 'none' }
  | { readonly kind: 'valid'; readonly session: Session; readonly token: string }
  | Refused;

/** From the Cookie header to the session, in one step. */
export function sessionOf(ring: KeyRing, cookie: string, header: string | undefined, nowMs: number): ReadSessionResult {
  const found = findSessionCookie(cookie, header);
  if (found.kind !== 'found') return found;
  // What `clearCookies` leaves for a moment in some clients.
  if (found.token === '') return { kind: 'none' };
  const result = verifySession(ring, found.token, nowMs);
  return result.kind === 'refused' ? result : { kind: 'valid', session: result.session, token: found.token };
}
