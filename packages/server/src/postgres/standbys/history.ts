/** Where the timelines ended that a promoted database goes on from: its history file, which any replication role may ask for. */
import type { Incarnation } from 'lanekeeper/model';
import { isPosition } from 'lanekeeper/model';
import { Client, type ClientConfig } from 'pg';
import type { Connect } from '../connect.ts';

export type EndedTimelines = NonNullable<Incarnation['ended']>;

const withinMs = 5_000;

/**
 * `connect`: to the database that is on this timeline, as the replication role. Null: it cannot be asked, or another server
 * answers there.
 */
export async function readEndedTimelines(
  connect: Connect,
  { systemIdentifier, timeline }: Pick<Incarnation, 'systemIdentifier' | 'timeline'>,
): Promise<EndedTimelines | null> {
  const connected = await connect('lanekeeper history');
  if (connected.kind === 'unavailable') return null;
  const { host, port, user, password, database, ssl } = connected.client;
  await connected.client.end();
  // A connection that speaks the replication protocol, to where the ordinary one went.
  const config: ClientConfig & { replication: 'database' } = {
    host,
    port,
    ssl,
    replication: 'database',
    connectionTimeoutMillis: withinMs,
    query_timeout: withinMs,
    ...(user === undefined ? {} : { user }),
    ...(password == null ? {} : { password }),
    ...(database === undefined ? {} : { database }),
  };
  const client = new Client(config);
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ systemid: string; timeline: number | string }>('IDENTIFY_SYSTEM');
    if (rows[0]?.systemid !== systemIdentifier || Number(rows[0].timeline) !== timeline) return null;
    const answer = await client.query<{ content: string | Buffer }>(`TIMELINE_HISTORY ${Math.trunc(timeline)}`);
    return parseHistory(String(answer.rows[0]?.content ?? ''));
  } catch {
    return null;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Lines of timeline, position and reason, apart by tabs; what makes no sense is left out, and so proves nothing. */
export function parseHistory(text: string): EndedTimelines {
  return text.split('\n').flatMap((line) => {
    const [timeline, at] = line.trim().split(/\s+/);
    const number = Number(timeline);
    return Number.isSafeInteger(number) && number > 0 && isPosition(at) ? [{ timeline: number, at }] : [];
  });
}
