/** The slot that is read: whether it still has what is asked for, and the copy of it that is read in its place. */
import { quoteText } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import type { Lsn } from './lsn.ts';

export type SlotPosition = {
  /** What the reader has confirmed last: transactions that committed before it are not shown any more. */
  readonly confirmedLsn: Lsn;
  /** From here on the slot keeps the log. */
  readonly restartLsn: Lsn;
};

export type SlotLost = {
  readonly kind: 'slot-lost';
  /**
   * `missing`: there is none of this name. `invalidated`: it lost the log it needs (`wal_status` is `lost`, or see
   * `invalidation_reason`). `foreign`: it is of another database or plugin, or was never finished. `beyond-cut`: it
   * begins later than it may.
   */
  readonly reason: 'missing' | 'invalidated' | 'foreign' | 'beyond-cut';
  /** One sentence for a person. */
  readonly message: string;
  readonly slot: SlotPosition | null;
};

export type SlotReading = { readonly kind: 'usable'; readonly slot: SlotPosition } | SlotLost;

type SlotRow = {
  readonly plugin: string | null;
  readonly ours: boolean;
  readonly status: string | null;
  readonly invalidated: string | null;
  readonly confirmed: Lsn | null;
  readonly restart: Lsn | null;
};

export async function readSlotPosition(client: Queryable, name: string): Promise<SlotReading> {
  const { rows } = await client.query<SlotRow>(
    // Columns that only later versions have are looked for in the row as a whole.
    `SELECT s.plugin, s.database IS NOT DISTINCT FROM current_database() AS ours, s.wal_status AS status,
        pg_catalog.to_jsonb(s) ->> 'invalidation_reason' AS invalidated,
        s.confirmed_flush_lsn::text AS confirmed, s.restart_lsn::text AS restart
      FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1`,
    [name],
  );
  return judgeSlot(name, rows[0] ?? null);
}

function judgeSlot(name: string, row: SlotRow | null): SlotReading {
  const lost = (reason: SlotLost['reason'], message: string): SlotLost => ({
    kind: 'slot-lost',
    reason,
    message,
    slot: null,
  });
  if (row === null) return lost('missing', `there is no slot ${name}`);
  if (!row.ours || row.plugin !== 'pgoutput')
    return lost('foreign', `slot ${name} is not a pgoutput slot of this database`);
  if (row.invalidated !== null || row.status === 'lost') {
    return lost('invalidated', `slot ${name} has lost the log that it needs (${row.invalidated ?? row.status})`);
  }
  if (row.confirmed === null || row.restart === null) return lost('foreign', `slot ${name} was never finished`);
  return { kind: 'usable', slot: { confirmedLsn: row.confirmed, restartLsn: row.restart } };
}

/** Makes a copy that ends with the session, and returns its name. Also possible while somebody reads the original. */
export async function copySlot(client: Queryable, name: string): Promise<string> {
  const { rows } = await client.query<{ copy: string }>(
    `SELECT slot_name AS copy FROM pg_catalog.pg_copy_logical_replication_slot($1, 'lanekeeper_peek_' || pg_backend_pid(), true)`,
    [name],
  );
  return (rows[0] as { copy: string }).copy;
}

export async function dropCopy(client: Queryable, copy: string): Promise<void> {
  await client.query('SELECT pg_catalog.pg_drop_replication_slot($1)', [copy]);
}

export type PortionOptions = {
  readonly publications: readonly string[];
  /** `none`: only what was written in this database; `any`: also what came by replication. */
  readonly origin: 'none' | 'any';
  readonly upToLsn: Lsn;
  /** The portion ends with the transaction that reaches this number of messages. */
  readonly messages: number;
};

/** The query for the next portion of the copy, with its values written in, as DECLARE takes no parameters. */
export function portionQuery(copy: string, options: PortionOptions): string {
  const names = options.publications.map((name) => `"${name.replaceAll('"', '""')}"`).join(',');
  const plugin = ['proto_version', '1', 'publication_names', names, 'origin', options.origin];
  return `SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes(${quoteText(copy)}, ${quoteText(options.upToLsn)},
    ${options.messages}, ${plugin.map(quoteText).join(', ')})`;
}
