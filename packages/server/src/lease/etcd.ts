/**
 * The lease store on etcd. A question reads one snapshot (`etcd-snapshot.ts`), decides on it (`etcd-rules.ts`), and writes
 * in a transaction that compares what it decided on; when that has changed, it decides again on what is there now.
 *
 * - Only linearizable reads and transactions: a member that lost its leader answers nothing.
 * - What is written carries a mark, so that a transaction that was sent twice, because its answer was slow, knows its own.
 * - A lease runs out when etcd removes the key beside its record, or when this client has known the record unchanged for as
 *   long as it was granted: a new leader prolongs keys. For a takeover only the latter counts, unless it was given up.
 */
import { randomUUID } from 'node:crypto';
import type { LeaseClaim, LeaseResult, LeaseStore } from 'lanekeeper/model';
import { NonsenseError, Recollection, readResult, readSuccessionResult } from './answer.ts';
import { Gateway, type GatewayOptions, type Json } from './etcd-gateway.ts';
import {
  decideAcquire,
  decideForgetting,
  decideReadmission,
  decideRelease,
  decideRenew,
  decideSuccession,
  type LeaseDecision,
  type RecordChange,
} from './etcd-rules.ts';
import {
  type Entry,
  encode,
  keysOf,
  rangeOf,
  readSnapshot,
  recordValue,
  Sightings,
  type Snapshot,
  successionValue,
} from './etcd-snapshot.ts';

export type EtcdLeaseStoreOptions = GatewayOptions & {
  /** Several clusters may share one etcd. */
  readonly cluster: string;
  /** For each question. Default 1500: well below the time between two renewals. */
  readonly timeoutMs?: number;
};

/** One that is overtaken this often has been refused something by then. */
const mostAttempts = 8;

/** Throws when there is no endpoint. Connects when it is first asked; there is nothing to create. */
export function etcdLeaseStore(options: EtcdLeaseStoreOptions): LeaseStore {
  const { cluster, timeoutMs = 1500, endpoints } = options;
  if (endpoints.length === 0) throw new RangeError('etcd needs at least one endpoint');
  const gateway = new Gateway(options);
  const keys = keysOf(cluster);
  const range = rangeOf(keys);
  const sightings = new Sightings();
  const recollection = new Recollection();
  let latest: Snapshot | null = null;

  const deadline = (): number => performance.now() + timeoutMs;

  function snapshotOf(answer: unknown, floor: number): Snapshot {
    const snapshot = readSnapshot(answer, keys, sightings, performance.now());
    recollection.check(snapshot.view, floor);
    latest = snapshot;
    return snapshot;
  }

  async function read(deadlineMs: number): Promise<Snapshot> {
    const floor = recollection.term;
    return snapshotOf(await gateway.ask('/v3/kv/range', range, deadlineMs), floor);
  }

  /** All or nothing. `unchanged`: false when a comparison failed, and then the snapshot shows why. */
  async function write(compare: readonly Json[], success: readonly Json[], deadlineMs: number) {
    const floor = recollection.term;
    const look = { request_range: range };
    const body = { compare, success: [...success, look], failure: [look] };
    const answer = await gateway.ask('/v3/kv/txn', body, deadlineMs);
    const { succeeded = false, responses } = answer;
    if (typeof succeeded !== 'boolean' || !Array.isArray(responses)) throw new NonsenseError('a transaction', answer);
    const last = (responses as readonly (Json | null)[]).at(-1);
    return { unchanged: succeeded, snapshot: snapshotOf(last?.response_range, floor) };
  }

  async function writeRecord({ before, after, alive, term }: RecordChange, mark: string, deadlineMs: number) {
    const { dataCenter, ttlMs, revision } = after;
    const compare = [unchanged(keys.record(dataCenter), before)];
    if (term !== undefined) compare.push(unchanged(keys.view(term + 1), null));
    if (alive === 'renewed' && before !== null) compare.push(stillAlive(keys.alive(dataCenter), before));
    const put = { request_put: { key: encode(keys.record(dataCenter)), value: encode(recordValue(after, mark)) } };
    const key = encode(keys.alive(dataCenter));
    const beside =
      alive === 'removed'
        ? { request_delete_range: { key } }
        : { request_put: { key, value: encode(String(revision)), lease: await grantLease(ttlMs, deadlineMs) } };
    return write(compare, [put, beside], deadlineMs);
  }

  /** Whole seconds, rounded up: it never ends before the holder thinks so. */
  async function grantLease(ttlMs: number, deadlineMs: number): Promise<string> {
    const answer = await gateway.ask('/v3/lease/grant', { TTL: String(Math.ceil(ttlMs / 1000)) }, deadlineMs);
    if (typeof answer.ID !== 'string' || !/^\d{1,19}$/.test(answer.ID)) throw new NonsenseError('a lease', answer);
    if (!(Number(answer.TTL) * 1000 >= ttlMs)) throw new NonsenseError('the TTL of a lease', answer);
    return answer.ID;
  }

  async function take(
    claim: LeaseClaim,
    decide: (snapshot: Snapshot) => LeaseDecision,
    known: Snapshot | null,
  ): Promise<LeaseResult> {
    const deadlineMs = deadline();
    const mark = randomUUID();
    let snapshot = known ?? (await read(deadlineMs));
    let current = known === null;
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const decision = decide(snapshot);
      if (decision.kind === 'refused') {
        const { reason } = decision;
        if (current) return readResult({ kind: 'refused', reason, view: snapshot.view }, claim);
        snapshot = await read(deadlineMs);
        current = true;
        continue;
      }
      const { unchanged, snapshot: after } = await writeRecord(decision.change, mark, deadlineMs);
      const own = after.entries.get(claim.dataCenter);
      if (unchanged || own?.mark === mark)
        return readResult({ kind: 'held', revision: own?.record.revision, view: after.view }, claim);
      snapshot = after;
      current = true;
    }
    throw new Error('The lease store was changed again and again meanwhile');
  }

  /** False when there is nothing to change. */
  async function change(dataCenter: string, decide: (snapshot: Snapshot) => RecordChange | null): Promise<boolean> {
    const deadlineMs = deadline();
    const mark = randomUUID();
    let snapshot = await read(deadlineMs);
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const decision = decide(snapshot);
      if (decision === null) return false;
      const { unchanged, snapshot: after } = await writeRecord(decision, mark, deadlineMs);
      if (unchanged || after.entries.get(dataCenter)?.mark === mark) return true;
      snapshot = after;
    }
    throw new Error('The lease store was changed again and again meanwhile');
  }

  return {
    read: async () => (await read(deadline())).view,
    acquire: (claim, predecessor) => take(claim, (snapshot) => decideAcquire(snapshot, claim, predecessor), null),
    // Most often nobody but the holder has changed anything: no need to look first.
    renew: (claim, revision) => take(claim, (snapshot) => decideRenew(snapshot, claim, revision), latest),
    async release(dataCenter, credential, yields) {
      await change(dataCenter, (snapshot) => decideRelease(snapshot, dataCenter, credential, yields));
    },
    readmit: (readmission) => change(readmission.dataCenter, (snapshot) => decideReadmission(snapshot, readmission)),
    forget: (dataCenter, revision) =>
      change(dataCenter, (snapshot) =>
        decideForgetting(snapshot, dataCenter, revision, (record) => sightings.ageMs(record, performance.now())),
      ),
    async succeed(request) {
      if (request.from === request.to) throw new RangeError('A data center does not succeed itself');
      const deadlineMs = deadline();
      const mark = randomUUID();
      let snapshot = await read(deadlineMs);
      for (let attempt = 0; attempt < mostAttempts; attempt++) {
        const ageOf = (record: Entry['record']) => sightings.ageMs(record, performance.now());
        const decision = decideSuccession(snapshot, request, ageOf);
        const { view } = snapshot;
        if (decision.kind === 'refused')
          return readSuccessionResult({ kind: 'refused', reason: decision.reason, view }, request);
        const { succession, asker, other, taken } = decision;
        const next = keys.view(succession.term);
        const dataCenter = asker.record.dataCenter;
        const compare = [
          unchanged(keys.record(dataCenter), asker),
          stillAlive(keys.alive(dataCenter), asker),
          unchanged(keys.record(dataCenter === request.from ? request.to : request.from), other),
          unchanged(next, null),
          ...(request.term === 1 ? [] : [exists(keys.view(request.term))]),
        ];
        const writes: Json[] = [
          { request_put: { key: encode(next), value: encode(successionValue(succession, mark)) } },
        ];
        if (taken !== null) {
          const key = encode(keys.record(taken.dataCenter));
          writes.push({ request_put: { key, value: encode(recordValue(taken, mark)) } });
          writes.push({ request_delete_range: { key: encode(keys.alive(taken.dataCenter)) } });
        }
        const { unchanged: done, snapshot: after } = await write(compare, writes, deadlineMs);
        const { term } = succession;
        if (done || after.marks.get(term) === mark)
          return readSuccessionResult({ kind: 'succeeded', term, view: after.view }, request);
        snapshot = after;
      }
      throw new Error('The lease store was changed again and again meanwhile');
    },
    close: () => gateway.close(),
  };
}

/** The key is as it was when the entry was read; without an entry: absent. */
function unchanged(key: string, entry: Entry | null): Json {
  if (entry === null) return { key: encode(key), target: 'CREATE', result: 'EQUAL', create_revision: '0' };
  return { key: encode(key), target: 'MOD', result: 'EQUAL', mod_revision: entry.modRevision };
}

function stillAlive(key: string, { aliveModRevision }: Entry): Json {
  return { key: encode(key), target: 'MOD', result: 'EQUAL', mod_revision: aliveModRevision ?? '-1' };
}

function exists(key: string): Json {
  return { key: encode(key), target: 'CREATE', result: 'GREATER', create_revision: '0' };
}
