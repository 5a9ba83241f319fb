/**
 * Signing keys: ES256 (ECDSA on P-256 with SHA-256), as JWK (RFC 7517). Every data center signs with a private key of its
 * own and knows the public keys of all, from the configuration. A key id is `<dc>-<n>`; `n` rises with every rotation, and
 * old public keys stay in the configuration until the last token they signed has expired.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Configuration, dataCenterOfKeyId, type Environment } from '../config/index.ts';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';

export type PublicJwk = {
  readonly kid: string;
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly alg: 'ES256';
  readonly use: 'sig';
  readonly x: string;
  readonly y: string;
};

export type PrivateJwk = PublicJwk & { readonly d: string };

export type SigningKey = {
  readonly kid: string;
  readonly dataCenter: DataCenterName;
  readonly privateKey: KeyObject;
  readonly publicJwk: PublicJwk;
};

export type KeyPair = { readonly privateJwk: PrivateJwk; readonly publicJwk: PublicJwk };

/** A new key pair for `<dataCenter>-<number>`. */
export function generateKeyPair(dataCenter: DataCenterName, number = 1): KeyPair {
  const kid = `${dataCenter}-${number}`;
  if (dataCenterOfKeyId(kid) !== dataCenter) {
    throw new LanekeeperError(
      'LK_CONFIG',
      `\`${kid}\` cannot be a key id: a data center and a number from 1, for example ny-1.`,
    );
  }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x, y, d } = privateKey.export({ format: 'jwk' }) as { x: string; y: string; d: string };
  const publicJwk: PublicJwk = { kid, kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig', x, y };
  return { publicJwk, privateJwk: { ...publicJwk, d } };
}

/** Reads a private JWK. No message repeats what was given: it is a secret. Throws LK_CONFIG. */
export function parseSigningKey(text: string, origin: string): SigningKey {
  const wrong = (what: string) =>
    new LanekeeperError(
      'LK_CONFIG',
      `${origin} ${what}: it should be a private ES256 key as JWK, as \`lanekeeper keys new\` prints it.`,
    );
  let jwk: { kid?: unknown; kty?: unknown; crv?: unknown; x?: unknown; y?: unknown; d?: unknown };
  try {
    jwk = JSON.parse(text);
  } catch {
    throw wrong('is not JSON');
  }
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) throw wrong('is not one key');
  const { kid, kty, crv, x, y, d } = jwk;
  const dataCenter = typeof kid === 'string' ? dataCenterOfKeyId(kid) : null;
  if (typeof kid !== 'string' || dataCenter === null) throw wrong('has no `kid` like ny-1');
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string')
    throw wrong('is not a P-256 key');
  if (typeof d !== 'string') throw wrong('is a public key');
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: { kty, crv, x, y, d }, format: 'jwk' });
    // Importing does not compare the halves; a token signed by halves of two keys would be refused everywhere.
    const probe = Buffer.from(kid);
    const publicKey = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
    if (!verify('sha256', probe, publicKey, sign('sha256', probe, privateKey))) throw wrong('is not a sound key');
  } catch {
    throw wrong('is not a sound key');
  }
  return { kid, dataCenter, privateKey, publicJwk: { kid, kty, crv, alg: 'ES256', use: 'sig', x, y } };
}

/**
 * The private key of this process: LANEKEEPER_SIGNING_KEY (the JWK itself), else LANEKEEPER_SIGNING_KEY_FILE (a file with
 * it). Null when neither is set. Throws LK_CONFIG when it cannot be read or is not a key.
 */
export function readSigningKey(env: Environment): SigningKey | null {
  if (env.LANEKEEPER_SIGNING_KEY) return parseSigningKey(env.LANEKEEPER_SIGNING_KEY, 'LANEKEEPER_SIGNING_KEY');
  const file = env.LANEKEEPER_SIGNING_KEY_FILE;
  if (!file) return null;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new LanekeeperError(
      'LK_CONFIG',
      `LANEKEEPER_SIGNING_KEY_FILE: ${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`,
      {},
      { cause: error },
    );
  }
  return parseSigningKey(text, `LANEKEEPER_SIGNING_KEY_FILE (${file})`);
}

/** A public key and whose it is. */
export type RingKey = { readonly dataCenter: DataCenterName; readonly publicKey: KeyObject };

/** Every public key of the configuration by key id. */
export function publicKeysOf(configuration: Pick<Configuration, 'sessions'>): ReadonlyMap<string, RingKey> {
  const keys = new Map<string, RingKey>();
  for (const { kid, kty, crv, x, y } of configuration.sessions.keys) {
    const dataCenter = typeof kid === 'string' ? dataCenterOfKeyId(kid) : null;
    if (typeof kid !== 'string' || dataCenter === null)
      throw new LanekeeperError('LK_CONFIG', 'A key in `sessions.keys` has no `kid` like ny-1.');
    // Only these members are handed on: whatever else the entry holds is not part of the key.
    keys.set(kid, { dataCenter, publicKey: createPublicKey({ key: { kty, crv, x, y } as JsonWebKey, format: 'jwk' }) });
  }
  return keys;
}
