/** The databases of a join, by role. */
import { randomUUID } from 'node:crypto';
import type { Configuration, Environment, RoleName, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect, Unavailable } from '../connect.ts';
import { mergeTables, ownHomedTables, ownRestTables } from '../streams/names.ts';

export type JoinSide = {
  /** As this data center's own processes have it: `here` is this one, addresses are as seen from it. */
  readonly configuration: Configuration;
  /** Passwords, for the connection strings of its subscriptions. */
  readonly env: Environment;
  /** To this data center's database, from where the join runs. */
  readonly connect: (role: RoleName) => Connect;
};

export type JoinSides = {
  /** Is seeded. */
  readonly target: JoinSide;
  /** Has what it is seeded with. */
  readonly source: JoinSide;
  /** All others that take part; it reads them, too. Default: none. */
  readonly peers?: readonly JoinSide[];
};

/** Everybody but the one that is seeded. */
export function othersOf({ source, peers = [] }: JoinSides): readonly JoinSide[] {
  return [source, ...peers];
}

/** To whoever takes part. */
export function connectIn(sides: JoinSides, role: RoleName): (dc: DataCenterName) => Connect {
  const all = [sides.target, ...othersOf(sides)];
  return (dc) =>
    all.find(({ configuration }) => configuration.here === dc)?.connect(role) ??
    (async () => ({ kind: 'unavailable', reason: 'unreachable', message: `${dc} does not take part`, code: null }));
}

/** Ends a run; what was done stays done. */
export class Stopped extends Error {
  readonly hint: string | null;

  constructor(why: string, hint: string | null = null) {
    super(why);
    this.hint = hint;
  }
}

/** A database could not be used as one of the roles. */
export class SideUnavailable extends Error {
  readonly dataCenter: DataCenterName;
  readonly role: RoleName;
  readonly failure: Unavailable;

  constructor(dataCenter: DataCenterName, role: RoleName, failure: Unavailable) {
    super(failure.message);
    this.dataCenter = dataCenter;
    this.role = role;
    this.failure = failure;
  }
}

const applicationName = 'lanekeeper join';

/** Connections that are made when they are first asked for, one per side and role. */
export class Sessions {
  readonly #sides: JoinSides;
  readonly #open = new Map<string, Client>();

  constructor(sides: JoinSides) {
    this.#sides = sides;
  }

  get(side: 'target' | 'source', role: RoleName): Promise<Client> {
    return this.of(this.#sides[side], role);
  }

  async of(side: JoinSide, role: RoleName): Promise<Client> {
    const key = `${side.configuration.here} ${role}`;
    const present = this.#open.get(key);
    if (present) return present;
    const client = await this.open(side, role, applicationName);
    this.#open.set(key, client);
    return client;
  }

  /** One more, which the caller ends. */
  async open({ configuration, connect }: JoinSide, role: RoleName, name: string): Promise<Client> {
    const connected = await connect(role)(name);
    if (connected.kind === 'unavailable') throw new SideUnavailable(configuration.here, role, connected);
    return connected.client;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((client) => client.end().catch(() => {})));
  }
}

/** The mark of a join, the same in both databases. */
export type JoinStage = 'begun' | 'kept' | 'cleared' | 'copying' | 'copied' | 'reading' | 'verified';

export const joinStages: readonly JoinStage[] = [
  'begun',
  'kept',
  'cleared',
  'copying',
  'copied',
  'reading',
  'verified',
];

export type JoinMark = {
  readonly id: string;
  readonly stage: JoinStage;
  readonly detail: {
    /** The view in which it was cleared: a takeover since then makes everything begin again. */
    readonly term?: number;
    /** From where streams are read, see `snapshot.ts`. */
    readonly positions?: Readonly<Record<DataCenterName, { readonly homed: string; readonly rest: string }>>;
  };
};

type StoredMark = JoinMark & { readonly source: DataCenterName };

/**
 * How far an earlier run came; null when there was none. Where the two databases do not speak of the same one, it begins anew; but
 * once the tables were emptied, what is in them is no data center's own any more, and nothing of it is kept.
 */
export async function readMark(
  sessions: Sessions,
  target: DataCenterName,
  source: DataCenterName,
): Promise<JoinMark | null> {
  const marks: (StoredMark | null)[] = [];
  for (const side of ['target', 'source'] as const) {
    const client = await sessions.get(side, 'agent');
    const there = await client.query<{ there: boolean }>(
      `SELECT to_regclass('lanekeeper.joining') IS NOT NULL AS there`,
    );
    if (there.rows[0]?.there !== true) {
      marks.push(null);
      continue;
    }
    const { rows } = await client.query<StoredMark>(
      'SELECT id, source, stage, detail FROM lanekeeper.joining WHERE dc = $1',
      [target],
    );
    marks.push(rows[0] ?? null);
  }
  const [ours, theirs] = marks;
  if (!ours) return null;
  const order = ({ stage }: JoinMark) => joinStages.indexOf(stage);
  const same = theirs && ours.id === theirs.id && ours.source === source && theirs.source === source;
  const earlier = same && order(theirs) < order(ours) ? theirs : ours;
  // A copy that did not get to its end has lost its snapshot.
  const began = order(earlier) > joinStages.indexOf('kept') && order(earlier) <= joinStages.indexOf('copying');
  if (!same) return order(ours) > joinStages.indexOf('kept') ? { id: randomUUID(), stage: 'kept', detail: {} } : null;
  return { id: ours.id, stage: began ? 'kept' : earlier.stage, detail: ours.detail };
}

export async function writeMark(
  sessions: Sessions,
  target: DataCenterName,
  source: DataCenterName,
  mark: JoinMark,
): Promise<void> {
  for (const side of ['source', 'target'] as const) {
    await (await sessions.get(side, 'agent')).query(
      `INSERT INTO lanekeeper.joining (dc, source, id, stage, detail) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (dc) DO UPDATE SET source = excluded.source, id = excluded.id, stage = excluded.stage, detail = excluded.detail, at = clock_timestamp()`,
      [target, source, mark.id, mark.stage, JSON.stringify(mark.detail)],
    );
  }
}

export async function eraseMark(sessions: Sessions, target: DataCenterName): Promise<void> {
  for (const side of ['target', 'source'] as const) {
    await (await sessions.get(side, 'agent')).query('DELETE FROM lanekeeper.joining WHERE dc = $1', [target]);
  }
}

/** Every table that travels as it is, from wherever it comes. */
export function travellingTables({ tables }: Configuration): readonly TableName[] {
  const declared = Object.values(tables)
    .filter((table) => table.class === 'system-of-record' || table.feeder !== null)
    .map(({ name }) => name);
  return [...ownHomedTables, ...ownRestTables, ...mergeTables, ...declared.sort()];
}
