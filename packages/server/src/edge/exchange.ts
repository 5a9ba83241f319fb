/**
 * One request and its answer: acts on the decisions of `route.ts`.
 *
 * A request is asked of one destination at a time (an `Attempt`); what comes back is passed on as it comes, as fast as
 * the client reads. Once an answer has begun, nothing is retried; if it breaks off, the client's connection is cut, so
 * that he can tell.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Admitted } from './admit.ts';
import { type Answer, redirect, refuse } from './answers.ts';
import { Attempt, type FailureKind } from './attempt.ts';
import { RequestBody } from './body.ts';
import type { EdgeContext } from './context.ts';
import { countRefusal, observe } from './counters.ts';
import { Hold } from './hold.ts';
import { type Instance, noteAnswer, noteFailure } from './instances.ts';
import { Reply } from './reply.ts';
import { customerAddress, forApplication, forEdge, type Origin } from './request-headers.ts';
import { type ReadResponse, readResponse, readTrailers } from './response-headers.ts';
import {
  afterFailure,
  afterReplay,
  type BodyState,
  bringTo,
  type Decision,
  type Destination,
  type Refusal,
  type RequestFacts,
  route,
} from './route.ts';
import { presentHome } from './successions.ts';
import { openTunnel } from './tunnel.ts';

/** The client's connection, when the request asks to change its protocol. */
export type Upgrade = { readonly protocol: string; readonly socket: Duplex; readonly head: Buffer };

type Phase = 'deciding' | 'asking' | 'answering' | 'over';

export class Exchange {
  readonly #edge: EdgeContext;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #reply: Reply;
  readonly #admitted: Admitted;
  readonly #facts: RequestFacts;
  readonly #origin: Origin;
  readonly #upgrade: Upgrade | null;
  readonly #lingerMs: number;
  readonly #startedMs = performance.now();
  slot = -1;
  #body: RequestBody | null = null;
  /** The client waits for `100 Continue` before he sends his body. */
  #expectsContinue: boolean;
  #phase: Phase = 'deciding';
  #attempt: Attempt | null = null;
  #held: Hold | null = null;
  /** Another edge broke it off. */
  #brokeThere = false;
  #tried: Instance[] = [];
  #cookies: readonly string[] = [];

  constructor(
    edge: EdgeContext,
    request: IncomingMessage,
    response: ServerResponse,
    admitted: Admitted,
    facts: RequestFacts,
    origin: Origin,
    more: { readonly upgrade: Upgrade | null; readonly expectsContinue: boolean; readonly lingerMs: number },
  ) {
    this.#edge = edge;
    this.#request = request;
    this.#response = response;
    this.#reply = new Reply(response, edge.reading, this);
    this.#admitted = admitted;
    this.#facts = facts;
    this.#origin = origin;
    this.#upgrade = more.upgrade;
    this.#expectsContinue = more.expectsContinue;
    this.#lingerMs = more.lingerMs;
    if (admitted.body !== 0) {
      this.#body = new RequestBody(request, admitted.body, edge.budget, edge.sending, () => this.tooSlow());
    }
  }

  begin(): void {
    const { table, counters } = this.#edge;
    const { session } = this.#facts;
    if (session !== null && presentHome(table.successions, session) !== session.home) counters.rerouted += 1;
    this.#act(route(this.#facts, table, Date.now()));
  }

  #act(decision: Decision): void {
    switch (decision.kind) {
      case 'application':
      case 'edge':
        this.#prepare(decision);
        break;
      case 'hold':
        this.#hold(decision);
        break;
      case 'redirect':
        this.#redirect(decision);
        break;
      case 'refuse':
        this.#refuse(decision);
        break;
    }
  }

  #hold({ place, untilMs }: Extract<Decision, { kind: 'hold' }>): void {
    const edge = this.#edge;
    edge.counters.held += 1;
    const nowMs = Date.now();
    this.#held = new Hold(edge.held, untilMs - nowMs, () => {
      this.#held = null;
      this.#act(bringTo(this.#facts, edge.table, place, this.#bodyState(), Date.now()));
    });
  }

  /** Small bodies are read first; nothing else is waited for. */
  #prepare(destination: Destination): void {
    const body = this.#body;
    if (body === null || body.isComplete || !body.isSmall) {
      this.#ask(destination);
      return;
    }
    this.#continue();
    body.readWhole((result) => {
      if (result === 'whole' && this.#phase !== 'over') this.#ask(destination);
    });
  }

  #ask(destination: Destination): void {
    const edge = this.#edge;
    const origin = destination.kind === 'application' ? destination.instance.url : destination.peer.edge;
    const upstream = edge.upstreams.get(origin);
    if (upstream === undefined) throw new Error(`No connections to ${origin}: the routing table and they disagree.`);
    const { method = 'GET' } = this.#request;
    const headers =
      destination.kind === 'application'
        ? forApplication(this.#admitted, this.#facts.sender, this.#origin, edge.here)
        : forEdge(this.#admitted, this.#facts.sender, this.#origin, edge.here, {
            peerHost: upstream.host,
            token: edge.identity.edgeToken(Date.now()),
            hops: destination.hops,
          });
    const body = this.#body;
    const streams = body !== null && !body.isComplete;
    if (streams && typeof this.#admitted.body === 'number') headers.push('content-length', String(this.#admitted.body));
    if (destination.kind === 'application') this.#tried.push(destination.instance);
    const attempt = new Attempt(this, destination, edge);
    this.#attempt = attempt;
    this.#phase = 'asking';
    upstream.send(
      {
        method,
        path: this.#admitted.path,
        headers,
        body: body === null ? null : streams ? body.open() : body.bytes,
        upgrade: this.#upgrade?.protocol ?? null,
        endless: wantsEvents(this.#admitted.endToEnd),
      },
      attempt,
    );
  }

  get isOver(): boolean {
    return this.#phase === 'over';
  }

  get isSafe(): boolean {
    return this.#facts.safe;
  }

  /** The attempt has a connection, and the request is being written. */
  sending(): void {
    if (this.#body !== null) this.#continue();
  }

  /** Returns false to have the answer's body paused. */
  answered(attempt: Attempt, status: number, raw: readonly Buffer[]): void {
    const edge = this.#edge;
    const { destination } = attempt;
    const own = destination.kind === 'application';
    if (own) noteAnswer(destination.instance);
    const read = readResponse(
      raw,
      own ? edge.here : destination.peer.name,
      own ? null : edge.names,
      this.#admitted.wantsTrailers,
    );
    if (read.replay !== null && this.#replays(attempt, status, read, read.replay)) return;
    if (edge.draining || this.#upgrade !== null) read.headers.push('Connection', 'close');
    this.#reply.head(status, read.headers, read.hasLength);
    this.#phase = 'answering';
  }

  /** True when the answer was an instruction to the edge and goes no further. */
  #replays(attempt: Attempt, status: number, read: ReadResponse, asked: string): boolean {
    const edge = this.#edge;
    // 409 by itself, 5xx where the application's own error page took over. With any other status it may have done
    // something; and from another edge it is a leak of the application behind that.
    if ((status !== 409 && status < 500) || attempt.destination.kind !== 'application') {
      edge.counters.replaysIgnored += 1;
      if (edge.counters.replaysIgnored % 1_000 === 1)
        edge.log('warn', 'replay-ignored', { status, from: attempt.destination.kind });
      return false;
    }
    const address = customerAddress(this.#admitted, this.#facts.sender, this.#origin);
    const decide = (state: BodyState): boolean => {
      // Whoever causes too many of them can do the way himself, as with a body that is gone.
      const tooMany = edge.replays.isExceeded(address, Date.now());
      const decision = afterReplay(this.#facts, edge.table, asked, tooMany ? 'gone' : state, Date.now());
      if (decision.kind === 'leave') return false;
      attempt.forget();
      this.#phase = 'deciding';
      this.#cookies = read.cookies;
      this.#tried = [];
      if (decision.kind === 'edge') {
        edge.counters.replayed += 1;
        edge.replays.count(address, Date.now());
      }
      this.#act(decision);
      return true;
    };
    const body = this.#body;
    if (body === null) return decide('none');
    if (body.isComplete || body.state === 'gone') return decide(body.state);
    // It is still arriving; whether it can be repeated depends on how long it is.
    if (this.#facts.sender.kind === 'unproven-edge') return false;
    attempt.abort();
    this.#phase = 'deciding';
    body.readWhole((result) => {
      if (result !== 'broken' && this.#phase !== 'over') decide(result === 'whole' ? 'kept' : 'gone');
    });
    return true;
  }

  /** Returns false when the client cannot take more for now. */
  data(chunk: Buffer): boolean {
    return this.#reply.data(chunk);
  }

  complete(trailers: readonly (Buffer | string)[] | null): void {
    this.#finish();
    this.#reply.end(this.#admitted.wantsTrailers && trailers !== null ? readTrailers(trailers) : []);
  }

  failed(attempt: Attempt, kind: FailureKind): void {
    const edge = this.#edge;
    if (this.#phase === 'answering') {
      edge.counters.truncated += 1;
      this.#reply.cut();
      return;
    }
    if (kind === 'invalid') {
      this.#refuse({ kind: 'refuse', code: 'LK_BAD_REQUEST', home: null });
      return;
    }
    const { destination } = attempt;
    if (destination.kind === 'application') {
      const ejectedMs = noteFailure(destination.instance, kind, Date.now());
      if (ejectedMs > 0) {
        edge.counters.ejected += 1;
        edge.log('warn', 'instance-ejected', { instance: destination.instance.url, failure: kind, forMs: ejectedMs });
      }
    } else if (kind === 'unreachable') {
      edge.peerFailed(destination.peer.name);
    }
    this.#phase = 'deciding';
    const failure = { destination, kind, tried: this.#tried, body: this.#bodyState(), again: this.#brokeThere };
    this.#brokeThere ||= destination.kind === 'edge' && kind === 'broken';
    const decision = afterFailure(this.#facts, edge.table, failure, Date.now());
    if (decision.kind === 'application') edge.counters.retried += 1;
    this.#act(decision);
  }

  /** A body of which a part was read cannot be streamed once more, even if that part is kept. */
  #bodyState(): BodyState {
    const body = this.#body;
    if (body === null) return 'none';
    return body.isComplete || body.isUnread ? body.state : 'gone';
  }

  tunnel(status: number, raw: readonly Buffer[], upstream: Duplex, done: () => void): void {
    const upgrade = this.#upgrade;
    if (upgrade === null || this.#phase === 'over') {
      upstream.destroy();
      done();
      return;
    }
    const peer = this.#attempt?.destination.kind === 'edge' ? this.#attempt.destination.peer.name : null;
    const { headers } = readResponse(raw, peer ?? this.#edge.here, peer === null ? null : this.#edge.names, false);
    this.#phase = 'over';
    this.#response.detachSocket(upgrade.socket as never);
    openTunnel(this.#edge, { ...upgrade, status, headers, upstream, done });
  }

  #continue(): void {
    if (!this.#expectsContinue) return;
    this.#expectsContinue = false;
    this.#reply.sayContinue();
  }

  #redirect({ peer }: Extract<Decision, { kind: 'redirect' }>): void {
    const { identity, here, counters } = this.#edge;
    const { cookie, path } = this.#admitted;
    const handoff = identity.handoff(cookie, this.#cookies, this.#facts.host, peer.name, peer.host, Date.now());
    const answer = redirect(peer.url, path, handoff, here, this.#cookies);
    if (answer === null) {
      this.#refuse({ kind: 'refuse', code: 'LK_HOME_UNREACHABLE', home: peer.name });
      return;
    }
    counters.redirected += 1;
    this.#answer(answer);
  }

  #refuse({ code, home }: Refusal): void {
    const { here, counters } = this.#edge;
    countRefusal(counters, code);
    const { rawHeaders } = this.#request;
    this.#answer(refuse({ code, home, here, requestHeaders: rawHeaders, cookies: this.#cookies }));
  }

  #answer(answer: Answer): void {
    this.#phase = 'answering';
    // Whoever has not been told to continue may or may not send the body now: this connection is of no more use.
    const close = this.#edge.draining || this.#upgrade !== null || this.#expectsContinue;
    this.#finish();
    this.#reply.whole(answer, { close, hasBody: this.#request.method !== 'HEAD' });
  }

  /** Before the answer ends: what is left of the request is thrown away, but not for ever. */
  #finish(): void {
    const body = this.#body;
    if (body === null || body.isComplete || this.#expectsContinue) return;
    body.discard();
    const timer = setTimeout(() => {
      if (!body.isComplete) this.#request.socket.destroy();
    }, this.#lingerMs);
    timer.unref();
  }

  drained(): void {
    this.#attempt?.resume();
  }

  tooSlow(): void {
    this.#edge.counters.clientsTooSlow += 1;
    if (this.#phase !== 'deciding' || this.#reply.isBegun) {
      this.#reply.cut();
      return;
    }
    const { here } = this.#edge;
    const answer = refuse({ code: 'LK_TOO_SLOW', home: null, here, requestHeaders: this.#request.rawHeaders });
    this.#phase = 'answering';
    this.#reply.whole(answer, { close: true, hasBody: true });
  }

  /** The answer is through, or the client's connection is gone. Safe to repeat. */
  closed(): void {
    this.#reply.close();
    this.#body?.close();
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    this.#held?.forget();
    const attempt = this.#attempt;
    if (!this.#reply.isThrough) {
      this.#edge.counters.clientsGone += 1;
      attempt?.abort();
    } else if (attempt !== null) {
      const { served } = this.#edge.counters;
      const by = attempt.destination.kind === 'edge' ? served.edge : served.application;
      observe(by, performance.now() - this.#startedMs);
    }
  }
}

function wantsEvents(pairs: readonly string[]): boolean {
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i] as string;
    if (name.length === 6 && name.toLowerCase() === 'accept')
      return (pairs[i + 1] as string).includes('text/event-stream');
  }
  return false;
}
