import type { Queryable } from '../queryable.ts';

export type Takeover = { readonly term: number; readonly from: string; readonly to: string; readonly at: Date };

/** By this data center, and not longer ago than `withinMs`. */
export async function readTakeovers(client: Queryable, withinMs: number): Promise<readonly Takeover[]> {
  const { rows } = await client.query<{ term: string; from_dc: string; to_dc: string; at: Date }>(
    `SELECT s.term, s.from_dc, s.to_dc, s.at FROM lanekeeper.succession s
      WHERE s.kind = 'take' AND s.to_dc = lanekeeper.dc() AND s.at > clock_timestamp() - $1 * interval '1 millisecond'`,
    [withinMs],
  );
  return rows.map(({ term, from_dc, to_dc, at }) => ({ term: Number(term), from: from_dc, to: to_dc, at }));
}
