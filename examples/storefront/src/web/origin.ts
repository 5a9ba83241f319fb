/**
 * Forms may only be sent from our own pages. Session cookies are SameSite=Lax, so other sites cannot send them along with
 * a POST; this check also covers sites under the same parent domain, and browsers that do not know SameSite.
 */
export type OriginQuestion = {
  readonly method: string;
  readonly origin: string | undefined;
  readonly secFetchSite: string | undefined;
  readonly host: string | undefined;
  /** Origins of all data centers: the form may have been shown by one and be answered by another. */
  readonly ours: readonly string[];
};

export function isOurOrigin({ method, origin, secFetchSite, host, ours }: OriginQuestion): boolean {
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return true;
  if (origin === undefined) {
    // Not a browser, or an old one, unless it says where the request comes from.
    return secFetchSite === undefined || secFetchSite === 'same-origin' || secFetchSite === 'none';
  }
  if (ours.includes(origin)) return true;
  const parsed = URL.canParse(origin) ? new URL(origin) : null;
  return parsed !== null && host !== undefined && parsed.host === host.toLowerCase();
}
