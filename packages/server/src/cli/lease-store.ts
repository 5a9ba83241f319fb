/** The lease store that the configuration names, ready to be asked. */
import { readFileSync } from 'node:fs';
import { type Configuration, witnessPassword, witnessUrl } from 'lanekeeper/config';
import { LanekeeperError, type LeaseStore } from 'lanekeeper/model';
import { etcdLeaseStore, postgresLeaseStore } from '../lease/index.ts';

/** Throws LK_CONFIG when a password or a file of its certificates is missing. */
export function openLeaseStore(configuration: Configuration, env: NodeJS.ProcessEnv): LeaseStore {
  const { here, cluster, leases } = configuration;
  if (leases.store === 'postgres') {
    const url = witnessUrl(configuration, env, here);
    return postgresLeaseStore({ url, cluster, applicationName: `lanekeeper agent ${here}` });
  }
  const password = witnessPassword(env, here);
  if (leases.user !== null && password === null)
    throw new LanekeeperError(
      'LK_CONFIG',
      `leases.user is ${leases.user}, and LANEKEEPER_WITNESS_PASSWORD is not set: etcd would refuse it.`,
    );
  const login = leases.user === null ? null : { user: leases.user, password: password as string };
  const tls = Object.fromEntries(
    Object.entries(leases.tls).flatMap(([name, file]) => (file === null ? [] : [[name, readPem(name, file)]])),
  );
  return etcdLeaseStore({ endpoints: leases.endpoints, login, tls, cluster });
}

function readPem(name: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new LanekeeperError('LK_CONFIG', `leases.tls.${name}: ${file} cannot be read (${code}).`);
  }
  if (text.includes('-----BEGIN ')) return text;
  throw new LanekeeperError('LK_CONFIG', `leases.tls.${name}: ${file} is not a PEM file.`);
}
