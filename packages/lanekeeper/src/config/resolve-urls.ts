/** URLs in the configuration: checked, brought to one spelling, without secrets. Part of `resolve.ts`. */
import type { Path, Problems } from './problem.ts';

/**
 * A PostgreSQL URL. No message repeats what was written: it may hold a password.
 * `user` says whether a user name may be part of it; `secret` is the variable where its password belongs.
 */
export function checkDatabaseUrl(
  written: string,
  path: Path,
  problems: Problems,
  { user, secret }: { readonly user: 'refused' | 'allowed'; readonly secret: string },
): URL | null {
  const shape = `postgres://${user === 'allowed' ? 'user@' : ''}host:port/database`;
  const url = parse(written);
  if (url === null || (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:')) {
    problems.error(path, 'This is not the URL of a PostgreSQL database', `Write ${shape}.`);
    return null;
  }
  let sound = true;
  const wrong = (message: string, hint: string | null): void => {
    problems.error(path, message, hint);
    sound = false;
  };
  if (url.password !== '' || url.searchParams.has('password')) {
    wrong('A password does not belong in the configuration', `Remove it and set ${secret} in the environment.`);
  }
  if (user === 'refused' && (url.username !== '' || url.searchParams.has('user'))) {
    wrong(
      'The user does not belong in this URL: each role connects as itself',
      'Remove it; the names of the roles are in `roles`.',
    );
  }
  if (url.hostname === '' || url.hostname.includes(',')) wrong('The URL names no single host', `Write ${shape}.`);
  if (databaseName(url) === null) wrong('The URL names no database', `Write ${shape}.`);
  if (url.hash !== '') wrong('A database URL has no part after #', 'Write # as %23.');
  if (!sound) return null;
  url.protocol = 'postgres:';
  return url;
}

function databaseName(url: URL): string | null {
  const name = url.pathname.slice(1);
  if (name === '' || name.includes('/')) return null;
  try {
    return decodeURIComponent(name);
  } catch {
    return null;
  }
}

/** Equal for two URLs that name the same database, as far as text can tell. */
export function databaseIdentity(url: URL): string {
  return `${serverIdentity(url)}/${databaseName(url)}`;
}

export function serverIdentity(url: URL): string {
  return `${url.hostname.toLowerCase()}:${url.port === '' ? '5432' : url.port}`;
}

/** `https://host` or `http://host:port`, without a path; returned as URL.origin spells it. */
export function checkOrigin(
  written: string,
  path: Path,
  problems: Problems,
  credentials = 'Data centers recognise each other by their signing keys.',
): string | null {
  const url = parse(written);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') {
    problems.error(
      path,
      'This is not an http or https URL',
      'Write a scheme, a host and perhaps a port: https://ny.shop.example.',
    );
    return null;
  }
  if (url.username !== '' || url.password !== '') {
    problems.error(path, 'User and password do not belong in this URL', credentials);
    return null;
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    problems.error(path, 'Only scheme, host and port belong here', `Write ${url.origin}.`);
    return null;
  }
  return url.origin;
}

function parse(written: string): URL | null {
  // URL drops tabs and newlines and trims blanks without a word; a name with a blank in it is a mistake here.
  if (/\s/.test(written)) return null;
  return URL.canParse(written) ? new URL(written) : null;
}
