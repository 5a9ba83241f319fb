/** The HTTP server: limits, admission, and the way from a connection to an exchange. */
import http, { type IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { ErrorCode } from 'lanekeeper/model';
import { admit, type Refused } from './admit.ts';
import { type Answer, refuse, serialize } from './answers.ts';
import { Bag } from './bag.ts';
import type { EdgeContext } from './context.ts';
import { countRefusal } from './counters.ts';
import { Exchange, type Upgrade } from './exchange.ts';
import { carriesHandoff } from './identity.ts';
import type { ResolvedOptions } from './options.ts';
import { ownPage } from './pages.ts';
import { customerAddress, hostFrom, type Origin } from './request-headers.ts';
import type { RequestFacts } from './route.ts';

/** What is known of a connection, found out once. */
type Connection = {
  readonly origin: Origin;
  inFlight: number;
  readonly exchanges: Bag<Exchange>;
  /** The request that came last, and its answer. */
  latest: { readonly request: IncomingMessage; readonly response: ServerResponse } | null;
  /** Something on it could not be understood: whatever follows is not a request. */
  refused: boolean;
};

/** Requests that one connection may have under way (pipelined). Nobody real has more than one. */
const pipelinedMax = 32;

const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export function createServer(edge: EdgeContext, options: ResolvedOptions): http.Server | https.Server {
  const { limits, tls } = options;
  const settings: http.ServerOptions = {
    insecureHTTPParser: false,
    requireHostHeader: false, // `admit` says it better.
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: 0, // `Pace` watches bodies: a large upload over a slow line is not an attack.
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: Math.min(limits.headersMs, 1_000),
  };
  const server =
    tls === null
      ? http.createServer(settings)
      : https.createServer({ ...settings, ...tls, handshakeTimeout: limits.headersMs });
  // Beyond Node's default of 2,000 headers, further ones would vanish without a word; `headerBytes` bounds them.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.connections;

  const connections = new WeakMap<Duplex, Connection>();
  const connectionOf = (socket: Socket): Connection => {
    let connection = connections.get(socket);
    if (connection === undefined) {
      const exchanges = new Bag<Exchange>();
      connection = { origin: originOf(socket, options), inFlight: 0, exchanges, latest: null, refused: false };
      connections.set(socket, connection);
      // Node tells only the answer whose turn it is that the connection is gone, not those of requests sent ahead.
      socket.on('close', () => {
        for (const exchange of exchanges.items()) exchange.closed();
      });
    }
    return connection;
  };

  const serve = (
    request: IncomingMessage,
    response: ServerResponse,
    upgrade: Upgrade | null,
    expectsContinue: boolean,
  ) => {
    const connection = connectionOf(request.socket);
    // Node goes on parsing what is already there until the refusal is written and the connection closed.
    if (connection.refused) return;
    connection.latest = { request, response };
    connection.inFlight += 1;
    let exchange: Exchange | null = null;
    response.on('close', () => {
      connection.inFlight -= 1;
      if (exchange === null) return;
      connection.exchanges.delete(exchange);
      exchange.closed();
    });
    if (connection.inFlight > pipelinedMax) {
      connection.refused = true;
      request.socket.destroy();
      return;
    }
    const admitted = admit({
      method: request.method as string,
      target: request.url as string,
      httpVersion: request.httpVersion,
      rawHeaders: request.rawHeaders,
    });
    if (admitted.kind === 'refused') {
      connection.refused = true;
      refuseUnread(edge, request, response, admitted);
      return;
    }
    const { origin } = connection;
    const nowMs = Date.now();
    const sender = edge.identity.senderOf(admitted.ours, nowMs);
    const own = ownPage(edge, admitted, sender, origin, options.metricsToken);
    if (own !== null) {
      answer(request, response, own, edge.draining || admitted.body !== 0);
      return;
    }
    const { cookie } = admitted;
    const facts: RequestFacts = {
      sender,
      session:
        // A handoff is for the application here: it knows best, and its cookie is newer than the one that came along.
        cookie === null || sender.kind === 'edge' || carriesHandoff(admitted.path)
          ? null
          : edge.identity.placeOf(cookie, customerAddress(admitted, sender, origin), nowMs),
      safe: safeMethods.has(request.method as string),
      upgrade: upgrade !== null,
      host: sender.kind === 'edge' ? hostFrom(admitted) : admitted.host,
    };
    const more = { upgrade, expectsContinue, lingerMs: limits.lingerMs };
    exchange = new Exchange(edge, request, response, admitted, facts, origin, more);
    connection.exchanges.add(exchange);
    exchange.begin();
  };

  server.on('request', (request, response) => serve(request, response, null, false));
  server.on('checkContinue', (request, response) => serve(request, response, null, true));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    connectionOf(request.socket).refused = true;
    response.writeHead(417, ['Connection', 'close', 'Content-Length', '0']);
    response.end();
  });
  server.on('connect', (_request, socket: Duplex) => {
    end(socket, plainRefusal(edge, 'LK_BAD_REQUEST', 'This is not a proxy for other hosts.'));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    upgradeRequested(edge, request, socket, head, serve);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    edge.counters.parseErrors += 1;
    const connection = connections.get(socket);
    // A refusal is on its way already, and closes the connection.
    if (connection?.refused) return;
    if (connection !== undefined) connection.refused = true;
    if (!socket.writable || error.code === 'ECONNRESET' || !mayAnswer(connection)) socket.destroy();
    else end(socket, plainRefusal(edge, parseErrorCode(error.code)));
  });
  return server;
}

/**
 * After a parse error: nothing more is read from this connection. Were another request of it still being served, a refusal
 * written now would look like its answer: then the connection just ends.
 */
function mayAnswer(connection: Connection | undefined): boolean {
  if (connection === undefined || connection.inFlight === 0 || connection.latest === null) return true;
  const { request, response } = connection.latest;
  return connection.inFlight === 1 && !request.complete && !response.headersSent;
}

function parseErrorCode(code: string | undefined): ErrorCode {
  if (code === 'HPE_HEADER_OVERFLOW') return 'LK_HEADERS_TOO_LARGE';
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'LK_TOO_SLOW' : 'LK_BAD_REQUEST';
}

function plainRefusal(edge: EdgeContext, code: ErrorCode, why?: string): Answer {
  countRefusal(edge.counters, code);
  return refuse({ code, here: edge.here, home: null, requestHeaders: [], ...(why === undefined ? {} : { why }) });
}

/** Writes an answer where Node's server does not any more, and closes. */
function end(socket: Duplex, refusal: Answer): void {
  socket.on('error', () => {});
  socket.end(serialize(refusal, http.STATUS_CODES[refusal.status] ?? ''), () => socket.destroy());
}

/** Where this request ends and the next begins may be read in two ways, so nothing more is read from the connection. */
function refuseUnread(edge: EdgeContext, request: IncomingMessage, response: ServerResponse, refused: Refused): void {
  countRefusal(edge.counters, refused.code);
  const { code, why } = refused;
  answer(
    request,
    response,
    refuse({ code, why, here: edge.here, home: null, requestHeaders: request.rawHeaders }),
    true,
  );
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: Answer,
  close: boolean,
): void {
  response.writeHead(status, close ? [...headers, 'Connection', 'close'] : [...headers]);
  response.end(request.method === 'HEAD' ? undefined : body);
}

function upgradeRequested(
  edge: EdgeContext,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  serve: (
    request: IncomingMessage,
    response: ServerResponse,
    upgrade: Upgrade | null,
    expectsContinue: boolean,
  ) => void,
): void {
  socket.on('error', () => {});
  const raw = {
    method: request.method as string,
    target: '/',
    httpVersion: request.httpVersion,
    rawHeaders: request.rawHeaders,
  };
  const admitted = admit(raw);
  // Node has stopped parsing here. A body would be taken for bytes of the new protocol, and another protocol than
  // WebSocket (`h2c` smuggles requests past a proxy) may be declined: the request is then an ordinary one, and the last.
  if (admitted.kind === 'admitted' && admitted.body !== 0) {
    end(socket, plainRefusal(edge, 'LK_BAD_REQUEST', 'A request that changes the protocol has no body.'));
    return;
  }
  const isWebSocket =
    admitted.kind === 'admitted' && admitted.upgrade?.toLowerCase() === 'websocket' && request.method === 'GET';
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Socket);
  response.on('finish', () => {
    response.detachSocket(socket as Socket);
    (socket as Socket).destroySoon();
  });
  serve(request, response, isWebSocket ? { protocol: 'websocket', socket, head } : null, false);
}

function originOf(socket: Socket, options: ResolvedOptions): Origin {
  const raw = socket.remoteAddress ?? '0.0.0.0';
  const address = raw.startsWith('::ffff:') ? raw.slice(7) : raw;
  const trusted = options.trusted.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
  return { address, encrypted: socket instanceof TLSSocket, trusted };
}
