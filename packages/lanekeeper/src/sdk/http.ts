/**
 * The framework-free core of the Fastify plugin and the Express middleware: what happens to a request before its handler runs, and
 * to its response before the head goes out.
 *
 * 1. A request that may write, of an account homed elsewhere, is answered with `Lanekeeper-Replay` before the handler runs; reads are
 *    served where they arrive, and so are routes that find out themselves for whom they work (`anywhere`). A route whose writes have a
 *    fixed home goes by that instead (`home`).
 * 2. A request that may write is in flight for its account until its response is closed and its transactions have ended; while the
 *    account drains it waits, and then follows the new home. Whoever it is for, it is in flight, and waits while all of this dc drains.
 * 3. Every response says which dc it comes from; every refusal says why, where the home is, and when to try again (R6).
 *    What a request has written is at least as durable as its response says.
 * 4. A refusal in the middle of a handler is repeated elsewhere only if the route says that it may (`replayable`).
 */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { compareEpochs, type DataCenterName, headers, LanekeeperError } from '../model/index.ts';
import { type Session, sessionOf } from '../session/index.ts';
import { admit, enterWhenOpen, judge } from './admission.ts';
import { type Answer, answerTo, ReplayError, retryHeaders } from './answer.ts';
import type { Lanekeeper, RequestScope, Whereabouts } from './api.ts';
import type { Binding } from './binding.ts';
import { consumeHandoff, findHandoff } from './handoff.ts';
import { arrivalWaitMs } from './job.ts';
import { reaches } from './lane.ts';
import { homeOfOwnWrites } from './own-writes.ts';
import { findLanekeeperError } from './refusal.ts';
import { CurrentRequest, wasRoutedHere } from './request.ts';
import { beforeEnd, beforeHead } from './response-head.ts';
import { ownerOf, type Runtime, requireFixedHome, runtimeOf } from './runtime.ts';

export type IncomingRequest = {
  readonly method: string;
  /** Path and query as they arrived, before any rewriting. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** Whether the connection to this process is TLS. */
  readonly encrypted: boolean;
};

export type Visit = {
  readonly scope: RequestScope;
  /** The handler has to run in it: `runBound(visit.binding, …)`. */
  readonly binding: Binding;
  /**
   * An answer to give instead of running the handler, or null. `anywhere`: the handler finds out itself for whom it works, so the
   * session's home does not matter. `home`: what it writes has this fixed home, so that the session's does not matter either.
   */
  arrive(options?: { readonly anywhere?: boolean; readonly home?: string | undefined }): Promise<Answer | null>;
  /** From now on a refusal in mid-handler may be repeated at the home. */
  markReplayable(): void;
  /** The answer to an error that a handler let through; null when the error is not ours. */
  answer(error: unknown): Answer | null;
  /** When the session knows what the request wrote, before the head goes out; null: at once. Takes `reads.bookmarkWaitMs` at most. */
  settled(): Promise<void> | null;
};

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);

export function openVisit(lanekeeper: Lanekeeper, incoming: IncomingRequest, response: ServerResponse): Visit {
  const runtime = runtimeOf(lanekeeper);
  const { here, ring, configuration } = runtime;
  const read = sessionOf(ring, configuration.sessions.cookie, incoming.headers.cookie, Date.now());
  const request = new CurrentRequest(runtime, {
    requestId: requestIdOf(incoming.headers),
    host: incoming.headers.host ?? '',
    encrypted: isEncrypted(incoming),
    hops: hopsOf(incoming.headers),
    safe: safeMethods.has(incoming.method),
    session: read.kind === 'valid' ? read.session : null,
  });
  // Two cookies under our name would get the customer refused for ever: take both away.
  if (read.kind === 'refused' && read.reason === 'duplicate-cookie') request.clearCookies();
  let replayable = false;
  response.setHeader(headers.dataCenter, here);
  response.once('close', () => request.flight.land());
  const settled = () => request.lastWrite.settled(configuration.reads.bookmarkWaitMs);
  beforeEnd(response, settled);
  beforeHead(response, (status) => lastHeaders(runtime, request, replayable, status));
  return {
    scope: request,
    binding: request.binding,
    settled,
    arrive: ({ anywhere = false, home } = {}) => arrive(runtime, request, incoming, anywhere, home),
    markReplayable: () => {
      replayable = true;
    },
    answer: (error) => {
      const refusal = findLanekeeperError(error);
      if (refusal === undefined) return null;
      request.noticeRefusal(refusal);
      return answerTo(refusal, here, request.requestId);
    },
  };
}

async function arrive(
  runtime: Runtime,
  request: CurrentRequest,
  incoming: IncomingRequest,
  anywhere: boolean,
  home: string | undefined,
): Promise<Answer | null> {
  if (home !== undefined) requireFixedHome(runtime.configuration, home);
  const handoff = findHandoff(incoming.target);
  const safe = safeMethods.has(incoming.method);
  if (handoff !== null) {
    const session = await consumeHandoff(runtime, handoff.token).catch(() => null);
    if (session !== null && mayReplace(request, session)) {
      request.takeOver(session);
      // The customer was sent here because it is so; his session may still say otherwise.
      request.refresh(await quietly(runtime.deeds.whereIs(ownerOf(runtime, session.account ?? session.guest ?? ''))));
    }
    const redirect = { location: handoff.clean, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' };
    // 307 repeats method and body; after a GET the browser shall simply get the page.
    return { status: safe ? 303 : 307, headers: redirect, body: '' };
  }
  const account = request.binding.account;
  const single = runtime.configuration.homes === 'single';
  const known = account !== null || single;
  const owner = ownerOf(runtime, account ?? '');
  if (known && (safe || anywhere)) request.refresh(await quietly(runtime.deeds.whereIs(owner)));
  const writesAt = await homeOfOwnWrites(runtime, request, safe);
  if (writesAt !== null) {
    if (!reaches(runtime, writesAt)) return sendTo(runtime, request, writesAt);
    request.lane.goTo(writesAt);
  }
  if (safe) return null;
  if (home !== undefined) return admitWrite(runtime, request, request.fixHome(home), true);
  if (anywhere || !known) {
    // With one home for all it is where anybody is registered and signed in as well.
    return single ? admitWrite(runtime, request, owner) : admitAnybody(runtime, request);
  }
  return admitWrite(runtime, request, owner);
}

/** A read that would not see here what the same session wrote. */
function sendTo({ here }: Runtime, request: CurrentRequest, home: DataCenterName): Answer {
  const { requestId, hint } = request;
  const term = hint?.home === home ? { term: hint.epoch.term } : {};
  const error = new ReplayError(home, { dataCenter: here, requestId, ...term });
  request.noticeRefusal(error);
  return answerTo(error, here, requestId);
}

/** It may write for whomever, or be a registration: no accounts shall be born while all of them move away. */
async function admitAnybody(runtime: Runtime, request: CurrentRequest): Promise<Answer | null> {
  const leave = await enterWhenOpen(runtime.gate, null);
  if (leave === null) {
    const { here } = runtime;
    const { requestId } = request;
    const error = new LanekeeperError('LK_MOVING', undefined, { dataCenter: here, requestId });
    request.noticeRefusal(error);
    return answerTo(error, here, requestId);
  }
  request.flight.add(null, leave);
  return null;
}

/** `fixed`: the owner is a fixed home, of which the session says nothing. */
async function admitWrite(
  runtime: Runtime,
  request: CurrentRequest,
  owner: string,
  fixed = false,
): Promise<Answer | null> {
  const { here, configuration } = runtime;
  const account = fixed ? owner : request.binding.account;
  const details = { dataCenter: here, requestId: request.requestId, ...(account === null ? {} : { account }) };
  const answer = (error: LanekeeperError) => {
    request.noticeRefusal(error);
    return answerTo(error, here, request.requestId);
  };
  const replay = ({ home, term }: { readonly home: string; readonly term: number }) =>
    new ReplayError(home, { ...details, term });
  const hint = fixed ? null : request.hint;
  // An edge that followed the session here knew nothing of the route.
  const hops = runtime.lanes !== null || (fixed && !wasRoutedHere(request.facts, here)) ? 0 : request.facts.hops;
  const follows = (home: DataCenterName) => reaches(runtime, home);
  let admission: Awaited<ReturnType<typeof admit>>;
  try {
    const waitMs = configuration.moves.drainMs + arrivalWaitMs;
    admission = await admit(runtime, { account: owner, hint, hops, waitMs, follows });
  } catch {
    // The database cannot be asked: go by what the session says, and by whoever may have taken over since. If it is this dc's, the
    // handler will find out.
    await runtime.successions.learn();
    const known = hint === null ? null : runtime.successions.present({ ...hint, accepted: true, draining: false });
    const judgement = judge(here, null, known, hops);
    if (judgement.kind !== 'elsewhere') return null;
    if (!follows(judgement.home)) return answer(replay(judgement));
    request.lane.goTo(judgement.home);
    return null;
  }
  if ('where' in admission && !fixed) request.refresh(admission.where);
  if (admission.kind === 'elsewhere') {
    if (!follows(admission.home)) return answer(replay(admission));
    request.lane.goTo(admission.home);
  }
  switch (admission.kind) {
    case 'here':
    case 'unknown':
    case 'elsewhere':
      request.flight.add(owner, admission.leave);
      if (account === null || fixed) return null;
      try {
        if (admission.kind !== 'unknown') await request.holdSession();
      } catch (error) {
        const refusal = findLanekeeperError(error);
        if (refusal !== undefined) return answer(refusal);
      }
      runtime.touch(account, request.lane.dataCenter);
      return null;
    case 'arriving':
      return answer(new LanekeeperError('LK_ARRIVING', undefined, { ...details, home: here }));
    case 'moving':
      return answer(new LanekeeperError('LK_MOVING', undefined, details));
  }
}

/** What has to be added to the response as it stands, right before its head is written. */
function lastHeaders(runtime: Runtime, request: CurrentRequest, replayable: boolean, status: number) {
  request.bookmarkLastWrite();
  const { refusal, cookies, durability } = request;
  const reached: Record<string, string> = {
    ...(durability === null ? {} : { [headers.durability]: durability }),
    ...(request.mayMiss ? { [headers.missing]: 'possible' } : {}),
  };
  if (refusal === null || (status !== 409 && status < 500)) return { cookies, set: reached };
  const home = refusal.details.home;
  const repeat =
    (refusal.code === 'LK_WRONG_HOME' || refusal.code === 'LK_NO_LEASE') &&
    home !== undefined &&
    home !== runtime.here &&
    home !== refusal.details.dataCenter &&
    Object.hasOwn(runtime.configuration.dataCenters, home) &&
    (replayable || (refusal instanceof ReplayError && !request.worked));
  return {
    cookies,
    set: {
      ...reached,
      ...(status === refusal.status ? retryHeaders(refusal) : {}),
      ...(repeat ? { [headers.replay]: replayValue(home, refusal.details.term) } : {}),
    },
  };
}

/** The term lets an edge that knows of later successions follow those. */
function replayValue(home: string, term: number | undefined): string {
  return term === undefined ? `dc=${home}` : `dc=${home}; term=${term}`;
}

/** A link with somebody else's handoff token must not sign a customer out of his own account, nor an older one undo what is known. */
function mayReplace(request: CurrentRequest, session: Session): boolean {
  if (request.account === null) return true;
  return (
    request.account === session.account &&
    (request.hint === null || compareEpochs(session.epoch, request.hint.epoch) >= 0)
  );
}

async function quietly(where: Promise<Whereabouts | null>): Promise<Whereabouts | null> {
  return where.catch(() => null);
}

/** The edge says how the customer came; without one it is the connection that counts. */
function isEncrypted({ headers: incoming, encrypted }: IncomingRequest): boolean {
  const forwarded = incoming['x-forwarded-proto'];
  if (typeof forwarded !== 'string') return encrypted;
  return forwarded.split(',', 1)[0]?.trim().toLowerCase() === 'https';
}

/** Only an edge can say so: it drops what clients send. */
function hopsOf(incoming: IncomingHttpHeaders): number {
  const hops = Number(incoming[headers.hops]);
  return Number.isSafeInteger(hops) && hops > 0 ? hops : 0;
}

/** A client's id is taken over when it cannot do any harm in a log or a header. */
function requestIdOf(incoming: IncomingHttpHeaders): string {
  const given = incoming['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}
