/** What the processes of each data center have in their environment, and what roles are called. */
import { join } from 'node:path';
import type { RoleName } from 'lanekeeper/config';
import { type LabSecrets, writeSigningKey } from './secrets.ts';

/** The configuration's defaults. */
export const roleNames: Readonly<Record<RoleName, string>> = {
  owner: 'lanekeeper_owner',
  application: 'lanekeeper_application',
  agent: 'lanekeeper_agent',
  replication: 'lanekeeper_replication',
};

/** By data center: what its processes have in their environment. */
export type Environments = Readonly<Record<string, Record<string, string>>>;

export async function writeEnvironments(
  dir: string,
  names: readonly string[],
  secrets: LabSecrets,
): Promise<Environments> {
  const passwords = Object.fromEntries(
    Object.entries(secrets.passwords).map(([role, password]) => [
      `LANEKEEPER_${role.toUpperCase()}_PASSWORD`,
      password,
    ]),
  );
  return Object.fromEntries(
    names.map((name) => {
      const keyFile = writeSigningKey(join(dir, name), secrets.keys[name] as LabSecrets['keys'][string]);
      return [name, { LANEKEEPER_DC: name, LANEKEEPER_SIGNING_KEY_FILE: keyFile, ...passwords }];
    }),
  );
}
