/** Passwords and signing keys of a lab: made once, kept in its folder for its owner only. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RoleName } from 'lanekeeper/config';
import { generateKeyPair, type KeyPair } from 'lanekeeper/session';

export type LabSecrets = {
  readonly passwords: Readonly<Record<RoleName | 'witness', string>>;
  /** By data center. */
  readonly keys: Readonly<Record<string, KeyPair>>;
  /** What opens the storefront's desk. */
  readonly deskPassphrase: string;
};

/** Those of the folder, or new ones; keys of data centers that have none yet are added. */
export function secretsIn(dir: string, dataCenters: readonly string[]): LabSecrets {
  const file = join(dir, 'secrets.json');
  const before = read(file);
  const password = (): string => randomBytes(12).toString('base64url');
  const keys = { ...before?.keys };
  for (const name of dataCenters) keys[name] ??= generateKeyPair(name);
  const secrets: LabSecrets = {
    passwords: before?.passwords ?? {
      owner: password(),
      application: password(),
      agent: password(),
      replication: password(),
      witness: password(),
    },
    keys,
    deskPassphrase: before?.deskPassphrase ?? randomBytes(6).toString('base64url'),
  };
  writeFileSync(file, JSON.stringify(secrets), { mode: 0o600 });
  return secrets;
}

function read(file: string): LabSecrets | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LabSecrets;
  } catch {
    return null;
  }
}

/** Writes the data center's private key where its processes read it. */
export function writeSigningKey(folder: string, pair: KeyPair): string {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const file = join(folder, 'signing-key.json');
  writeFileSync(file, JSON.stringify(pair.privateJwk), { mode: 0o600 });
  return file;
}
