/** What `migrate` and `seed` need to know of where they run. */
import { loadConfiguration } from 'lanekeeper/config';

export function ownerUrl(env: NodeJS.ProcessEnv): string {
  const url = env.DATABASE_URL;
  if (!url) throw new Error('DATABASE_URL is not set: which database?');
  return url;
}

/** `LANEKEEPER_APPLICATION_ROLE`, else what the configuration says, else the usual name. */
export async function applicationRole(env: NodeJS.ProcessEnv): Promise<string> {
  if (env.LANEKEEPER_APPLICATION_ROLE) return env.LANEKEEPER_APPLICATION_ROLE;
  if (!env.LANEKEEPER_CONFIG) return 'lanekeeper_application';
  return (await loadConfiguration({ env })).configuration.roles.application;
}

/** The one data center that writes products; null when there is no configuration: then there is only this database. */
export async function feederOfProducts(env: NodeJS.ProcessEnv): Promise<string | null> {
  if (!env.LANEKEEPER_CONFIG) return null;
  const { configuration } = await loadConfiguration({ env });
  return configuration.tables['public.products']?.feeder ?? null;
}
