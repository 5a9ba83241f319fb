/** Values that must be unique in all data centers: where each is kept, and claiming it there. */
import type { AccountId, DataCenterName } from 'lanekeeper/model';
import type { Queryable } from '../queryable.ts';

export type ClaimPlace = {
  /** The value as it is compared. */
  readonly value: string;
  /** The data center that keeps it, as far as is known here; null before `apply` has made the buckets. */
  readonly home: DataCenterName | null;
};

/** Throws LK008 for a claim that is not declared. */
export async function claimPlace(client: Queryable, name: string, raw: string): Promise<ClaimPlace> {
  const { rows } = await client.query<ClaimPlace>(
    `SELECT n.value, (lanekeeper.claim_holder($1, n.value)).home FROM lanekeeper.claim_normal($1, $2) AS n (value)`,
    [name, raw],
  );
  return rows[0] as ClaimPlace;
}

/** At the value's home; the fence throws elsewhere. False: another account holds it. */
export async function claimValue(client: Queryable, name: string, value: string, account: AccountId): Promise<boolean> {
  const { rows } = await client.query<{ ours: boolean }>('SELECT lanekeeper.claim_value($1, $2, $3) AS ours', [
    name,
    value,
    account,
  ]);
  return rows[0]?.ours === true;
}

/** At the value's home. Without effect when the account does not hold it. */
export async function releaseClaim(client: Queryable, name: string, value: string, account: AccountId): Promise<void> {
  await client.query('SELECT lanekeeper.release_claim($1, $2, $3)', [name, value, account]);
}

/** Confirms claims whose row is there and frees those that nobody used. Only while every stream is up to date. */
export async function sweepClaims(client: Queryable, atMost: number): Promise<number> {
  const { rows } = await client.query<{ freed: number }>('SELECT lanekeeper.sweep_claims($1) AS freed', [atMost]);
  return rows[0]?.freed ?? 0;
}
