/** A freshly initialised cluster, made once per machine and user, and copied for every new cluster. */
import { createHash, randomBytes } from 'node:crypto';
import { access, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runLeashed } from '../processes/leash.ts';
import { cacheFolder, randomSuffix } from './cache.ts';
import { giveNewIdentifier } from './identity.ts';
import type { Native } from './native.ts';

/** Sorts by code point and knows the letters of every alphabet, on every machine; before 17 that was the C library's part. */
function initdbArguments({ major }: Native): readonly string[] {
  const locale =
    major >= 17
      ? ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
      : ['--locale=C.UTF-8', '--locale-provider=libc'];
  return [
    '--username=postgres',
    '--encoding=UTF8',
    ...locale,
    '--auth=scram-sha-256',
    '--no-sync',
    '--no-instructions',
  ];
}

/** The first password of a copied cluster's superuser; whoever copies it sets another at once. */
const passwordFile = 'lanekeeper-bootstrap';

/**
 * Copies the template to `dataFolder`, which must not exist, with an identity of its own.
 * @returns the superuser's password, to be changed at the first start.
 */
export async function copyTemplate(native: Native, dataFolder: string): Promise<string> {
  const template = await findTemplate(native);
  await runLeashed('cp', ['-Rp', template, dataFolder], { cwd: '/', timeoutMs: 60_000, user: native.user });
  await giveNewIdentifier(dataFolder);
  const password = await readFile(join(dataFolder, passwordFile), 'utf8');
  await rm(join(dataFolder, passwordFile));
  return password;
}

async function findTemplate(native: Native): Promise<string> {
  const cache = await cacheFolder();
  const args = initdbArguments(native);
  const key = createHash('sha256')
    .update(JSON.stringify([native.build, process.platform, process.arch, native.user?.uid ?? null, args]))
    .digest('hex')
    .slice(0, 12);
  const template = join(cache, `template-${key}`);
  const complete = await access(template).then(
    () => true,
    () => false,
  );
  if (complete) return template;

  const partial = join(cache, `partial-${randomSuffix()}`);
  await mkdir(partial, { mode: 0o700 });
  if (native.user) await chown(partial, native.user.uid, native.user.gid);
  try {
    const data = join(partial, 'data');
    const password = randomBytes(18).toString('base64url');
    const secret = join(partial, 'password');
    await writeFile(secret, password, { mode: 0o600 });
    if (native.user) await chown(secret, native.user.uid, native.user.gid);
    await runLeashed(native.initdb, [...args, `--pwfile=${secret}`, '-D', data], {
      cwd: '/',
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
      user: native.user,
      timeoutMs: 120_000,
    });
    await rename(secret, join(data, passwordFile));
    // Two processes may have made one each: the second finds the folder taken and uses the first's.
    await rename(data, template).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return template;
}
