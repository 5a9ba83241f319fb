/**
 * Takes a data center out for good. Its rows stay what they are everywhere else; it is read by nobody and waited for by nobody.
 *
 * 1. Only when no account is at home there, and everything it wrote has arrived at all others (R5).
 * 2. Its agents are stopped, and their lock is held here; then the lease store forgets it. From there on it gets no lease, unless it
 *    joins again, as a later generation. Terms go on.
 * 3. Where it cannot be reached it must have been taken over: then it holds nothing that may be written.
 * 4. Repeatable at every step.
 */
import type { Configuration, RoleName } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect, Unavailable } from '../connect.ts';
import { readLeader, tryLeadLock } from '../deeds/agents.ts';
import { waitUntilConfirmed } from '../deeds/successions.ts';
import { dropRelaySlot, forgetRelayed } from '../relay/index.ts';
import { dropSlot } from '../streams/drop.ts';
import { joinedPeers, readMembers, setMembers } from '../streams/members.ts';
import { asideSlotName, slotName, streamNames } from '../streams/names.ts';
import { dropReading } from './clear.ts';

export type LeaveOptions = {
  readonly configuration: Configuration;
  readonly leaving: DataCenterName;
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  readonly store: LeaseStore;
  /** Only look whether it may be done. */
  readonly dry?: boolean;
  readonly onStep?: (what: string) => void;
  /** For what it wrote to arrive at the others. Default 60000. */
  readonly arriveWithinMs?: number;
};

export type LeaveResult =
  | {
      readonly kind: 'left' | 'may-leave';
      readonly remaining: readonly DataCenterName[];
      /** Its database could not be reached: what is there of Lanekeeper stays. */
      readonly cleared: boolean;
    }
  | { readonly kind: 'refused'; readonly why: string; readonly hint: string | null }
  | (Unavailable & { readonly dataCenter: DataCenterName; readonly role: RoleName });

class Refusal extends Error {
  readonly hint: string | null;

  constructor(why: string, hint: string | null = null) {
    super(why);
    this.hint = hint;
  }
}

class Unreached extends Error {
  readonly failure: Unavailable & { readonly dataCenter: DataCenterName; readonly role: RoleName };

  constructor(failure: Unreached['failure']) {
    super(failure.message);
    this.failure = failure;
  }
}

export async function leaveDataCenter(options: LeaveOptions): Promise<LeaveResult> {
  const open = new Map<string, Client>();
  const client = async (dc: DataCenterName, role: RoleName): Promise<Client> => {
    const key = `${dc} ${role}`;
    const present = open.get(key);
    if (present !== undefined) return present;
    const connected = await options.connect(dc, role)('lanekeeper leave');
    if (connected.kind === 'unavailable') throw new Unreached({ ...connected, dataCenter: dc, role });
    open.set(key, connected.client);
    return connected.client;
  };
  try {
    return await leave(options, client);
  } catch (thrown) {
    if (thrown instanceof Refusal) return { kind: 'refused', why: thrown.message, hint: thrown.hint };
    if (thrown instanceof Unreached) return thrown.failure;
    throw thrown;
  } finally {
    await Promise.all([...open.values()].map((one) => one.end().catch(() => {})));
  }
}

type Open = (dc: DataCenterName, role: RoleName) => Promise<Client>;

async function leave(options: LeaveOptions, open: Open): Promise<LeaveResult> {
  const { configuration, leaving, store, dry = false, onStep = () => {} } = options;
  const remaining = await remainingOf(configuration, leaving, open);
  if (remaining.length === 0) throw new Refusal(`${leaving} is the only data center that takes part`);
  const { leases } = await store.read();
  const record = leases.find(({ dataCenter }) => dataCenter === leaving);
  const own = await open(leaving, 'agent').catch((thrown) => {
    // One that may still come back as it is, and write, has to be taken over first.
    if (!(thrown instanceof Unreached) || (record !== undefined && record.takenOver === null)) throw thrown;
    return null;
  });
  if (own !== null && !(await tryLeadLock(own))) {
    const leader = await readLeader(own).catch(() => null);
    throw new Refusal(
      `the agent ${leader?.instance ?? ''} leads in ${leaving}`,
      `Stop the applications and agents of ${leaving}.`,
    );
  }
  if (record?.state === 'held') {
    throw new Refusal(
      `${leaving} holds a lease`,
      'Stop its agents; where they were killed, wait until the lease has run out.',
    );
  }
  for (const dc of own === null ? remaining : [...remaining, leaving]) {
    await refuseHomes(await open(dc, 'agent'), dc, leaving, remaining[0] as DataCenterName);
  }
  if (own !== null && record?.takenOver === null) await awaitArrival(own, options, remaining);
  if (dry) return { kind: 'may-leave', remaining, cleared: own !== null };
  if (record !== undefined) {
    onStep(`let the lease store forget ${leaving}`);
    if (!(await store.forget(leaving, record.revision))) {
      const present = (await store.read()).leases.some(({ dataCenter }) => dataCenter === leaving);
      if (present) throw new Refusal(`${leaving} has asked for a lease meanwhile`, 'Stop its agents.');
    }
  }
  for (const dc of remaining) {
    onStep(`take the streams from and to ${leaving} away in ${dc}`);
    const agent = await open(dc, 'agent');
    const replication = await open(dc, 'replication');
    await setMembers(agent, remaining);
    await dropReading(agent, leaving);
    for (const stream of streamNames) await dropSlot(replication, slotName(leaving, stream));
    await dropSlot(replication, asideSlotName(leaving));
    await dropRelaySlot({ replication, agent }, leaving);
    await forgetRelayed(agent, leaving);
    // Two have nobody to relay for.
    if (remaining.length === 2) {
      for (const peer of remaining) if (peer !== dc) await dropRelaySlot({ replication, agent }, peer);
    }
    await agent.query('DELETE FROM lanekeeper.frozen WHERE publisher = $1', [leaving]);
    await agent.query('DELETE FROM lanekeeper.joining WHERE dc = $1', [leaving]);
  }
  if (own !== null) {
    onStep(`and in ${leaving}`);
    const replication = await open(leaving, 'replication');
    for (const dc of remaining) {
      await dropReading(own, dc);
      for (const stream of streamNames) await dropSlot(replication, slotName(dc, stream));
      await dropSlot(replication, asideSlotName(dc));
      await dropRelaySlot({ replication, agent: own }, dc);
      await forgetRelayed(own, dc);
    }
    await setMembers(own, [leaving]);
  }
  return { kind: 'left', remaining, cleared: own !== null };
}

/** As the others have it; the first that can be asked. */
async function remainingOf(
  configuration: Configuration,
  leaving: DataCenterName,
  open: Open,
): Promise<readonly DataCenterName[]> {
  const names = Object.keys(configuration.dataCenters).filter((dc) => dc !== leaving);
  let unreached: unknown = null;
  for (const dc of names) {
    try {
      const members = await readMembers(await open(dc, 'agent'));
      // One that has not joined knows of nobody, or of others that do not know it.
      if (members !== null && !members.has(dc)) continue;
      const joined = joinedPeers({ ...configuration, here: dc }, members).filter((one) => one !== leaving);
      return [dc, ...joined].sort(byNumber(configuration));
    } catch (thrown) {
      if (!(thrown instanceof Unreached)) throw thrown;
      unreached ??= thrown;
    }
  }
  if (unreached !== null) throw unreached;
  return [];
}

function byNumber({ dataCenters }: Configuration) {
  return (a: DataCenterName, b: DataCenterName) => (dataCenters[a]?.number ?? 0) - (dataCenters[b]?.number ?? 0);
}

async function refuseHomes(
  agent: Client,
  where: DataCenterName,
  leaving: DataCenterName,
  to: DataCenterName,
): Promise<void> {
  const { rows } = await agent.query<{ own: boolean; n: number; example: string }>(
    `SELECT account LIKE 'claim:%' OR account LIKE 'fixed:%' OR account = '*' AS own, count(*)::float8 AS n, min(account) AS example
      FROM (SELECT account, lanekeeper.resolve(home, term) AS home FROM lanekeeper.deed) d WHERE home = $1 GROUP BY 1 ORDER BY 1`,
    [leaving],
  );
  if (rows.length === 0) return;
  const words = rows.map(({ own, n, example }) =>
    own ? `of ${n} of Lanekeeper's own (${example})` : `of ${n} account${n === 1 ? '' : 's'} (${example})`,
  );
  throw new Refusal(
    `${leaving} is the home ${words.join(' and ')}, as ${where} has it`,
    `Start its agents and bring them away: \`lanekeeper switchover --from ${leaving} --to ${to}\`.`,
  );
}

/** Whatever it wrote last. */
async function awaitArrival(
  own: Client,
  { leaving, arriveWithinMs = 60_000, onStep = () => {} }: LeaveOptions,
  remaining: readonly DataCenterName[],
): Promise<void> {
  onStep(`wait until everything that ${leaving} wrote has arrived`);
  const { rows } = await own.query<{ lsn: string }>('SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS lsn');
  for (const dc of remaining) {
    for (const stream of streamNames) {
      const there = await own.query('SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1', [
        slotName(dc, stream),
      ]);
      // An earlier run was past this.
      if (there.rows.length === 0) continue;
      if (await waitUntilConfirmed(own, dc, stream, rows[0]?.lsn ?? '0/0', arriveWithinMs)) continue;
      throw new Refusal(
        `${dc} has not received everything that ${leaving} wrote`,
        `See \`lanekeeper status\` in ${dc}.`,
      );
    }
  }
}
