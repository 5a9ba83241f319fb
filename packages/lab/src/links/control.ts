/**
 * The links' HTTP interface, on loopback, for whoever has the token: `GET /` tells everything, `POST /routes` adds one,
 * `PATCH /directions/:from/:to` changes delay, jitter, bandwidth or mode. JSON both ways.
 */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { DirectionSettings, LinkMode } from './direction.ts';
import type { Links, RouteRequest } from './links.ts';

const bodyBytesMax = 64 * 1024;

type Answer = { readonly status: number; readonly body: unknown };

export function createControl(links: Links, token: string): Server {
  return createServer((request, response) => {
    answer(links, token, request).then(
      (result) => send(response, result),
      (error: unknown) => send(response, { status: 500, body: { error: String(error) } }),
    );
  });
}

function send(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(body));
}

async function answer(links: Links, token: string, request: IncomingMessage): Promise<Answer> {
  if (!sameText(request.headers.authorization ?? '', `Bearer ${token}`)) {
    return { status: 401, body: { error: 'The token of these links is in lab.json.' } };
  }
  const path = (request.url ?? '/').split('/').filter((part) => part !== '');
  if (request.method === 'GET' && path.length === 0) {
    return { status: 200, body: { directions: links.directions(), routes: links.routes() } };
  }
  if (request.method === 'POST' && path[0] === 'routes' && path.length === 1) {
    const body = await readBody(request);
    const route = parseRoute(body);
    if (!route)
      return { status: 400, body: { error: 'A route is {from, to, target: {host, port}, listen: {host, port}}.' } };
    try {
      return { status: 201, body: await links.addRoute(route) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE' && code !== 'EADDRNOTAVAIL' && code !== 'EACCES') throw error;
      return { status: 409, body: { error: (error as Error).message, code } };
    }
  }
  const [kind, from, to] = path;
  if (request.method === 'PATCH' && kind === 'directions' && from && to && path.length === 3) {
    if (!links.directions().some((direction) => direction.from === from && direction.to === to)) {
      return { status: 404, body: { error: `There is no link from ${from} to ${to}.` } };
    }
    const changes = parseChanges(await readBody(request));
    if (!changes) {
      return {
        status: 400,
        body: { error: 'Known: delayMs, jitterMs, bytesPerSecond (or null), mode (open, cut, refuse).' },
      };
    }
    links.change(from, to, changes);
    return { status: 200, body: { directions: links.directions() } };
  }
  return { status: 404, body: { error: `Nothing here: ${request.method} ${request.url}` } };
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk as string;
    if (text.length > bodyBytesMax) return null;
  }
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function parseRoute(value: unknown): RouteRequest | null {
  const { from, to, target, listen } = (value ?? {}) as Partial<RouteRequest>;
  if (typeof from !== 'string' || typeof to !== 'string' || from === to) return null;
  if (!isAddress(target) || !isAddress(listen)) return null;
  return { from, to, target, listen };
}

function isAddress(value: unknown): value is { host: string; port: number } {
  const { host, port } = (value ?? {}) as { host?: unknown; port?: unknown };
  return typeof host === 'string' && Number.isInteger(port) && (port as number) >= 0 && (port as number) <= 65_535;
}

const modes: readonly LinkMode[] = ['open', 'cut', 'refuse'];

/** Null when anything in it is unknown or out of range. */
export function parseChanges(value: unknown): Partial<DirectionSettings> | null {
  if (typeof value !== 'object' || value === null) return null;
  const { delayMs, jitterMs, bytesPerSecond, mode, ...unknown } = value as Record<string, unknown>;
  if (Object.keys(unknown).length > 0) return null;
  const isMs = (ms: unknown): ms is number => typeof ms === 'number' && ms >= 0 && ms <= 600_000;
  const changes: { -readonly [K in keyof DirectionSettings]?: DirectionSettings[K] } = {};
  if (delayMs !== undefined) {
    if (!isMs(delayMs)) return null;
    changes.delayMs = delayMs;
  }
  if (jitterMs !== undefined) {
    if (!isMs(jitterMs)) return null;
    changes.jitterMs = jitterMs;
  }
  if (bytesPerSecond !== undefined) {
    if (bytesPerSecond !== null && !(typeof bytesPerSecond === 'number' && bytesPerSecond > 0)) return null;
    changes.bytesPerSecond = bytesPerSecond;
  }
  if (mode !== undefined) {
    const known = modes.find((one) => one === mode);
    if (!known) return null;
    changes.mode = known;
  }
  return changes;
}
