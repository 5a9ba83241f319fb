/** The session cookie: its domain and the public keys that all data centers verify it with. Part of `resolve.ts`. */
import { createPublicKey } from 'node:crypto';
import type { Configuration, DataCenter } from './configuration.ts';
import { durationMs } from './duration.ts';
import type { Path, Problems } from './problem.ts';
import type { FilledConfiguration } from './schema.ts';

/** `ny-1`: the data center whose key it is, and a number that rises with every rotation. */
const keyIdPattern = /^([a-z][a-z0-9]{0,14})-([1-9]\d{0,5})$/;

/** The data center of a key id, or null when it is not one: `ny-1` → `ny`. */
export function dataCenterOfKeyId(kid: string): string | null {
  return keyIdPattern.exec(kid)?.[1] ?? null;
}

export function resolveSessions(
  written: FilledConfiguration,
  dataCenters: Readonly<Record<string, DataCenter>>,
  problems: Problems,
): Configuration['sessions'] {
  const { sessions } = written;
  const maxAgeMs = durationMs(sessions.maxAge, ['sessions', 'maxAge'], problems, 60_000, 400 * 86_400_000);
  const stickinessMs = durationMs(sessions.stickiness, ['sessions', 'stickiness'], problems, 0, 7 * 86_400_000);
  return {
    cookie: sessions.cookie,
    domain: checkDomain(sessions.domain, dataCenters, problems),
    maxAgeMs,
    stickinessMs,
    concurrent: sessions.concurrent,
    keys: checkKeys(sessions.keys, dataCenters, problems),
  };
}

function checkDomain(
  domain: string | undefined,
  dataCenters: Readonly<Record<string, DataCenter>>,
  problems: Problems,
): string | null {
  if (domain === undefined) return null;
  const path: Path = ['sessions', 'domain'];
  const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
  if (domain.length > 253 || !new RegExp(`^${label}(?:\\.${label})+$`).test(domain) || /\.\d+$/.test(domain)) {
    problems.error(
      path,
      'This is not a parent domain that browsers accept for a cookie',
      'At least two labels in lower case, without a leading dot: `shop.example`.',
    );
    return null;
  }
  for (const dc of Object.values(dataCenters)) {
    if (dc.url === '') continue;
    const { hostname } = new URL(dc.url);
    if (hostname !== domain && !hostname.endsWith(`.${domain}`)) {
      problems.warn(
        path,
        `The url of \`${dc.name}\` is not under ${domain}`,
        'Its customers are handed over by a one-time token instead of recognised by the cookie.',
      );
    }
  }
  return domain;
}

function checkKeys(
  keys: FilledConfiguration['sessions']['keys'],
  dataCenters: Readonly<Record<string, DataCenter>>,
  problems: Problems,
): Configuration['sessions']['keys'] {
  if (typeof keys === 'string') throw new Error('The key file is read before the configuration is resolved.');
  const seen = new Set<string>();
  const covered = new Set<string>();
  for (const [index, key] of keys.entries()) {
    const path: Path = ['sessions', 'keys', index];
    const dc = dataCenterOfKeyId(key.kid);
    if (dc === null) {
      problems.error([...path, 'kid'], 'This is not a key id', 'The data center and a number: `ny-1`.');
    } else if (!Object.hasOwn(dataCenters, dc)) {
      problems.error(
        [...path, 'kid'],
        `The key is for \`${dc}\`, and there is no such data center`,
        'Remove the key, or correct its `kid`.',
      );
    } else covered.add(dc);
    if (seen.has(key.kid))
      problems.error(
        [...path, 'kid'],
        `Two keys have the id \`${key.kid}\``,
        'A new key gets the next number: `lanekeeper keys new`.',
      );
    seen.add(key.kid);
    if ('d' in key) {
      problems.error(
        path,
        `The key \`${key.kid}\` is a private key, and here it can be read by everybody who reads the configuration`,
        'Make a new key, keep its private half in LANEKEEPER_SIGNING_KEY, and write only the public half here.',
      );
    } else if (!isPublicKey(key)) {
      problems.error(
        path,
        `The key \`${key.kid}\` is not an ES256 public key`,
        'A JWK with `kty: EC`, `crv: P-256`, `x` and `y`: `lanekeeper keys new` prints one.',
      );
    }
  }
  for (const name of Object.keys(dataCenters)) {
    if (!covered.has(name)) {
      problems.warn(
        ['sessions', 'keys'],
        `There is no public key of \`${name}\``,
        `Sessions and requests that it signs will be refused: \`lanekeeper keys new --dc ${name}\`.`,
      );
    }
  }
  return keys.map((key) => ({ ...key }));
}

function isPublicKey(key: Readonly<Record<string, unknown>>): boolean {
  const { kty, crv, x, y, alg } = key;
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') return false;
  if (alg !== undefined && alg !== 'ES256') return false;
  try {
    // Refuses coordinates that are not on the curve.
    return createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' }).asymmetricKeyType === 'ec';
  } catch {
    return false;
  }
}
