/** Both databases of a join, by role. */
import type { Configuration, Environment, RoleName, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect, Unavailable } from '../connect.ts';
import { mergeTables, ownHomedTables, ownRestTables, streamOf } from '../streams/names.ts';

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
};

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

  async get(side: keyof JoinSides, role: RoleName): Promise<Client> {
    const key = `${side} ${role}`;
    const present = this.#open.get(key);
    if (present) return present;
    const { configuration, connect } = this.#sides[side];
    const connected = await connect(role)(applicationName);
    if (connected.kind === 'unavailable') throw new SideUnavailable(configuration.here, role, connected);
    this.#open.set(key, connected.client);
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

export type JoinMark = { readonly id: string; readonly stage: JoinStage };

/** How far an earlier run came; null when there was none, or the two databases do not speak of the same one. */
export async function readMark(sessions: Sessions, target: DataCenterName, source: DataCenterName) {
  const marks: (JoinMark | null)[] = [];
  for (const side of ['target', 'source'] as const) {
    const client = await sessions.get(side, 'agent');
    const there = await client.query<{ there: boolean }>(
      `SELECT to_regclass('lanekeeper.joining') IS NOT NULL AS there`,
    );
    if (there.rows[0]?.there !== true) return null;
    const { rows } = await client.query<JoinMark>(
      'SELECT id, stage FROM lanekeeper.joining WHERE dc = $1 AND source = $2',
      [target, source],
    );
    marks.push(rows[0] ?? null);
  }
  const [ours, theirs] = marks;
  if (!ours || !theirs || ours.id !== theirs.id) return null;
  const earlier = joinStages.indexOf(ours.stage) <= joinStages.indexOf(theirs.stage) ? ours : theirs;
  return earlier;
}

export async function writeMark(
  sessions: Sessions,
  target: DataCenterName,
  source: DataCenterName,
  mark: JoinMark,
): Promise<void> {
  for (const side of ['source', 'target'] as const) {
    await (await sessions.get(side, 'agent')).query(
      `INSERT INTO lanekeeper.joining (dc, source, id, stage) VALUES ($1, $2, $3, $4)
        ON CONFLICT (dc) DO UPDATE SET source = excluded.source, id = excluded.id, stage = excluded.stage, at = clock_timestamp()`,
      [target, source, mark.id, mark.stage],
    );
  }
}

export async function eraseMark(sessions: Sessions, target: DataCenterName): Promise<void> {
  for (const side of ['target', 'source'] as const) {
    await (await sessions.get(side, 'agent')).query('DELETE FROM lanekeeper.joining WHERE dc = $1', [target]);
  }
}

/** Every table that travels between the two, in either direction. */
export function travellingTables(configuration: Configuration, source: DataCenterName): readonly TableName[] {
  const declared = Object.keys(configuration.tables).filter(
    (name) => streamOf(configuration, name, configuration.here) ?? streamOf(configuration, name, source),
  );
  return [...ownHomedTables, ...ownRestTables, ...mergeTables, ...declared.sort()];
}
