/** A switchover by hand: everything that one coast holds goes to the other one, which is the only move that there is with one home for all. */
import { Client } from 'pg';
import type { Side } from '../../support/sides.ts';
import { until } from './hand-agent.ts';
import type { TwoCoasts } from './two-coasts.ts';

/** Drain, wait for what is in flight, let every writer finish, name the new home, wait until it knows. */
export async function switchOver(coasts: TwoCoasts, from: Side, to: Side): Promise<void> {
  const giver = new Client({ connectionString: coasts.pair.dc(from).urls.agent });
  await giver.connect();
  try {
    const drained = new Set<string>();
    giver.on('notification', ({ payload }) => {
      const { kind, instance } = JSON.parse(payload ?? '{}');
      if (kind === 'drained') drained.add(instance);
    });
    await giver.query('LISTEN lanekeeper_agent');
    await giver.query("SELECT lanekeeper.begin_drain('*', $1, $2)", [to, Date.now() + 10_000]);
    const { rows } = await giver.query<{ instance: string }>('SELECT lanekeeper.instances() AS instance');
    await until('the instances have drained', () => rows.every(({ instance }) => drained.has(instance)));
    await giver.query('BEGIN; LOCK TABLE lanekeeper.succession IN ACCESS EXCLUSIVE MODE');
    const latest = await giver.query<{ term: string }>(
      'SELECT coalesce(max(term), 1) + 1 AS term FROM lanekeeper.succession',
    );
    const term = Number(latest.rows[0]?.term);
    await giver.query("SELECT lanekeeper.succeed($1, 'switch', $2, $3, NULL, '{}')", [term, from, to]);
    await giver.query('COMMIT');
    for (const dc of coasts.names) {
      await until(`${dc} knows that ${to} is the home`, async () => {
        const known = 'SELECT FROM lanekeeper.succession WHERE term = $1';
        return (await coasts.rows(dc, known, [term])).length === 1;
      });
    }
    for (const dc of coasts.names) {
      coasts.at(dc).agent.successions.push({ term, kind: 'switch', from, to, undoes: null });
    }
  } finally {
    await giver.end();
  }
}
