/** The connection strings of subscriptions: what is in them, and whether a stored one is still the configured one. */
import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';

/**
 * The URL as libpq understands it, under a name of its own: `pg_stat_replication` then shows who reads, and a synchronous
 * commit can wait for it by that name. A subscription of a role that is not a superuser needs the password in it.
 */
export function subscriptionConnection(url: string, applicationName: string): string {
  const connection = new URL(url);
  connection.searchParams.set('application_name', applicationName);
  if (!connection.searchParams.has('connect_timeout')) connection.searchParams.set('connect_timeout', '5');
  return connection.href;
}

/** Salted and slow, because there is a password in it. */
export function hashConnection(connection: string, salt: Buffer = randomBytes(16)): string {
  return `${salt.toString('base64url')}.${scryptSync(connection, salt, 32).toString('base64url')}`;
}

export function isSameConnection(connection: string, stored: string): boolean {
  const [salt, hash] = stored.split('.');
  if (!salt || !hash) return false;
  const expected = Buffer.from(hash, 'base64url');
  const actual = scryptSync(connection, Buffer.from(salt, 'base64url'), 32);
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}
