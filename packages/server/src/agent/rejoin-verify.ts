/** Coming back, its end: compared with everybody who is there, and let in again. */
import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  answerConflicts,
  countConflicts,
  keepsAside,
  mergeAutomatically,
  noteConflicts,
  type Queryable,
  readKnownTails,
  readProof,
  readStreams,
  readUnanswered,
  relayGap,
  type UnansweredConflicts,
  verifyTables,
} from '../postgres/index.ts';
import { catchUp, stream } from './rejoin-streams.ts';
import { lastLife, NotYet, readPresence, type Work } from './rejoin-work.ts';

/** An idle worker reports what it counted within a second, a busy one with its next commit after that. */
const countedWithinMs = 2_500;
/** On a busy machine reports come later still: then once more. */
const comparisons = 4;
/** Where several come back at the same time, each has to see the other, or be seen: `1281` is ours. */
const admissionLock = '1281, 0';

/** What catching up met is counted by workers that report it later: it is answered for by a comparison that began afterwards. */
export async function verify(work: Work): Promise<Readonly<Record<string, unknown>>> {
  await joinNewcomers(work);
  // Its new relay slots hold nothing of before: were the other one that has it to fail next, it would be lost.
  for (const { name, client } of work.peers) {
    const gap = await relayGap(work.own, name, client);
    if (gap !== null) throw new NotYet(gap);
  }
  const sides: readonly Side[] = [{ name: work.here, client: work.own }, ...work.peers];
  for (let attempt = 0; attempt < comparisons; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, countedWithinMs));
    const counted = await countAll(work, sides);
    let rows = 0;
    for (const { name } of work.peers) rows += await compare(work, name);
    const since = await countAll(work, sides);
    for (const { name, client } of sides) await answerConflicts(client, counted.get(name) as UnansweredConflicts);
    if (sides.every(({ name }) => isDeepStrictEqual(counted.get(name), since.get(name))))
      return { rows, verified: work.peers.map(({ name }) => name) };
  }
  throw new NotYet('replication still reports conflicts that it met before');
}

/** Another one may have come back since the streams were brought in order, and found us away. */
async function joinNewcomers(work: Work): Promise<void> {
  const tails = await readKnownTails(work.own);
  let whole = work.peers.every(({ name }) => tails[name]?.frozen !== true);
  for (const { name, client } of work.peers) {
    // A slot for one that is there by now.
    whole &&= !(await keepsAside(work.own, name));
    whole &&= (await readKnownTails(client))[work.here]?.frozen !== true;
  }
  if (whole) return;
  await catchUp(work);
  await stream(work);
}

type Side = { readonly name: DataCenterName; readonly client: Client };

async function countAll(
  { options }: Work,
  sides: readonly Side[],
): Promise<ReadonlyMap<DataCenterName, UnansweredConflicts>> {
  const counted = new Map<DataCenterName, UnansweredConflicts>();
  for (const { name, client } of sides) {
    await noteIncoming(client, { ...options.configuration, here: name });
    counted.set(name, await readUnanswered(client));
  }
  return counted;
}

/** Takes down the conflicts that replication has counted in the database of `configuration.here`. */
async function noteIncoming(client: Queryable, configuration: Configuration): Promise<void> {
  for (const incoming of (await readStreams(client, configuration)).incoming)
    if (incoming.stream === 'homed' && incoming.subscription !== null)
      await noteConflicts(client, incoming.subscription.name, countConflicts(incoming));
}

/** How many rows were compared; throws when they are not the same. */
async function compare({ options, here }: Work, there: DataCenterName): Promise<number> {
  const { configuration, connect } = options;
  const result = await verifyTables({ configuration, here, there, connect: (dc) => connect(dc, 'agent') });
  if (result.kind !== 'verified') throw new NotYet(result.message);
  if (!result.clean) {
    const tables = result.tables.filter(({ kind }) => kind !== 'equal').map(({ table, kind }) => `${table} ${kind}`);
    throw new NotYet(
      `not equal to ${there}: ${tables.join(', ')}; \`lanekeeper verify\` names the rows, \`--repair\` mends them`,
    );
  }
  return result.tables.reduce((sum, { rowsHere }) => sum + rowsHere, 0);
}

export async function readmit(work: Work): Promise<Readonly<Record<string, unknown>>> {
  const { options, action, here, own, home, origin } = work;
  await home.query(`SELECT pg_catalog.pg_advisory_lock(${admissionLock})`);
  try {
    const { living, view } = await readPresence(options, action.successor);
    // Whoever takes another one over waits for what is said by those in the view: what it says counts goes by what was here before.
    const [late] = work.unrecorded;
    if (late !== undefined || view !== work.view)
      throw new NotYet(`${late ?? 'another one'} was taken over meanwhile, or accounts were`);
    for (const name of work.away)
      if ((await readKnownTails(own))[name]?.frozen !== true)
        throw new NotYet(`the streams from ${name} have not ended yet`);
    const verified = Array.isArray(work.detail.verified) ? work.detail.verified : living;
    const unseen = living.filter((peer) => !verified.includes(peer));
    if (unseen.length > 0 && !work.peers.some(({ name }) => unseen.includes(name)))
      throw new NotYet(`${unseen.join(', ')} came back meanwhile`);
    const more = unseen.length > 0 ? await verify(work) : {};
    const generation = origin.generation + 1;
    // As long as this view lasts, what is asked for next may be granted, also when no answer comes: nothing begins again before it is over.
    await own.query('UPDATE lanekeeper.rejoining SET detail = detail || $2::jsonb WHERE term = $1', [
      action.term,
      JSON.stringify({ asked: view }),
    ]);
    await own.query('UPDATE lanekeeper.generation SET generation = $1 WHERE generation < $1', [generation]);
    // Before the store readmits it: from then on nobody comes back to this stage.
    const decided = await mergeAll(work);
    const { incarnation, positions } = await readProof(own, options.subscriptions, true);
    const readmitted = await options.store.readmit({
      dataCenter: here,
      takenOver: action.takenOver,
      term: view,
      incarnation,
      positions,
    });
    if (!readmitted) {
      const record = (await options.store.read()).leases.find((one) => one.dataCenter === here);
      if (record?.takenOver !== null) throw new NotYet('the lease store does not readmit it');
    }
    return { generation, ...decided, ...more };
  } finally {
    await home.query(`SELECT pg_catalog.pg_advisory_unlock(${admissionLock})`).catch(() => {});
  }
}

/** At whichever of the living is the home; what was told here of one that is away is decided like our own. */
async function mergeAll({ options, peers, origin, others }: Work): Promise<{ merged: number; left: number }> {
  const total = { merged: 0, left: 0 };
  const relayed = others.flatMap((other) => (other.isAway ? [lastLife(other).origin] : []));
  for (const one of [origin, ...relayed]) {
    let left = 0;
    for (const { client } of peers) {
      const report = await mergeAutomatically(client, options.configuration, one);
      total.merged += report.merged;
      left = report.left;
      if (left === 0) break;
    }
    total.left += left;
  }
  return total;
}
