/**
 * Which of the configured data centers take part. One that has not joined yet, or has left, is read by nobody and waited for by
 * nobody; that it is configured already is no mistake.
 */
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';
import { peersOf } from './names.ts';

/** Null: nothing is written down, which means that all take part. */
export type Members = ReadonlySet<DataCenterName> | null;

export async function readMembers(client: Queryable): Promise<Members> {
  const { rows: there } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('lanekeeper.member') IS NOT NULL AS there`,
  );
  if (there[0]?.there !== true) return null;
  const { rows } = await client.query<{ dc: DataCenterName }>('SELECT dc FROM lanekeeper.member');
  return rows.length === 0 ? null : new Set(rows.map(({ dc }) => dc));
}

/** The other data centers that take part, in the order of their numbers. */
export function joinedPeers(configuration: Configuration, members: Members): readonly DataCenterName[] {
  return peersOf(configuration).filter((dc) => members === null || members.has(dc));
}

/** Those that are configured and do not. */
export function absentPeers(configuration: Configuration, members: Members): readonly DataCenterName[] {
  return peersOf(configuration).filter((dc) => members !== null && !members.has(dc));
}

export async function addMembers(client: Queryable, dcs: readonly DataCenterName[]): Promise<void> {
  await client.query('INSERT INTO lanekeeper.member (dc) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING', [dcs]);
}

/** Exactly these. */
export async function setMembers(client: Queryable, dcs: readonly DataCenterName[]): Promise<void> {
  await client.query(
    `WITH gone AS (DELETE FROM lanekeeper.member WHERE NOT dc = ANY ($1))
    INSERT INTO lanekeeper.member (dc) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`,
    [dcs],
  );
}
