/**
 * The scope of one request: who is signed in, and what changes when somebody signs in or out. Cookies are collected here and
 * written by `http.ts` when the response's head goes out.
 *
 * Invariants. 1: a sign-in never waits longer than `moves.signInWaitMs` for a move; it routes instead. Only where it was routed to, and
 * while all of this dc drains, is there nowhere else to go. 2: the token is a hint: what
 * the deed says replaces it (R1). 3: every sign-in has a new session id.
 */
import {
  type AccountId,
  type DataCenterName,
  type Durability,
  fixedAccount,
  LanekeeperError,
  singleAccount,
} from '../model/index.ts';
import {
  type Bookmark,
  clearCookies,
  cookieFor,
  issueSession,
  mintHandoff,
  type NewSession,
  newSessionId,
  reachesHost,
  type Session,
  serializeCookie,
} from '../session/index.ts';
import { type Admission, admit, enterWhenOpen, type Hint } from './admission.ts';
import { ReplayError } from './answer.ts';
import type { RequestScope, Whereabouts } from './api.ts';
import { type Binding, currentBinding, isWithinAny } from './binding.ts';
import { weaker } from './durability.ts';
import { Flight } from './flight.ts';
import { handoffAddress } from './handoff.ts';
import { arrivalWaitMs, homeNow, runForAccount, successorOf } from './job.ts';
import { Lane, reaches } from './lane.ts';
import { LastWrite, placeInLog } from './last-write.ts';
import { moveHereIfIdle } from './moves.ts';
import type { Holding } from './one-session.ts';
import { ownerOf, type Runtime } from './runtime.ts';

export type RequestFacts = {
  readonly requestId: string;
  /** The Host header. */
  readonly host: string;
  /** Whether the customer's connection is https. */
  readonly encrypted: boolean;
  /** How many edges have passed it on to us. */
  readonly hops: number;
  /** Its method only reads. */
  readonly safe: boolean;
  readonly session: Session | null;
};

/** A session that is used is renewed once a day, so that it ends `sessions.maxAgeMs` after the last visit. */
const renewAfterMs = 24 * 60 * 60_000;

export class CurrentRequest implements RequestScope {
  readonly requestId: string;
  readonly binding: Binding;
  readonly flight = new Flight();
  readonly lane: Lane;
  readonly lastWrite: LastWrite;
  readonly facts: RequestFacts;
  readonly #runtime: Runtime;
  #session: NewSession | null;
  #cookies: readonly string[] = [];
  #refusal: LanekeeperError | null = null;
  #durability: Durability | null = null;
  #worked = false;
  #mayMiss = false;
  #fixed: AccountId | null = null;

  constructor(runtime: Runtime, facts: RequestFacts) {
    this.#runtime = runtime;
    this.facts = facts;
    this.#session = facts.session;
    this.requestId = facts.requestId;
    this.lane = new Lane(runtime);
    this.lastWrite = new LastWrite((dataCenter) => placeInLog(runtime, dataCenter));
    const request = this;
    this.binding = {
      get account() {
        return request.#session?.account ?? request.#session?.guest ?? null;
      },
      get owner() {
        if (request.#fixed !== null) return request.#fixed;
        if (this.account === null) return runtime.configuration.homes === 'single' ? singleAccount : null;
        return ownerOf(runtime, this.account);
      },
      dataCenter: runtime.here,
      get lane() {
        return request.lane.dataCenter;
      },
      requestId: facts.requestId,
      scope: this,
      outer: null,
      covers: (account) => this.flight.covers(account),
      isCounted: () => this.flight.isCounted,
      hold: () => this.flight.hold(),
      homeNow: (account, at) => homeNow(runtime, account, at),
      successorOf: (account, at) => successorOf(runtime, account, at),
      noticeRefusal: (error) => this.noticeRefusal(error),
      wentTo: (dataCenter, refusal) => {
        this.lane.followed(dataCenter, refusal, this.binding.owner);
        if (this.#refusal === refusal) this.#refusal = null;
      },
      noticeDurability: (durability, dataCenter) => {
        this.#durability = weaker(this.#durability, durability);
        // Reads that keep a diary here need nobody to wait for it.
        if (!facts.safe || dataCenter !== runtime.here) this.lastWrite.note(durability, dataCenter);
      },
    };
  }

  get dataCenter(): DataCenterName {
    return this.#runtime.here;
  }
  get account(): AccountId | null {
    return this.#session?.account ?? null;
  }
  get guest(): AccountId | null {
    return this.#session?.guest ?? null;
  }
  get durability(): Durability | null {
    return this.#durability;
  }
  get home(): DataCenterName | null {
    return this.#session?.home ?? null;
  }

  /** What the session's token says, for admission. */
  get hint(): Hint | null {
    return this.#session;
  }
  get bookmark(): Bookmark | null {
    return this.#session?.bookmark ?? null;
  }
  get mayMiss(): boolean {
    return this.#mayMiss;
  }
  /** Set-Cookie values for the response. */
  get cookies(): readonly string[] {
    return this.#cookies;
  }
  /** The last refusal that was met. */
  get refusal(): LanekeeperError | null {
    return this.#refusal;
  }
  /** True once work for some account was done to its end: from then on, repeating the request elsewhere would do it twice. */
  get worked(): boolean {
    return this.#worked;
  }

  /** The route is written in this fixed home, whoever it is for; says whose deed that is. */
  fixHome(name: string): AccountId {
    this.#fixed = fixedAccount(name);
    return this.#fixed;
  }

  noticeRefusal(error: LanekeeperError): void {
    this.#refusal = error;
  }

  async signIn(account: AccountId, options: { readonly registered?: true } = {}): Promise<void> {
    const owner = ownerOf(this.#runtime, account);
    const admission = await this.#admitSignIn(account, owner, options.registered === true);
    const { here } = this.#runtime;
    const details = { account, dataCenter: here, requestId: this.requestId };
    const follows = admission.kind === 'elsewhere' && reaches(this.#runtime, admission.home);
    if (admission.kind === 'elsewhere' && !follows) {
      this.#refuse(new ReplayError(admission.home, { ...details, term: admission.term }));
    }
    if (admission.kind === 'unknown' && options.registered !== true) {
      admission.leave();
      this.#refuse(new LanekeeperError('LK_UNKNOWN_ACCOUNT', undefined, details));
    }
    // Reads are served while an account comes or goes, so signing in is possible; what is written meanwhile, the fence decides.
    if ('leave' in admission) this.flight.add(owner, admission.leave);
    const where = 'where' in admission ? admission.where : await this.#bornElsewhere(owner);
    const place = this.#placeOf(where);
    const id = newSessionId();
    if (reaches(this.#runtime, place.home)) this.lane.goTo(place.home);
    // Before it counts as in use. An account that this very request has created is nobody else's.
    if (admission.kind !== 'unknown') await this.#holdSession(account, id);
    this.#workIn(place.home, account);
    this.#become({ id, account, guest: this.guest, bookmark: this.bookmark, ...place });
  }

  async beGuest(account: AccountId): Promise<void> {
    if (this.account !== null) throw new TypeError('Somebody is signed in: sign out first, then be a guest.');
    const owner = ownerOf(this.#runtime, account);
    const leave = await enterWhenOpen(this.#runtime.gate, owner, { within: isWithinAny(currentBinding()) });
    if (leave !== null) this.flight.add(owner, leave);
    const where = (await this.#bornElsewhere(owner)) ?? (await this.#runtime.deeds.whereIsNow(owner));
    const place = this.#placeOf(where);
    this.#workIn(place.home, account);
    this.#become({ id: newSessionId(), account: null, guest: account, bookmark: this.bookmark, ...place });
  }

  async signOut(): Promise<void> {
    const held = this.#held();
    if (held !== null) await this.#runtime.oneSession?.release(held);
    this.#session = null;
    this.clearCookies();
  }

  addressIn(dataCenter: DataCenterName, path: string): string {
    const { configuration, ring } = this.#runtime;
    const target = configuration.dataCenters[dataCenter];
    if (target === undefined) throw new LanekeeperError('LK_CONFIG', `There is no data center ${dataCenter}.`);
    const { session, host } = this.facts;
    const carried = session !== null && this.#session === session ? session : null;
    const shared =
      reachesHost(configuration.sessions.domain, host) &&
      reachesHost(configuration.sessions.domain, new URL(target.url).host);
    const token = carried === null || shared ? null : mintHandoff(ring, carried, dataCenter, Date.now());
    return handoffAddress(target.url, path, token);
  }

  async forgetGuest(): Promise<void> {
    const session = this.#session;
    if (session === null || session.guest === null) return;
    if (session.account === null) return this.signOut();
    this.#become({ ...session, guest: null });
  }

  async forAccount<Result>(account: AccountId, work: () => Promise<Result>): Promise<Result> {
    const hint = this.binding.account === account ? this.hint : null;
    return runForAccount(
      this.#runtime,
      account,
      async () => {
        try {
          return await work();
        } finally {
          this.#worked = true;
        }
      },
      hint,
    );
  }

  /** Said once: from now on the session remembers nothing of it. */
  mayMissSomething(): void {
    const session = this.#session;
    if (session === null) return;
    this.#mayMiss = true;
    this.#become({ ...session, bookmark: null });
  }

  /** The response is about to go out: the session remembers what was written last. */
  bookmarkLastWrite(): void {
    const session = this.#session;
    if (session === null) return;
    const before = session.bookmark ?? null;
    const bookmark = this.lastWrite.after(before);
    if (bookmark !== before) this.#become({ ...session, bookmark });
  }

  clearCookies(): void {
    const { configuration } = this.#runtime;
    this.#cookies = clearCookies(configuration.sessions, this.facts.host, this.facts.encrypted);
  }

  /** Takes over a session that another dc handed to us. */
  takeOver(session: Session): void {
    const { id, account, guest, home, epoch, bookmark } = session;
    this.#become({ id, account, guest, home, epoch, bookmark });
  }

  /**
   * With one session at a time: makes sure that it is this one.
   * @throws {LanekeeperError} `LK_SIGNED_IN`, and what the fence refuses
   */
  async holdSession(): Promise<void> {
    const held = this.#held();
    if (held !== null) await this.#runtime.oneSession?.hold(held);
  }

  /** Issues the session anew when the deed has moved on since, or when it is a day old. */
  refresh(where: Whereabouts | null): void {
    const session = this.#session;
    if (session === null) return;
    const { term, counter } = session.epoch;
    const moved = where !== null && (where.epoch.term - term || where.epoch.counter - counter) > 0;
    const issuedAtMs = this.facts.session?.issuedAtMs ?? Date.now();
    if (!moved && Date.now() - issuedAtMs < renewAfterMs) return;
    this.#become({ ...session, ...(moved ? { home: where.home, epoch: where.epoch } : {}) });
  }

  async #admitSignIn(account: AccountId, owner: AccountId, registered: boolean): Promise<Admission> {
    const runtime = this.#runtime;
    const { moves, homes } = runtime.configuration;
    const startMs = performance.now();
    const leftMs = () => Math.max(0, startMs + moves.signInWaitMs - performance.now());
    const hops = runtime.lanes === null ? this.facts.hops : 0;
    const within = isWithinAny(currentBinding());
    const waitMs = wasRoutedHere(this.facts, runtime.here) ? arrivalWaitMs : moves.signInWaitMs;
    const admission = await admit(runtime, { account: owner, hint: null, hops, waitMs, within });
    if (admission.kind === 'moving' && admission.where !== null && admission.where.home !== runtime.here) {
      const { home, epoch } = admission.where;
      return { kind: 'elsewhere', home, term: epoch.term, where: admission.where, leave: () => {} };
    }
    if (admission.kind !== 'elsewhere') return admission;
    if (registered || homes === 'single') return this.#counted(admission, owner, within);
    const answer = await moveHereIfIdle(runtime, account, leftMs());
    if (answer.home === runtime.here && answer.epoch !== null) {
      const hint = { home: answer.home, epoch: answer.epoch };
      return admit(runtime, { account: owner, hint, hops: 0, waitMs: leftMs(), within });
    }
    const { home, epoch } = answer;
    if (home === null || home === runtime.here) return this.#counted(admission, owner, within);
    const where = epoch === null ? admission.where : { home, epoch, accepted: true, draining: false };
    return this.#counted({ ...admission, where, home, term: epoch?.term ?? admission.term }, owner, within);
  }

  /** It is done from here, so it is in flight here; since now, because moves wait for what is in flight. */
  #counted(admission: Extract<Admission, { kind: 'elsewhere' }>, owner: AccountId, within: boolean): Admission {
    if (!reaches(this.#runtime, admission.home)) return admission;
    return { ...admission, leave: this.#runtime.gate.enter(owner, { within }) ?? admission.leave };
  }

  /** Where the deed says; or here, with the epoch at birth, when it is not committed yet. */
  #placeOf(where: Whereabouts | null): Hint {
    if (where !== null) return { home: where.home, epoch: where.epoch };
    const { here, successions } = this.#runtime;
    return { home: here, epoch: { term: successions.bornTerm, counter: 0 } };
  }

  /** The deed of an account that this request has just created in another database, before it arrives in the one here. */
  async #bornElsewhere(owner: AccountId): Promise<Whereabouts | null> {
    const { lanes, here } = this.#runtime;
    const lane = this.lane.dataCenter;
    return lanes === null || lane === here ? null : lanes.whereIs(lane, owner);
  }

  #workIn(home: DataCenterName, account: AccountId): void {
    if (reaches(this.#runtime, home)) this.lane.goTo(home);
    this.#runtime.touch(account, this.lane.dataCenter);
  }

  async #holdSession(account: AccountId, session: string): Promise<void> {
    const { oneSession } = this.#runtime;
    if (oneSession === null) return;
    const former = this.#session?.account === account ? this.#session.id : null;
    const owner = ownerOf(this.#runtime, account);
    try {
      await oneSession.hold({ account, owner, session, former, at: this.lane.dataCenter });
    } catch (error) {
      if (error instanceof LanekeeperError) this.noticeRefusal(error);
      throw error;
    }
  }

  #held(): Holding | null {
    const session = this.#session;
    if (session === null || session.account === null) return null;
    const { account, id } = session;
    return { account, owner: ownerOf(this.#runtime, account), session: id, former: null, at: this.lane.dataCenter };
  }

  #refuse(error: LanekeeperError): never {
    this.noticeRefusal(error);
    throw error;
  }

  #become(session: NewSession): void {
    const { configuration, ring } = this.#runtime;
    const { maxAgeMs } = configuration.sessions;
    this.#session = session;
    const token = issueSession(ring, session, { nowMs: Date.now(), maxAgeMs });
    const shape = cookieFor(configuration.sessions, this.facts.host, this.facts.encrypted);
    this.#cookies = [serializeCookie(shape, token, maxAgeMs)];
  }
}

/** Whether an application elsewhere sent it here, rather than an edge that followed its session. */
export function wasRoutedHere({ hops, session }: RequestFacts, here: DataCenterName): boolean {
  return hops > 1 || (hops === 1 && session?.home !== here);
}
