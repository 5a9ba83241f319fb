/** Streams into the one that joins: made by the slots that are there, and begun where the snapshot ends. */
import { databaseUrl } from 'lanekeeper/config';
import type { Client } from 'pg';
import { forgetFrozen } from '../deeds/successions.ts';
import { quoteName } from '../fence/names.ts';
import { subscribe } from '../streams/ensure.ts';
import { publicationNames, slotName, streamNames, subscriptionName } from '../streams/names.ts';
import { type JoinSide, type JoinSides, othersOf, type Sessions, Stopped } from './sides.ts';
import type { Positions } from './snapshot.ts';

/** Repeatable: a stream that has begun is left alone. */
export async function attach(sessions: Sessions, sides: JoinSides, positions: Positions): Promise<void> {
  const agent = await sessions.get('target', 'agent');
  for (const side of othersOf(sides)) await attachTo(agent, sides, side, positions);
}

async function attachTo(agent: Client, { target, peers = [] }: JoinSides, side: JoinSide, positions: Positions) {
  const there = side.configuration.here;
  const here = target.configuration.here;
  await forgetFrozen(agent, [there]);
  for (const stream of streamNames) {
    const name = subscriptionName(there, stream);
    const { rows } = await agent.query<{ enabled: boolean }>(
      `SELECT s.subenabled AS enabled FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
        WHERE d.datname = current_database() AND s.subname = $1`,
      [name],
    );
    if (rows[0]?.enabled) continue;
    if (rows.length === 0) {
      const url = databaseUrl(target.configuration, there, 'replication', target.env);
      const publications = publicationNames(stream);
      await subscribe(agent, { name, slot: slotName(here, stream), stream, url, publications, enabled: false });
    }
    const position = positions[there]?.[stream];
    if (position === undefined) throw new Stopped(`nobody knows from where ${there} is to be read`);
    await advanceOrigin(agent, name, position, peers.length > 0);
    await agent.query(`ALTER SUBSCRIPTION ${quoteName(name)} ENABLE`);
  }
}

/**
 * Puts the stream where the snapshot ends, by a transaction as the stream's own worker would commit one. `needed`: its slot begins
 * earlier than that. The source's own slot begins exactly there, and with nobody else it does without.
 */
async function advanceOrigin(agent: Client, subscription: string, position: string, needed: boolean): Promise<void> {
  const { rows } = await agent.query<{ origin: string; may: boolean }>(
    `SELECT 'pg_' || s.oid AS origin,
        pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_session_setup(text)', 'EXECUTE')
          AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_session_reset()', 'EXECUTE')
          AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_xact_setup(pg_lsn, timestamptz)', 'EXECUTE') AS may
      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = $1`,
    [subscription],
  );
  const [found] = rows;
  if (found === undefined) throw new Stopped(`${subscription} is gone`);
  if (!found.may) {
    if (!needed) return;
    throw new Stopped(
      'the agent may not say from where a stream begins',
      '`lanekeeper doctor --sql` prints the rights it lacks.',
    );
  }
  await agent.query('SELECT pg_catalog.pg_replication_origin_session_setup($1)', [found.origin]);
  try {
    await agent.query('BEGIN');
    await agent.query('SET LOCAL synchronous_commit = local');
    await agent.query('SELECT pg_catalog.pg_replication_origin_xact_setup($1::pg_lsn, clock_timestamp())', [position]);
    await agent.query('UPDATE lanekeeper.joining SET at = clock_timestamp()');
    await agent.query('COMMIT');
  } finally {
    await agent.query('ROLLBACK').catch(() => {});
    await agent.query('SELECT pg_catalog.pg_replication_origin_session_reset()');
  }
}
