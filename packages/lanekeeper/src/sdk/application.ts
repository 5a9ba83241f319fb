/** Which application writes: `lanekeeper.application` on its connections, for `application-weight` and for the log of conflicts. */
import { LanekeeperError } from '../model/index.ts';

/** As `merge.applications` in the configuration names them. */
const name = /^[a-z][a-z0-9_-]{0,31}$/;

/**
 * From the option, else `LANEKEEPER_APPLICATION`; null: it does not say.
 * @throws {LanekeeperError} `LK_CONFIG` when it is no name
 */
export function applicationOf(option: string | undefined, env: NodeJS.ProcessEnv): string | null {
  const given = option ?? (env.LANEKEEPER_APPLICATION || null);
  if (given === null || name.test(given)) return given;
  throw new LanekeeperError(
    'LK_CONFIG',
    `${given} is no name of an application: small letters, digits, _ and -, at most 32, a letter first.`,
  );
}

/** The URL for connections of this application. */
export function asApplication(url: string, application: string | null): string {
  return application === null ? url : withOptions(url, `-c lanekeeper.application=${application}`);
}

/** Beside what the URL has already: what pg is given apart from a URL does not count where the URL has it too. */
export function withOptions(url: string, options: string | undefined): string {
  if (options === undefined) return url;
  const parsed = new URL(url);
  const present = parsed.searchParams.get('options');
  parsed.searchParams.set('options', present === null ? options : `${present} ${options}`);
  return parsed.href;
}
