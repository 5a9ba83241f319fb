/**
 * The lease store as a model: the rules of the port and nothing else, with time as an argument. The simulation runs on
 * it, and the conformance suite holds it to the same rules as the real adapters.
 */
import {
  isDemoted,
  judgeStanding,
  type LeaseClaim,
  type LeaseCredential,
  type LeaseRecord,
  type LeaseResult,
  type LeaseStore,
  type LeaseView,
  type Readmission,
  type Succession,
  type SuccessionRefusal,
  type SuccessionRequest,
  type SuccessionResult,
} from 'lanekeeper/model';

type Stored = Omit<LeaseRecord, 'state'> & {
  readonly untilMs: number;
  /** How it was given up; null while it was not. */
  readonly ended: 'released' | 'yielded' | null;
  readonly departed?: boolean;
};

export class ModelLeaseStore {
  readonly #records = new Map<string, Stored>();
  readonly #successions: Succession[] = [];

  read(nowMs: number): LeaseView {
    const all = [...this.#records.values()];
    const gone = all.filter(({ departed }) => departed).map((one) => [one.dataCenter, one.incarnation.generation]);
    const present = all.filter(({ departed }) => !departed);
    const leases = present.map((stored) => {
      const { untilMs, ended, departed: _, ...record } = stored;
      return { ...record, state: stateOf(stored, nowMs) };
    });
    const view = { term: this.#term, leases, successions: [...this.#successions] };
    return gone.length === 0 ? view : { ...view, departed: Object.fromEntries(gone) };
  }

  acquire(claim: LeaseClaim, predecessor: LeaseCredential | undefined, nowMs: number): LeaseResult {
    const present = this.#records.get(claim.dataCenter);
    if (present?.departed) {
      if (claim.incarnation.generation <= present.incarnation.generation)
        return this.#refuse('other-incarnation', nowMs);
    } else if (present !== undefined) {
      if (present.takenOver !== null) return this.#refuse('taken-over', nowMs);
      const standing = judgeStanding(claim, present, this.read(nowMs).leases);
      const promoted = standing.kind === 'promoted' && standing.missing.length === 0;
      if (standing.kind !== 'same' && !promoted) return this.#refuse('other-incarnation', nowMs);
      const own = present.holder === claim.holder;
      const inherited = present.holder === predecessor?.holder && present.revision === predecessor.revision;
      if (stateOf(present, nowMs) === 'held' && (promoted || !(own || inherited)))
        return this.#refuse('held-by-other', nowMs);
    }
    return this.#grant(claim, (present?.revision ?? 0) + 1, nowMs);
  }

  renew(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    const present = this.#records.get(claim.dataCenter);
    if (present === undefined) return this.#refuse('stale-revision', nowMs);
    if (present.departed) return this.#refuse('other-incarnation', nowMs);
    if (present.takenOver !== null) return this.#refuse('taken-over', nowMs);
    if (judgeStanding(claim, present, this.read(nowMs).leases).kind !== 'same')
      return this.#refuse('other-incarnation', nowMs);
    const current = holds(present, { holder: claim.holder, revision }, nowMs);
    return current ? this.#grant(claim, revision + 1, nowMs) : this.#refuse('stale-revision', nowMs);
  }

  release(dataCenter: string, credential: LeaseCredential, yields: boolean): void {
    const present = this.#records.get(dataCenter);
    if (present?.holder !== credential.holder || present.revision !== credential.revision || present.ended !== null)
      return;
    const ended = yields ? 'yielded' : 'released';
    this.#records.set(dataCenter, { ...present, revision: present.revision + 1, ended });
  }

  succeed(request: SuccessionRequest, nowMs: number): SuccessionResult {
    const reason = this.#succeedRefusal(request, nowMs);
    if (reason !== null) return { kind: 'refused', reason, view: this.read(nowMs) };
    const { kind, from, to } = request;
    const undoes = kind === 'return' ? request.undoes : null;
    const term = this.#term + 1;
    if (from === to) throw new RangeError('A data center does not succeed itself');
    this.#successions.push({ term, kind, from, to, undoes });
    const giver = this.#records.get(from);
    if (kind === 'take' && giver !== undefined) this.#records.set(from, { ...giver, takenOver: term });
    return { kind: 'succeeded', term, view: this.read(nowMs) };
  }

  readmit({ dataCenter, takenOver, term, incarnation, positions }: Readmission): boolean {
    const present = this.#records.get(dataCenter);
    if (term !== undefined && term !== this.#term) return false;
    if (present === undefined || present.takenOver !== takenOver) return false;
    if (incarnation.generation <= present.incarnation.generation) return false;
    if (isDemoted(incarnation, present.incarnation)) return false;
    const revision = present.revision + 1;
    const back = { incarnation, positions, revision, takenOver: null, inSync: [], ended: 'released' as const };
    this.#records.set(dataCenter, { ...present, ...back });
    return true;
  }

  forget(dataCenter: string, revision: number, nowMs: number): boolean {
    const present = this.#records.get(dataCenter);
    if (present === undefined || present.departed || present.revision !== revision) return false;
    if (stateOf(present, nowMs) === 'held') return false;
    const gone = { departed: true, takenOver: null, inSync: [], ended: 'released' as const, revision: revision + 1 };
    this.#records.set(dataCenter, { ...present, ...gone });
    return true;
  }

  /** Until when the store lets this dc write, by the store's clock; 0 when it does not. */
  untilMs(dataCenter: string): number {
    const present = this.#records.get(dataCenter);
    return present === undefined || present.ended !== null || present.takenOver !== null ? 0 : present.untilMs;
  }

  get #term(): number {
    return this.#successions.length + 1;
  }

  #succeedRefusal(request: SuccessionRequest, nowMs: number): SuccessionRefusal | null {
    const giver = this.#records.get(request.from);
    const taker = this.#records.get(request.to);
    if (request.term !== this.#term) return 'stale-term';
    if (giver?.departed || taker?.departed) return 'taken-over';
    if (giver !== undefined && giver.takenOver !== null) return 'taken-over';
    if (request.kind !== 'take') {
      if (taker !== undefined && taker.takenOver !== null) return 'taken-over';
      if (giver === undefined || !holds(giver, request, nowMs)) return 'no-lease';
      if (request.kind === 'return' && !this.#undoable(request.undoes))
        throw new RangeError(`There is no succession ${request.undoes} that could be undone`);
      return null;
    }
    if (taker === undefined || !holds(taker, request, nowMs)) return 'no-lease';
    if (giver === undefined) return 'not-in-sync';
    if (stateOf(giver, nowMs) === 'held' || giver.revision !== request.fromRevision) return 'still-held';
    return request.forced || giver.inSync.includes(request.to) ? null : 'not-in-sync';
  }

  #undoable(undoes: number): boolean {
    return this.#successions.some(({ term, kind }) => term === undoes && kind !== 'return');
  }

  #grant(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    const { ended: _, ...incarnation } = claim.incarnation;
    this.#records.set(claim.dataCenter, {
      ...claim,
      incarnation,
      revision,
      untilMs: nowMs + claim.ttlMs,
      takenOver: null,
      ended: null,
    });
    return { kind: 'held', revision, view: this.read(nowMs) };
  }

  #refuse(reason: (LeaseResult & { kind: 'refused' })['reason'], nowMs: number): LeaseResult {
    return { kind: 'refused', reason, view: this.read(nowMs) };
  }
}

function stateOf(stored: Stored, nowMs: number): LeaseRecord['state'] {
  return stored.ended ?? (nowMs < stored.untilMs && stored.takenOver === null ? 'held' : 'expired');
}

function holds(stored: Stored, { holder, revision }: LeaseCredential, nowMs: number): boolean {
  const known = stored.holder === holder && stored.revision === revision;
  return known && stateOf(stored, nowMs) === 'held';
}

/** The model behind the port, on the real clock. */
export function modelLeaseStore(model: ModelLeaseStore): LeaseStore {
  const nowMs = () => performance.now();
  return {
    read: async () => model.read(nowMs()),
    acquire: async (claim, predecessor) => model.acquire(claim, predecessor, nowMs()),
    renew: async (claim, revision) => model.renew(claim, revision, nowMs()),
    release: async (dataCenter, credential, yields) => model.release(dataCenter, credential, yields),
    succeed: async (request) => model.succeed(request, nowMs()),
    readmit: async (readmission) => model.readmit(readmission),
    forget: async (dataCenter, revision) => model.forget(dataCenter, revision, nowMs()),
    close: async () => {},
  };
}
