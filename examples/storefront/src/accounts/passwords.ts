/**
 * Passwords: scrypt from node:crypto, off the main thread. The cost is written into each hash, so it can be raised without
 * anybody noticing. Default: N = 2^15, r = 8, p = 3, one of the settings OWASP's password storage cheat sheet lists.
 */
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';

const blockSize = 8;
const parallel = 3;
const keyBytes = 32;
export const defaultCostLog2 = 15;

/** `scrypt$<log2 N>$<r>$<p>$<salt>$<key>`, the last two in base64url. */
export async function hashPassword(password: string, costLog2 = defaultCostLog2): Promise<string> {
  const salt = randomBytes(16);
  const key = await derive(password, salt, costLog2, blockSize, parallel);
  return ['scrypt', costLog2, blockSize, parallel, salt.toString('base64url'), key.toString('base64url')].join('$');
}

/** False also for anything that is not one of our hashes. Takes as long for a wrong password as for the right one. */
export async function checkPassword(password: string, hash: string): Promise<boolean> {
  const match = /^scrypt\$(\d{1,2})\$(\d{1,2})\$(\d{1,2})\$([\w-]+)\$([\w-]+)$/.exec(hash);
  if (match === null) return false;
  const [costLog2, r, p] = match.slice(1, 4).map(Number) as [number, number, number];
  if (costLog2 < 1 || costLog2 > 20 || r < 1 || p < 1) return false;
  const expected = Buffer.from(match[5]!, 'base64url');
  const key = await derive(password, Buffer.from(match[4]!, 'base64url'), costLog2, r, p);
  return key.length === expected.length && timingSafeEqual(key, expected);
}

function derive(password: string, salt: Buffer, costLog2: number, r: number, p: number): Promise<Buffer> {
  const N = 2 ** costLog2;
  const options: ScryptOptions = { N, r, p, maxmem: 128 * r * (N + p) + 1_048_576 };
  // The same letters typed on another keyboard are the same password.
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, keyBytes, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}
