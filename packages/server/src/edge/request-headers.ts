/** The headers of a request on its way on: from what was admitted, and nothing else. Pure. */
import { type DataCenterName, headers } from 'lanekeeper/model';
import type { Admitted } from './admit.ts';
import type { Sender } from './route.ts';

/** Who sent the request, as far as the connection tells. */
export type Origin = {
  /** IP address. */
  readonly address: string;
  readonly encrypted: boolean;
  /** The connection comes from a proxy of ours, whose `X-Forwarded-…` may be believed. */
  readonly trusted: boolean;
};

/** For an application instance of this data center. Names and values in turn. */
export function forApplication(admitted: Admitted, sender: Sender, origin: Origin, here: DataCenterName): string[] {
  const host = sender.kind === 'edge' ? hostFrom(admitted) : admitted.host;
  const out = ['host', host, ...admitted.endToEnd];
  common(out, admitted, sender, origin, here);
  // The application has to know that another data center has seen a newer deed than the one that may be here.
  if (sender.kind === 'edge') out.push(headers.hops, String(sender.hops));
  return out;
}

export type PassedOn = {
  /** Host (and port) of the other edge. */
  readonly peerHost: string;
  readonly token: string;
  readonly hops: number;
};

/** For the edge of another data center. */
export function forEdge(
  admitted: Admitted,
  sender: Sender,
  origin: Origin,
  here: DataCenterName,
  { peerHost, token, hops }: PassedOn,
): string[] {
  const customerHost = sender.kind === 'edge' ? hostFrom(admitted) : admitted.host;
  const out = ['host', peerHost, ...admitted.endToEnd];
  common(out, admitted, sender, origin, here);
  // Only the other edge knows whether there are any, and drops them unless somebody asked.
  if (admitted.wantsTrailers) out.push('te', 'trailers');
  out.push(headers.edgeToken, token, headers.hops, String(hops), headers.host, customerHost);
  return out;
}

/** The host that the customer asked for, when another edge passed the request on. */
export function hostFrom(admitted: Admitted): string {
  return find(admitted.ours, headers.host) ?? admitted.host;
}

/** The customer's address: whom to hold to account. Behind a proxy of ours, or another edge, the one that it names. */
export function customerAddress(admitted: Admitted, sender: Sender, origin: Origin): string {
  if (sender.kind !== 'edge' && !origin.trusted) return origin.address;
  let address = origin.address;
  for (let i = 0; i < admitted.forwarded.length; i += 2) {
    if (admitted.forwarded[i] !== 'x-forwarded-for') continue;
    address = (admitted.forwarded[i + 1] as string).split(',').at(-1)?.trim() ?? address;
  }
  return address;
}

export function find(pairs: readonly string[], name: string): string | null {
  let found: string | null = null;
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i] !== name) continue;
    if (found !== null) return null; // Twice is not at all: nobody can say which one was meant.
    found = pairs[i + 1] as string;
  }
  return found;
}

const consumed: ReadonlySet<string> = new Set([headers.edgeToken, headers.hops, headers.host, headers.via]);

function common(out: string[], admitted: Admitted, sender: Sender, origin: Origin, here: DataCenterName): void {
  if (admitted.cookie !== null) out.push('cookie', admitted.cookie);
  const { forwarded, ours } = admitted;
  const believed = sender.kind === 'edge' || origin.trusted;
  let addresses = '';
  let scheme = '';
  if (believed) {
    for (let i = 0; i < forwarded.length; i += 2) {
      const name = forwarded[i] as string;
      const value = forwarded[i + 1] as string;
      if (name === 'x-forwarded-for') addresses += `${value}, `;
      else if (name === 'x-forwarded-proto') scheme = value;
      else out.push(name, value);
    }
  }
  // The other edge has put the customer's address there already; its own is of no interest.
  addresses = sender.kind === 'edge' && addresses !== '' ? addresses.slice(0, -2) : addresses + origin.address;
  if (scheme !== 'http' && scheme !== 'https') scheme = origin.encrypted ? 'https' : 'http';
  out.push('x-forwarded-for', addresses, 'x-forwarded-proto', scheme, headers.via, here);
  if (sender.kind !== 'edge') return;
  for (let i = 0; i < ours.length; i += 2) {
    const name = ours[i] as string;
    if (!consumed.has(name)) out.push(name, ours[i + 1] as string);
  }
}
