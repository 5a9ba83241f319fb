/** Streams that somebody lets stand still for a moment, and what becomes of them when he is gone. */
import { releaseApplyLock, takeApplyLock } from '../apply-lock.ts';
import { quoteName } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';

/**
 * Enables again what was disabled for a moment, where nobody does that any more. `locked`: by the one who did it, who holds the
 * lock of those who change streams. Returns the names of what goes on.
 */
export async function resumePaused(client: Queryable, locked = false): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(`SELECT p.subscription AS name FROM lanekeeper.paused p`);
  if (rows.length === 0) return [];
  if (!locked && (await takeApplyLock(client, 0, () => {}, 'streams')).kind === 'held') return [];
  try {
    await client.query('BEGIN');
    const { rows: still } = await client.query<{ name: string }>(
      `DELETE FROM lanekeeper.paused p RETURNING p.subscription AS name`,
    );
    for (const { name } of still) {
      const there = await client.query(
        `SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
          WHERE d.datname = current_database() AND s.subname = $1 AND NOT s.subenabled
            AND NOT EXISTS (SELECT FROM lanekeeper.frozen f WHERE s.subname LIKE 'lanekeeper\\_' || f.publisher || '\\_%')`,
        [name],
      );
      if (there.rows.length > 0) await client.query(`ALTER SUBSCRIPTION ${quoteName(name)} ENABLE`);
    }
    await client.query('COMMIT');
    return still.map(({ name }) => name);
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  } finally {
    if (!locked) await releaseApplyLock(client, 'streams');
  }
}
