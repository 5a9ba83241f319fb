/** Where the configuration and the secrets of the environment meet: complete connection URLs. */
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import type { Configuration, RoleName } from './configuration.ts';
import type { Environment } from './interpolate.ts';
import type { PlacelessConfiguration } from './resolve.ts';

/**
 * The complete URL by which `role` connects to the PostgreSQL of `dc` from here. The password is
 * `LANEKEEPER_<DC>_<ROLE>_PASSWORD`, else `LANEKEEPER_<ROLE>_PASSWORD`, for example `LANEKEEPER_NY_AGENT_PASSWORD`;
 * without either the URL has none, for servers that authenticate in another way.
 */
export function databaseUrl(
  configuration: PlacelessConfiguration | Configuration,
  dc: DataCenterName,
  role: RoleName,
  env: Environment,
): string {
  const dataCenter = configuration.dataCenters[dc];
  if (dataCenter === undefined)
    throw new LanekeeperError('LK_CONFIG', `There is no data center \`${dc}\` in the configuration.`);
  const url = new URL(dataCenter.database);
  url.username = encode(configuration.roles[role]);
  const password =
    env[`LANEKEEPER_${dc.toUpperCase()}_${role.toUpperCase()}_PASSWORD`] ||
    env[`LANEKEEPER_${role.toUpperCase()}_PASSWORD`];
  if (password) url.password = encode(password);
  return url.href;
}

/**
 * The complete URL of a witness on PostgreSQL. User: the one written in `leases.url`, else the agent role. Password:
 * `witnessPassword()`. Throws LK_CONFIG for a store that is not on PostgreSQL.
 */
export function witnessUrl(configuration: PlacelessConfiguration, env: Environment, dc?: DataCenterName): string {
  if (configuration.leases.store !== 'postgres')
    throw new LanekeeperError('LK_CONFIG', `The lease store is ${configuration.leases.store}: it has no database.`);
  const url = new URL(configuration.leases.url);
  if (url.username === '') url.username = encode(configuration.roles.agent);
  const password = witnessPassword(env, dc);
  if (password !== null) url.password = encode(password);
  return url.href;
}

/** `LANEKEEPER_<DC>_WITNESS_PASSWORD` of the data center that asks, else `LANEKEEPER_WITNESS_PASSWORD`, else null. */
export function witnessPassword(env: Environment, dc?: DataCenterName): string | null {
  const own = dc === undefined ? undefined : env[`LANEKEEPER_${dc.toUpperCase()}_WITNESS_PASSWORD`];
  return own || env.LANEKEEPER_WITNESS_PASSWORD || null;
}

/** The setters of URL leave `%` alone, so that a password with `%41` in it would be read as another one. */
function encode(text: string): string {
  return encodeURIComponent(text);
}
