/**
 * Coming back, its second half: this data center reads the living again, is sent what it took away by the homes of those rows, and
 * is read again by all of them.
 */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  announceMerged,
  asideSlotName,
  dropAside,
  hasRelays,
  hasSuccession,
  isCovered,
  readKnownTails,
  renewRelaySlot,
  renewSlot,
  resendStranded,
  setSlotAside,
  slotName,
  streamNames,
  takeSlotUp,
  thawStreams,
  waitUntilConfirmed,
  waitUntilRead,
} from '../postgres/index.ts';
import { originsToUndo } from './rejoin-strand.ts';
import { lastLife, NotYet, open, type Work } from './rejoin-work.ts';

const applyWithinMs = 20_000;
const readWithinMs = 10_000;
/** Longer than streams run behind each other. */
const announcedBeforeMs = 3_600_000;

export async function catchUp(work: Work): Promise<Readonly<Record<string, unknown>>> {
  const { own, here, peers } = work;
  await readAgain(work);
  const homes = peers.map(({ name, client }) => ({ dataCenter: name, client }));
  const { keys, problems, upTo } = await resendStranded(homes, await originsToUndo(work));
  for (const { name, client } of peers)
    if (!(await waitUntilConfirmed(client, here, 'homed', upTo[name] as string, applyWithinMs)))
      throw new NotYet(`the stream from ${name} has not arrived up to ${upTo[name]} yet`);
  const again = problems.filter(({ outcome }) => outcome === 'busy' || outcome === 'elsewhere').length;
  if (again > 0) throw new NotYet(`${again} rows were in use, or between two homes, and are sent again`);
  if (!(await hasSuccession(own, work.action.term)))
    throw new NotYet(`the succession of term ${work.action.term} has not arrived yet`);
  return { resent: keys };
}

/** All at once: the mark of one may wait for what another one sends. */
async function readAgain(work: Work): Promise<void> {
  const { own, peers } = work;
  const tails = await readKnownTails(own);
  const frozen = peers.flatMap(({ name }) => (tails[name]?.frozen ? [name] : []));
  if (frozen.length === 0) return;
  await fetchMissing(work);
  // From here on they hold what is read from now on; as long as nothing is read, there is nothing to lose.
  if (frozen.length === peers.length) await renewRelays(work);
  for (const name of frozen) await takeUp(work, name);
  // The mark of a later takeover waits until they have ended again (`guard_succession`).
  for (const other of work.others)
    await own.query('UPDATE lanekeeper.frozen SET term = greatest(term, $2) WHERE publisher = $1', [
      other.name,
      lastLife(other).origin.term,
    ]);
  await thawStreams(own, ...frozen);
}

/** What a peer that came back while we were away has kept for us. */
async function takeUp({ options, here }: Work, peer: DataCenterName): Promise<void> {
  const there = await open(options, peer, 'replication');
  try {
    await takeSlotUp(there, here);
  } finally {
    await there.end().catch(() => {});
  }
}

/** What the home had of others when it took over, and they cannot send again: the streams of those that are back begin later. */
async function fetchMissing(work: Work): Promise<void> {
  const { own, action, options, others } = work;
  for (const other of others) {
    const { homed, rest } = lastLife(other).cut;
    const known = (await readKnownTails(own))[other.name];
    if (known !== undefined && isCovered(known, { homed, rest })) continue;
    // Of one that is away the agent fetches it anyhow.
    if (other.isAway) throw new NotYet(`what others have of ${other.name} is not here yet`);
    const { rows } = await own.query<{ term: string }>('SELECT term FROM lanekeeper.frozen WHERE publisher = $1', [
      other.name,
    ]);
    const [row] = rows;
    if (row === undefined) throw new NotYet(`the streams from ${other.name} go on, and what was before is missing`);
    const from =
      action.successor === other.name ? work.peers.find(({ name }) => name !== other.name)?.name : action.successor;
    if (from === undefined) throw new NotYet(`nobody is left who has what is missing of ${other.name}`);
    const mended = await options.mend({ of: other.name, term: Number(row.term), from, upTo: { homed, rest } });
    if (mended.kind !== 'reached') throw new NotYet(`of ${other.name}: ${mended.problem}`);
  }
}

async function renewRelays({ options, here, own, peers, away }: Work): Promise<void> {
  const { configuration } = options;
  if (!hasRelays(configuration)) return;
  const replication = await open(options, here, 'replication');
  try {
    for (const peer of [...peers.map(({ name }) => name), ...away]) {
      if (!(await isReader(own, peer))) continue;
      if (!(await renewRelaySlot({ replication, agent: own }, configuration, peer)))
        throw new NotYet('a transaction that began before has to end');
    }
  } finally {
    await replication.end().catch(() => {});
  }
}

export async function stream(work: Work): Promise<Readonly<Record<string, unknown>>> {
  const { options, here, own, peers, away } = work;
  const replication = await open(options, here, 'replication');
  try {
    for (const peer of peers) await beReadBy(work, peer.name, peer.client, replication);
    // Whoever is away fetches what it lacks from the living when it comes back; what it must not get is in the old slot.
    for (const peer of away) if (await isReader(own, peer)) await setSlotAside(replication, peer);
  } finally {
    await replication.end().catch(() => {});
  }
  for (const { name } of peers)
    for (const one of streamNames)
      if (!(await waitUntilRead(own, name, one, readWithinMs)))
        throw new NotYet(`${name} does not read the ${one} stream yet`);
  return { announced: await announce(work) };
}

/**
 * By a new slot: what the old one still holds is in the ledger. Not before all that others have of us is there, and the succession by
 * which it goes: until then the old slot is the only place that has it.
 */
async function beReadBy({ here, action, cut }: Work, peer: DataCenterName, there: Client, replication: Client) {
  const tail = (await readKnownTails(there))[here];
  // It reads by the new slot already, or by the one that was kept for it while it was away itself.
  if (tail !== undefined && !tail.frozen) return takeSlotUp(replication, peer);
  if (tail === undefined) throw new NotYet(`${peer} has not said how far it has what was written here`);
  if (!isCovered(tail, cut) || !(await hasSuccession(there, action.term)))
    throw new NotYet(`${peer} does not have everything yet that ${action.successor} has of ${here}`);
  await renewSlot(replication, peer, 'homed');
  await dropAside(replication, peer);
  await thawStreams(there, here);
}

async function isReader(own: Client, peer: DataCenterName): Promise<boolean> {
  const { rows } = await own.query(
    'SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = ANY ($1) AND database = current_database()',
    [[slotName(peer, 'homed'), asideSlotName(peer)]],
  );
  return rows.length > 0;
}

/** Shared rows are late, never stranded: the streams bring them, and what was written around the takeover is sent once more. */
async function announce({ options, own, home, peers, action }: Work): Promise<number> {
  const { rows } = await home.query<{ at: Date }>('SELECT at FROM lanekeeper.succession WHERE term = $1', [
    action.takenOver,
  ]);
  const [row] = rows;
  if (row === undefined) throw new NotYet(`the takeover of term ${action.takenOver} is not recorded yet`);
  const since = new Date(row.at.getTime() - announcedBeforeMs);
  let announced = 0;
  for (const client of [own, ...peers.map((peer) => peer.client)])
    announced += await announceMerged(client, options.configuration, { since });
  return announced;
}
