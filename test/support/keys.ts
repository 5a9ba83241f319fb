/** Signing keys for tests: one ES256 pair per data center, as `lanekeeper keys new` makes them. */
import { generateKeyPairSync } from 'node:crypto';

export type SigningKey = {
  readonly privateJwk: Readonly<Record<string, unknown>>;
  readonly publicJwk: Readonly<Record<string, unknown>> & { readonly kid: string };
};

export function signingKey(dataCenter: string, number = 1): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const named = { kid: `${dataCenter}-${number}`, alg: 'ES256', use: 'sig' };
  return {
    privateJwk: { ...privateKey.export({ format: 'jwk' }), ...named },
    publicJwk: { ...publicKey.export({ format: 'jwk' }), ...named },
  };
}
