/**
 * Where a request goes: the edge's decisions, pure. Facts and tables in, decisions out; `exchange.ts` acts on them.
 *
 * 1. A customer whose session names a home is served there, or where successions since have moved it, with all his requests;
 *    without a session, here. The session is a hint: the application may still say `Lanekeeper-Replay`, and the database
 *    decides (R1).
 *    With routing of connections or calls he is served where he arrives; elsewhere only when no application takes requests here.
 * 2. What another edge passed on is served here: it has decided already. Only the application may pass it on again.
 * 3. No request is passed on more than `maxHops` times, nor to the data center it is in.
 * 4. Nothing is sent twice, unless it provably was not sent, or is safe by its method, or the application said that
 *    it had done nothing.
 * 5. A home that cannot be reached from here may be reachable for the customer: he is redirected (307), but never to
 *    the address he came from. Before that, for a moment after it was lost, he waits: it may be back, or have a successor.
 * 6. A refusal says why, and where the home is (R6). A request whose fate is unknown is never called failed.
 * 7. An application that has not heard of a succession yet does not undo it: it is asked again, for a moment.
 */
import { type DataCenterName, type ErrorCode, maxHops, type Routing } from 'lanekeeper/model';
import { chooseInstance, type Instance, isHealthy } from './instances.ts';
import { type Place, presentHome, type Successions } from './successions.ts';

export type Sender =
  | { readonly kind: 'client' }
  /** Proven by its token. `hops` counts the edges that have passed this request on, so at least 1. */
  | { readonly kind: 'edge'; readonly dataCenter: DataCenterName; readonly hops: number }
  /** Says it is an edge but cannot prove it: perhaps a client's lie, perhaps a peer whose key or clock is wrong. */
  | { readonly kind: 'unproven-edge' };

export type RequestFacts = {
  readonly sender: Sender;
  /** The home that the verified session names, and its term; null for anonymous customers and for refused cookies. */
  readonly session: Place | null;
  /** GET, HEAD, OPTIONS: repeating it changes nothing. */
  readonly safe: boolean;
  readonly upgrade: boolean;
  /** Host (and port) that the customer asked for, lower case. */
  readonly host: string;
};

export type Peer = {
  readonly name: DataCenterName;
  /** Origin of its edge, as seen from here. */
  readonly edge: string;
  /** What customers type: origin, and its host and port. */
  readonly url: string;
  readonly host: string;
  /** Whether its edge answers us and believes us. */
  reachable: boolean;
  /** When it last ceased to be reachable. */
  lostAtMs: number;
};

export type RoutingTable = {
  readonly here: DataCenterName;
  readonly routing: Routing;
  readonly instances: readonly Instance[];
  readonly peers: ReadonlyMap<DataCenterName, Peer>;
  /** Requests that one instance is given at a time. */
  readonly maxBusy: number;
  readonly successions: Successions;
  /** How long after its edge was lost requests wait for a home to come back, or for its successor. 0 while this edge closes. */
  holdMs: number;
  /** Rises with every request: the turn among equally busy instances. */
  turn: number;
};

export type Refusal = {
  readonly kind: 'refuse';
  readonly code: ErrorCode;
  readonly home: DataCenterName | null;
};

export type Decision =
  | { readonly kind: 'application'; readonly instance: Instance }
  /** Pass it on to another edge; `hops` includes this time. */
  | { readonly kind: 'edge'; readonly peer: Peer; readonly hops: number; readonly place: Place }
  /** Look again (`bringTo`) at `untilMs`, or when there is news. */
  | { readonly kind: 'hold'; readonly place: Place; readonly untilMs: number }
  | { readonly kind: 'redirect'; readonly peer: Peer }
  | Refusal;

/** Whether the body is still there to be sent again: `none` was sent, it is `kept` whole, or it is `gone`. */
export type BodyState = 'none' | 'kept' | 'gone';

export function route(facts: RequestFacts, table: RoutingTable, nowMs: number): Decision {
  const { sender } = facts;
  if (sender.kind === 'edge' && (sender.dataCenter === table.here || sender.hops > maxHops)) {
    return { kind: 'refuse', code: 'LK_LOOP', home: null }; // Rule 3: for example a peer's address that leads back here.
  }
  if (sender.kind !== 'client') return serveHere(facts, table, nowMs, []); // Rule 2.
  if (table.routing !== 'customer') return serveAnywhere(facts, table, nowMs);
  if (facts.session === null) return serveHere(facts, table, nowMs, []);
  return bringTo(facts, table, facts.session, 'kept', nowMs); // Nothing has been read of the body yet.
}

/** To where `place` is now. Also when a hold is over: there is news, or there is none in time. */
export function bringTo(
  facts: RequestFacts,
  table: RoutingTable,
  place: Place,
  body: BodyState,
  nowMs: number,
): Decision {
  const home = presentHome(table.successions, place);
  const peer = table.peers.get(home);
  // A home this configuration does not know: a data center that is being added or was removed. The application says
  // what it can from here; it knows the account's present home.
  if (home === table.here || peer === undefined) return serveHere(facts, table, nowMs, []);
  return passOn(facts, table, { place, peer }, body, nowMs);
}

/** The home of the session, as far as is known here. */
function homeOf({ session }: RequestFacts, { successions }: RoutingTable): DataCenterName | null {
  return session === null ? null : presentHome(successions, session);
}

function serveHere(facts: RequestFacts, table: RoutingTable, nowMs: number, tried: readonly Instance[]): Decision {
  table.turn = (table.turn + 1) % 0x3fffffff;
  const instance = chooseInstance(table.instances, nowMs, table.turn, tried, table.maxBusy);
  if (instance === null) return { kind: 'refuse', code: 'LK_NO_APPLICATION', home: homeOf(facts, table) };
  return { kind: 'application', instance };
}

/** Any data center will do, the nearest is best. One that is busy is alive: only without a healthy instance it goes elsewhere. */
function serveAnywhere(facts: RequestFacts, table: RoutingTable, nowMs: number): Decision {
  if (table.instances.some((instance) => isHealthy(instance, nowMs))) return serveHere(facts, table, nowMs, []);
  return serveElsewhere(facts, table, 'kept', nowMs) ?? serveHere(facts, table, nowMs, []);
}

/** Null when there is nobody, or when it is not this edge's to decide (rule 2). */
function serveElsewhere(facts: RequestFacts, table: RoutingTable, body: BodyState, nowMs: number): Decision | null {
  if (table.routing === 'customer' || facts.sender.kind !== 'client') return null;
  const peer = [...table.peers.values()].find(({ reachable }) => reachable);
  return peer === undefined
    ? null
    : passOn(facts, table, { place: { home: peer.name, term: null }, peer }, body, nowMs);
}

function passOn(
  facts: RequestFacts,
  table: RoutingTable,
  { place, peer }: { readonly place: Place; readonly peer: Peer },
  body: BodyState,
  nowMs: number,
): Decision {
  const hops = facts.sender.kind === 'edge' ? facts.sender.hops + 1 : 1;
  if (hops > maxHops) return { kind: 'refuse', code: 'LK_LOOP', home: peer.name }; // Rule 3.
  if (!peer.reachable) {
    const untilMs = peer.lostAtMs + table.holdMs;
    if (nowMs < untilMs && body !== 'gone') return { kind: 'hold', place, untilMs };
    return redirect(facts, peer, 'LK_HOME_UNREACHABLE');
  }
  // Too large to be kept and already read: only the customer can send it again.
  if (body === 'gone') return redirect(facts, peer, 'LK_WRONG_HOME');
  return { kind: 'edge', peer, hops, place };
}

/** How long after a succession an application may not have heard of it, and how often it is asked meanwhile. */
const behindMs = { atMost: 5_000, pause: 200 } as const;

const replayPattern = /^dc=([a-z][a-z0-9]{0,14})(?:; ?term=([1-9][0-9]{0,12}))?$/;

/** Rule 5. A WebSocket client does not follow redirects, so it is told instead. */
function redirect(facts: RequestFacts, peer: Peer, otherwise: ErrorCode): Decision {
  if (facts.upgrade || facts.host === peer.host) return { kind: 'refuse', code: otherwise, home: peer.name };
  return { kind: 'redirect', peer };
}

/**
 * The application, before any work of its own, asked for another data center: the value of `Lanekeeper-Replay`.
 * `leave` means: hand its answer (409) to whoever asked.
 */
export function afterReplay(
  facts: RequestFacts,
  table: RoutingTable,
  asked: string,
  body: BodyState,
  nowMs: number,
): Decision | { readonly kind: 'leave' } {
  // Were it passed on again, two edges that do not believe each other could do so for ever.
  if (facts.sender.kind === 'unproven-edge') return { kind: 'leave' };
  const [, named, term] = replayPattern.exec(asked.trim()) ?? [];
  if (named === undefined) return { kind: 'refuse', code: 'LK_HOME_UNREACHABLE', home: null };
  if (named === table.here) return { kind: 'refuse', code: 'LK_LOOP', home: named }; // Rule 3.
  const place = { home: named, term: term === undefined ? null : Number(term) };
  const home = presentHome(table.successions, place);
  if (home === table.here) {
    // Rule 7.
    const untilMs = Math.min(nowMs + behindMs.pause, table.successions.learnedAtMs + behindMs.atMost);
    if (nowMs < untilMs && body !== 'gone') return { kind: 'hold', place, untilMs };
    return { kind: 'refuse', code: 'LK_ARRIVING', home };
  }
  const peer = table.peers.get(home);
  if (peer === undefined) return { kind: 'refuse', code: 'LK_HOME_UNREACHABLE', home };
  return passOn(facts, table, { place, peer }, body, nowMs);
}

export type Destination = Extract<Decision, { kind: 'application' } | { kind: 'edge' }>;

export type Failure = {
  readonly destination: Destination;
  /** `unreachable`: not a byte was sent. `broken` and `late`: it may have been served. */
  readonly kind: 'unreachable' | 'broken' | 'late';
  /** Instances tried so far, this one included. */
  readonly tried: readonly Instance[];
  readonly body: BodyState;
  /** Another edge broke it off before. */
  readonly again: boolean;
};

const brokenPauseMs = 500;

export function afterFailure(facts: RequestFacts, table: RoutingTable, failure: Failure, nowMs: number): Decision {
  const { destination } = failure;
  const home = destination.kind === 'edge' ? destination.peer.name : homeOf(facts, table);
  if (failure.kind === 'late') return { kind: 'refuse', code: 'LK_LATE_ANSWER', home };
  const noAnswer: Refusal = { kind: 'refuse', code: 'LK_NO_ANSWER', home };
  if (failure.kind === 'broken' && !facts.safe) return noAnswer; // Rules 4 and 6.
  if (destination.kind === 'edge') {
    if (!destination.peer.reachable) return passOn(facts, table, destination, failure.body, nowMs);
    // It broke off a read and may be dying: whether it is will show in a moment.
    if (failure.kind === 'broken' && table.holdMs > 0 && failure.body !== 'gone' && !failure.again) {
      return { kind: 'hold', place: destination.place, untilMs: nowMs + brokenPauseMs };
    }
    return redirect(facts, destination.peer, 'LK_HOME_UNREACHABLE');
  }
  if (failure.kind === 'unreachable') {
    if (failure.body === 'gone') return { kind: 'refuse', code: 'LK_NO_APPLICATION', home };
    const next = serveHere(facts, table, nowMs, failure.tried);
    return next.kind === 'refuse' ? (serveElsewhere(facts, table, failure.body, nowMs) ?? next) : next;
  }
  // Only once more: a request that breaks every instance it meets shall not meet them all. The same instance will do
  // when there is no other, because the usual reason is an idle connection that it closed at that moment.
  if (failure.body === 'gone' || failure.tried.length > 1) return noAnswer;
  const other = serveHere(facts, table, nowMs, failure.tried);
  const next = other.kind === 'refuse' ? serveHere(facts, table, nowMs, []) : other;
  return next.kind === 'refuse' ? noAnswer : next;
}
