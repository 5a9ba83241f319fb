/** What the environment says, checked once at the start. Lanekeeper reads its own `LANEKEEPER_*` variables itself. */
import { defaultCostLog2 } from './accounts/passwords.ts';

export type Settings = {
  /** Default 127.0.0.1. */
  readonly host: string;
  /** Default 3000; 0: any free one. */
  readonly port: number;
  /** Proxies whose `X-Forwarded-For` is believed, for the limit of sign-in attempts. Default `loopback`. */
  readonly trustProxy: string;
  /** What opens the desk (`/desk`); without it the desk is closed. */
  readonly deskPassphrase: string | null;
  /** The payment service. Without it orders are taken and wait to be charged. */
  readonly paymentUrl: string | null;
  /** Cost of a new password hash: log2 of scrypt's N. Default 15; tests take less. */
  readonly scryptCostLog2: number;
  /** Links to the other data centers in the strip that says who served the page. Default on; `STOREFRONT_DEMO=off`. */
  readonly demo: boolean;
  /** Pino's level. Default `info`. */
  readonly logLevel: string;
};

export class SettingsError extends Error {}

export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const deskPassphrase = env.STOREFRONT_DESK_PASSPHRASE || null;
  if (deskPassphrase !== null && deskPassphrase.length < 8) {
    throw new SettingsError('STOREFRONT_DESK_PASSPHRASE has fewer than 8 characters.');
  }
  return Object.freeze({
    host: env.HOST || '127.0.0.1',
    port: integer(env, 'PORT', 3000, 0, 65_535),
    trustProxy: env.STOREFRONT_TRUST_PROXY || 'loopback',
    deskPassphrase,
    paymentUrl: url(env, 'STOREFRONT_PAYMENT_URL'),
    scryptCostLog2: integer(env, 'STOREFRONT_SCRYPT_COST', defaultCostLog2, 4, 20),
    demo: oneOf(env, 'STOREFRONT_DEMO', ['on', 'off']) !== 'off',
    logLevel: oneOf(env, 'LOG_LEVEL', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']) ?? 'info',
  });
}

function integer(env: NodeJS.ProcessEnv, name: string, fallback: number, min: number, max: number): number {
  const written = env[name];
  if (written === undefined || written === '') return fallback;
  const value = /^\d+$/.test(written) ? Number(written) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new SettingsError(`${name} is \`${written}\`: a whole number from ${min} to ${max} is expected.`);
}

function url(env: NodeJS.ProcessEnv, name: string): string | null {
  const written = env[name] || null;
  if (written === null || (URL.canParse(written) && /^https?:/.test(written))) return written;
  throw new SettingsError(`${name} is \`${written}\`: an http:// or https:// address is expected.`);
}

function oneOf(env: NodeJS.ProcessEnv, name: string, values: readonly string[]): string | undefined {
  const written = env[name] || undefined;
  if (written === undefined || values.includes(written)) return written;
  throw new SettingsError(`${name} is \`${written}\`: expected one of ${values.join(', ')}.`);
}
