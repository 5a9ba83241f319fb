/** What the edge answers by itself: refusals and redirects, as JSON or as a small page (R6). Pure, but for request ids. */
import { randomUUID } from 'node:crypto';
import { type DataCenterName, type ErrorCode, errors, handoffParameter, headers } from 'lanekeeper/model';

export type Answer = {
  readonly status: number;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: string;
};

export type RefusalFacts = {
  readonly code: ErrorCode;
  readonly here: DataCenterName;
  readonly home: DataCenterName | null;
  /** What exactly was wrong, in place of the code's general sentence. */
  readonly why?: string;
  /** Names and values in turn, as they came. */
  readonly requestHeaders: readonly string[];
  /** Cookies that the application wanted to set while it refused: a fresher session, so that the next try goes right. */
  readonly cookies?: readonly string[];
};

const retryAfterMs: Readonly<Partial<Record<ErrorCode, number>>> = {
  LK_WRONG_HOME: 100,
  LK_ARRIVING: 500,
  LK_NO_APPLICATION: 1_000,
};
const retryAfterOthersMs = 2_000;

export function refuse(facts: RefusalFacts): Answer {
  const { code, here, home } = facts;
  const { status, retryable, help } = errors[code];
  const message = facts.why ?? help;
  const waitMs = retryable ? (retryAfterMs[code] ?? retryAfterOthersMs) : null;
  const requestId = requestIdOf(facts.requestHeaders);
  const html = prefersHtml(facts.requestHeaders);
  const body = html
    ? page({ status, code, message, here, home, requestId })
    : JSON.stringify({ error: { code, message, dataCenter: here, home, retryAfterMs: waitMs, requestId } });
  const out = answerHeaders(here, html ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8', body);
  if (waitMs !== null) out.push('Retry-After', String(Math.ceil(waitMs / 1_000)));
  for (const cookie of facts.cookies ?? []) out.push('Set-Cookie', cookie);
  return { status, headers: out, body };
}

/**
 * To the same path at another data center's public address. `origin` comes from the configuration; null when the path
 * would lead anywhere else. 307: same method, same body.
 */
export function redirect(
  origin: string,
  path: string,
  handoff: string | null,
  here: DataCenterName,
  cookies: readonly string[],
): Answer | null {
  // Bytes beyond ASCII are legal in no URL, and Node would write them as they came.
  const ascii = path.replace(/[^\x21-\x7e]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
  const location = origin + (handoff === null ? ascii : withParameter(ascii, handoff));
  // Parsed, then compared: what counts is where a browser would go.
  if (!URL.canParse(location) || new URL(location).origin !== origin) return null;
  const out = answerHeaders(here, null, '');
  out.push('Location', location);
  for (const cookie of cookies) out.push('Set-Cookie', cookie);
  return { status: 307, headers: out, body: '' };
}

function withParameter(path: string, handoff: string): string {
  const [before, query] = path.split(/\?(.*)/s, 2) as [string, string | undefined];
  // One that is there already was for an earlier redirect.
  const rest = (query ?? '').split('&').filter((part) => part !== '' && !part.startsWith(`${handoffParameter}=`));
  return `${before}?${[...rest, `${handoffParameter}=${handoff}`].join('&')}`;
}

export function json(status: number, here: DataCenterName, content: unknown): Answer {
  const body = JSON.stringify(content);
  return { status, headers: answerHeaders(here, 'application/json; charset=utf-8', body), body };
}

export function plain(status: number, here: DataCenterName, body: string): Answer {
  return { status, headers: answerHeaders(here, 'text/plain; version=0.0.4; charset=utf-8', body), body };
}

function answerHeaders(here: DataCenterName, type: string | null, body: string): string[] {
  const out = [
    headers.dataCenter,
    here,
    'Cache-Control',
    'no-store',
    'Content-Length',
    String(Buffer.byteLength(body)),
  ];
  if (type !== null) out.push('Content-Type', type, 'X-Content-Type-Options', 'nosniff');
  return out;
}

/** The answer as bytes, for a connection that is closed after it and on which no HTTP server writes any more. */
export function serialize({ status, headers: pairs, body }: Answer, reason: string): string {
  let head = `HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\n`;
  for (let i = 0; i < pairs.length; i += 2) head += `${pairs[i]}: ${pairs[i + 1]}\r\n`;
  return `${head}\r\n${body}`;
}

function headerValue(pairs: readonly string[], name: string): string {
  for (let i = 0; i < pairs.length; i += 2) {
    if ((pairs[i] as string).toLowerCase() === name) return pairs[i + 1] as string;
  }
  return '';
}

/** Browsers name text/html; programs name JSON, anything, or nothing. */
function prefersHtml(pairs: readonly string[]): boolean {
  const accept = headerValue(pairs, 'accept').toLowerCase();
  const html = accept.indexOf('text/html');
  const asJson = accept.indexOf('application/json');
  return html !== -1 && (asJson === -1 || html < asJson);
}

/** The client's, when it can do no harm in a log; otherwise one to ask about. */
function requestIdOf(pairs: readonly string[]): string {
  const id = headerValue(pairs, 'x-request-id');
  return /^[\w.:-]{1,128}$/.test(id) ? id : randomUUID();
}

const titles: Readonly<Partial<Record<ErrorCode, string>>> = {
  LK_NO_APPLICATION: 'We cannot serve this page right now',
  LK_NO_ANSWER: 'We lost the connection while answering',
  LK_LATE_ANSWER: 'This is taking too long',
  LK_HOME_UNREACHABLE: 'Your data cannot be reached from here right now',
  LK_WRONG_HOME: 'Please try that once more',
  LK_ARRIVING: 'Please try that once more',
};

type PageFacts = {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly here: DataCenterName;
  readonly home: DataCenterName | null;
  readonly requestId: string;
};

function page({ status, code, message, here, home, requestId }: PageFacts): string {
  const title = titles[code] ?? 'This request cannot be served';
  const where =
    home === null || home === here ? `Data center ${here}.` : `Data center ${here}; your data are in ${home}.`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222}small{color:#666}</style>
</head><body><h1>${title}</h1><p>${message}</p><p><small>${where} ${status} ${code} ${requestId}</small></p></body></html>
`;
}
