/**
 * The lease store as a model: the rules of the port and nothing else, with time as an argument. The simulation runs on
 * it, and the conformance suite holds it to the same rules as the real adapters.
 */
import type { LeaseClaim, LeaseCredential, LeaseRecord, LeaseResult, LeaseStore, LeaseView } from 'lanekeeper/model';

type Stored = Omit<LeaseRecord, 'state'> & { readonly untilMs: number; readonly released: boolean };

export class ModelLeaseStore {
  readonly #records = new Map<string, Stored>();

  read(nowMs: number): LeaseView {
    const leases = [...this.#records.values()].map(({ untilMs, released, ...record }) => {
      const state = released ? ('released' as const) : nowMs < untilMs ? ('held' as const) : ('expired' as const);
      return { ...record, state };
    });
    return { term: 1, leases };
  }

  acquire(claim: LeaseClaim, predecessor: LeaseCredential | undefined, nowMs: number): LeaseResult {
    const present = this.#records.get(claim.dataCenter);
    if (present !== undefined) {
      if (!sameIncarnation(present, claim)) return this.#refuse('other-incarnation', nowMs);
      const free = present.released || nowMs >= present.untilMs || present.holder === claim.holder;
      const inherited = present.holder === predecessor?.holder && present.revision === predecessor.revision;
      if (!free && !inherited) return this.#refuse('held-by-other', nowMs);
    }
    return this.#grant(claim, (present?.revision ?? 0) + 1, nowMs);
  }

  renew(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    const present = this.#records.get(claim.dataCenter);
    if (present !== undefined && !sameIncarnation(present, claim)) return this.#refuse('other-incarnation', nowMs);
    const current =
      present?.revision === revision && present.holder === claim.holder && !present.released && nowMs < present.untilMs;
    return current ? this.#grant(claim, revision + 1, nowMs) : this.#refuse('stale-revision', nowMs);
  }

  release(dataCenter: string, credential: LeaseCredential): void {
    const present = this.#records.get(dataCenter);
    if (present?.holder !== credential.holder || present.revision !== credential.revision || present.released) return;
    this.#records.set(dataCenter, { ...present, revision: present.revision + 1, released: true });
  }

  /** Until when the store lets this dc write, by the store's clock; 0 when it does not. */
  untilMs(dataCenter: string): number {
    const present = this.#records.get(dataCenter);
    return present === undefined || present.released ? 0 : present.untilMs;
  }

  #grant(claim: LeaseClaim, revision: number, nowMs: number): LeaseResult {
    const { dataCenter, holder, incarnation, positions, ttlMs } = claim;
    const untilMs = nowMs + ttlMs;
    this.#records.set(dataCenter, { dataCenter, holder, incarnation, positions, revision, untilMs, released: false });
    return { kind: 'held', revision, view: this.read(nowMs) };
  }

  #refuse(reason: 'held-by-other' | 'other-incarnation' | 'stale-revision', nowMs: number): LeaseResult {
    return { kind: 'refused', reason, view: this.read(nowMs) };
  }
}

function sameIncarnation(a: Pick<LeaseRecord, 'incarnation'>, b: Pick<LeaseRecord, 'incarnation'>): boolean {
  return (
    a.incarnation.systemIdentifier === b.incarnation.systemIdentifier &&
    a.incarnation.timeline === b.incarnation.timeline &&
    a.incarnation.generation === b.incarnation.generation
  );
}

/** The model behind the port, on the real clock. */
export function modelLeaseStore(model: ModelLeaseStore): LeaseStore {
  const nowMs = () => performance.now();
  return {
    read: async () => model.read(nowMs()),
    acquire: async (claim, predecessor) => model.acquire(claim, predecessor, nowMs()),
    renew: async (claim, revision) => model.renew(claim, revision, nowMs()),
    release: async (dataCenter, credential) => model.release(dataCenter, credential),
    close: async () => {},
  };
}
