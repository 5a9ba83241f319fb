/** Values that must be unique in all data centers, claimed at the home of their bucket (protocol.md, Claims). */

import type { Configuration } from 'lanekeeper/config';
import { type AccountId, errorCodeOf } from 'lanekeeper/model';
import { type ClaimPlace, claimPlace, claimValue, releaseClaim } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Peers } from './peers.ts';

export type ClaimRequest = {
  readonly kind: 'claim' | 'release';
  readonly name: string;
  readonly value: string;
  readonly account: AccountId;
  /** Another dc's agent says that we keep it: it is not passed on again. */
  readonly passedOn: boolean;
};

export type ClaimAnswer =
  | { readonly kind: 'claimed' }
  | { readonly kind: 'taken' }
  | { readonly kind: 'released' }
  /** Nobody can say now. `reason` is for a person. */
  | { readonly kind: 'unavailable'; readonly reason: string };

export type ClaimsContext = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly peers: Peers;
};

const passOnMs = 4_000;

export async function requestClaim(context: ClaimsContext, request: ClaimRequest): Promise<ClaimAnswer> {
  const { configuration, database, peers } = context;
  const { here } = configuration;
  const { kind, name, value, account, passedOn } = request;
  const claim = configuration.claims[name];
  if (claim === undefined) return unavailable(`no claim is declared with the name ${name}`);
  if (claim.mode === 'one-dc') {
    // There is nothing to claim where all registrations go to one dc: its own unique index decides.
    if (claim.dataCenter !== here) return unavailable(`every ${name} is registered in ${claim.dataCenter}`);
    return { kind: kind === 'claim' ? 'claimed' : 'released' };
  }
  const place = await database.run((client) => claimPlace(client, name, value));
  if (place.home === null) return unavailable('the claims of this database are not prepared: run `lanekeeper apply`');
  if (place.home === here) return decideHere(context, request, place);
  if (passedOn) return unavailable(`this value is kept in ${place.home}`);
  const method = kind === 'claim' ? 'POST' : 'DELETE';
  const body = { name, value, account, passedOn: true };
  const answer = await peers.call(place.home, { method, path: '/v1/claims', body, timeoutMs: passOnMs });
  const expected: readonly unknown[] = ['claimed', 'taken', 'released', 'unavailable'];
  if (answer.kind === 'answered' && expected.includes(answer.body.kind)) return answer.body as ClaimAnswer;
  return unavailable(`this value is kept in ${place.home}, which does not answer`);
}

async function decideHere(
  { database }: ClaimsContext,
  { kind, name, account }: ClaimRequest,
  { value }: ClaimPlace,
): Promise<ClaimAnswer> {
  try {
    if (kind === 'release') {
      await database.run((client) => releaseClaim(client, name, value, account));
      return { kind: 'released' };
    }
    const ours = await database.run((client) => claimValue(client, name, value, account));
    return { kind: ours ? 'claimed' : 'taken' };
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    // The fence: no lease here, or the bucket is on its way to another dc.
    if (typeof code === 'string' && errorCodeOf(code) !== undefined) return unavailable(String(message));
    throw error;
  }
}

function unavailable(reason: string): ClaimAnswer {
  return { kind: 'unavailable', reason };
}
