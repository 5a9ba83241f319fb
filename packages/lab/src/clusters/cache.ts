/** A folder for what is costly to make and may be thrown away at any time. */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

export function randomSuffix(): string {
  return randomBytes(6).toString('hex');
}

/**
 * The first of these that is ours and that nobody else may write: `LANEKEEPER_CACHE`, `/var/cache/lanekeeper` for root
 * (another user must be able to reach it), the user's cache folder, a folder in the temporary one.
 */
export async function cacheFolder(env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const uid = process.getuid?.() ?? 0;
  const personal = join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lanekeeper');
  const candidates = [
    ...(env.LANEKEEPER_CACHE ? [env.LANEKEEPER_CACHE] : []),
    uid === 0 ? '/var/cache/lanekeeper' : personal,
    join(tmpdir(), `lanekeeper-cache-${uid}`),
  ];
  for (const folder of candidates) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      const stat = await lstat(folder);
      // Somebody else's folder, or one that others may write, could hold programs that are not PostgreSQL.
      if (stat.isDirectory() && stat.uid === uid && (stat.mode & 0o022) === 0) return folder;
    } catch {
      // Read-only, or its parent is missing and not ours: the next one will do.
    }
  }
  throw new Error(`No folder for cached files can be used: tried ${candidates.join(', ')}; set LANEKEEPER_CACHE`);
}
