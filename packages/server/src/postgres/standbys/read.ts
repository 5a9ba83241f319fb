/** What a primary knows of its standbys, for any role that may connect. */
import type { Queryable } from '../queryable.ts';

export type PhysicalSlot = {
  readonly name: string;
  /** Somebody reads from it. */
  readonly active: boolean;
  /** It tells what its queries still need: `hot_standby_feedback`. */
  readonly feedback: boolean;
  /** It tells what logical slots of its own still need: it keeps copies of ours, or has others. */
  readonly keepsSlots: boolean;
};

export type StandbyFacts = {
  /** `server_version_num` */
  readonly version: number;
  /** `cluster_name`: among the configured names the one of this server, which was promoted; empty when it has none. */
  readonly name: string;
  readonly slots: readonly PhysicalSlot[];
  /** `synchronized_standby_slots`: what they lack is sent to no logical reader of a failover slot. Empty before 17. */
  readonly synchronized: readonly string[];
  /** Our streams' slots that no standby keeps a copy of. */
  readonly withoutFailover: readonly string[];
};

export async function readStandbys(client: Queryable): Promise<StandbyFacts> {
  const { rows } = await client.query<Omit<StandbyFacts, 'synchronized'> & { synchronized: string | null }>(
    `SELECT current_setting('server_version_num')::integer AS version, current_setting('cluster_name') AS name,
        current_setting('synchronized_standby_slots', true) AS synchronized,
        (SELECT coalesce(json_agg(json_build_object('name', s.slot_name, 'active', s.active, 'feedback', s.xmin IS NOT NULL,
            'keepsSlots', s.catalog_xmin IS NOT NULL) ORDER BY s.slot_name), '[]')
          FROM pg_catalog.pg_replication_slots s WHERE s.slot_type = 'physical' AND NOT s.temporary) AS slots,
        (SELECT coalesce(json_agg(s.slot_name ORDER BY s.slot_name), '[]') FROM pg_catalog.pg_replication_slots s
          WHERE s.database = current_database() AND s.slot_name ~ '^lanekeeper_.*_(homed|rest)$' AND NOT s.temporary
            AND to_jsonb(s)->>'failover' IS DISTINCT FROM 'true') AS "withoutFailover"`,
  );
  const row = rows[0];
  if (row === undefined) throw new TypeError('no server');
  const synchronized = (row.synchronized ?? '').split(',').map((name) => name.trim().replaceAll('"', ''));
  return { ...row, synchronized: synchronized.filter((name) => name !== '') };
}
