/**
 * HTTP header names, lower case as Node reports them. Whatever a client sends under `lanekeeper-` is dropped by the
 * edge before anything reads it.
 */
export const headers = {
  /** On every response: which data center served it. */
  dataCenter: 'lanekeeper-data-center',
  /** Application → edge: serve this request in another data center, `dc=la; term=2`: as of that term. Sent before any work was done. */
  replay: 'lanekeeper-replay',
  /** On responses to requests that wrote something: `remote` or `local`, the least that one of their transactions reached. */
  durability: 'lanekeeper-durability',
  /** `possible`: what the customer changed last may have been lost with a data center. Said once. */
  missing: 'lanekeeper-missing',
  /** Edge → application: the data center of this edge. */
  via: 'lanekeeper-via',
  /** Edge → edge: a short-lived token of the sending edge, so that the next one may believe `hops` and `forwarded`. */
  edgeToken: 'lanekeeper-edge',
  /** Edge → edge and edge → application: how many edges have passed this request on; a loop ends at `maxHops`. */
  hops: 'lanekeeper-hops',
  /** Edge → edge: the host the customer asked for; `Host` names the edge itself there. */
  host: 'lanekeeper-host',
} as const;

/** Every header of ours starts with this, in any spelling a client may try. */
export const headerPrefix = 'lanekeeper-';

/** A request may be passed on between edges this many times; then it is answered where it is, with 508. */
export const maxHops = 3;

/** Query parameter of a redirect to a dc whose host names share no parent domain with ours: a handoff token. */
export const handoffParameter = 'lanekeeper-handoff';
