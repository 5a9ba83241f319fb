/** The headers of an answer on its way back to whoever asked. Pure. */
import { type DataCenterName, headers } from 'lanekeeper/model';
import { headerKind } from './header-kinds.ts';

export type ReadResponse = {
  /** Names and values in turn, with `Lanekeeper-Data-Center`. At most one framing: Content-Length or none. */
  readonly headers: string[];
  /** Says how long its body is. */
  readonly hasLength: boolean;
  /** The value of `Lanekeeper-Replay`; it never reaches the other side. */
  readonly replay: string | null;
  /** What it would set as cookies. */
  readonly cookies: readonly string[];
};

const none: readonly string[] = [];

/**
 * `raw` has names and values in turn. `servedBy` is the data center that was asked; what the answer itself says counts
 * only when an edge of ours gave it, hence `known`: the names it may say, or null to overrule it.
 */
export function readResponse(
  raw: readonly Buffer[],
  servedBy: DataCenterName,
  known: ReadonlySet<DataCenterName> | null,
  wantsTrailers: boolean,
): ReadResponse {
  const out: string[] = [];
  let replay: string | null = null;
  let cookies: string[] | null = null;
  let connection: string | null = null;
  let chunked = false;
  let hasLength = false;
  let dataCenter = servedBy;
  for (let i = 0; i < raw.length; i += 2) {
    const name = text(raw[i]);
    const value = text(raw[i + 1]);
    switch (headerKind(name)) {
      case 'connection':
        connection = connection === null ? value : `${connection},${value}`;
        break;
      case 'transfer-encoding':
        chunked = true;
        break;
      case 'upgrade':
      case 'te':
      case 'twin':
        break;
      case 'hop-by-hop':
        if (wantsTrailers && name.length === 7 && name.toLowerCase() === 'trailer') out.push(name, value);
        break;
      case 'ours': {
        const lower = name.toLowerCase();
        // Twice is as good as nonsense: `route.ts` refuses what is not one name.
        if (lower === headers.replay) replay = replay === null ? value : `${replay},${value}`;
        else if (lower === headers.dataCenter) {
          if (known?.has(value)) dataCenter = value;
        } else if (!inner.has(lower)) out.push(name, value);
        break;
      }
      case 'content-length':
        hasLength = true;
        out.push(name, value);
        break;
      default:
        if (name.length === 10 && name.toLowerCase() === 'set-cookie') {
          cookies ??= [];
          cookies.push(value);
        }
        out.push(name, value);
    }
  }
  const kept = finish(out, connection, chunked);
  kept.push(headers.dataCenter, dataCenter);
  return { headers: kept, hasLength: hasLength && !chunked, replay, cookies: cookies ?? none };
}

const inner: ReadonlySet<string> = new Set([headers.edgeToken, headers.hops, headers.host, headers.via]);

function finish(out: string[], connection: string | null, chunked: boolean): string[] {
  const named = new Set<string>();
  if (connection !== null && connection !== 'keep-alive' && connection !== 'close') {
    for (const token of connection.toLowerCase().split(',')) named.add(token.trim());
    // Not ours to lose: how long the answer is.
    named.delete('content-length');
  }
  if (chunked) named.add('content-length');
  if (named.size === 0) return out;
  const kept: string[] = [];
  for (let i = 0; i < out.length; i += 2) {
    const name = out[i] as string;
    if (!named.has(name.toLowerCase())) kept.push(name, out[i + 1] as string);
  }
  return kept;
}

/** Trailers that may follow a body: nothing that decides how the message is read, and nothing of ours (RFC 9110, 6.5.1). */
export function readTrailers(raw: readonly (Buffer | string)[]): [string, string][] {
  const trailers: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = text(raw[i]);
    if (headerKind(name) !== 'end-to-end' || notInTrailers.has(name.toLowerCase())) continue;
    trailers.push([name, text(raw[i + 1])]);
  }
  return trailers;
}

const notInTrailers: ReadonlySet<string> = new Set([
  'authorization',
  'cache-control',
  'content-encoding',
  'content-range',
  'content-type',
  'location',
  'set-cookie',
  'www-authenticate',
]);

function text(bytes: Buffer | string | undefined): string {
  return typeof bytes === 'string' ? bytes : (bytes as Buffer).toString('latin1');
}
