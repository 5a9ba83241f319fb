/**
 * The lab's folder. Without `--dir` it is a temporary one, with a pointer `.lanekeeper/lab.json` in the working folder
 * so that other commands find it; both are gone when the lab has stopped, also when it was killed. With `--keep` the
 * folder stays, and the next lab in it comes up with the same data, keys and passwords.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { findNative } from '../clusters/native.ts';
import { watchOver } from '../processes/caretaker.ts';
import { runLeashed } from '../processes/leash.ts';
import { isSameProcess } from '../processes/observe.ts';
import { type LabDescription, labFileName, readDescription, writeDescription } from './description.ts';

export type LabFolder = {
  /** Absolute. */
  readonly dir: string;
  /** Where the clusters are: `dir`, or a folder that the user PostgreSQL runs as can reach. */
  readonly clusters: string;
  readonly keep: boolean;
  /** Makes the lab known. */
  announce(description: LabDescription): void;
  /** Removes what is not to be kept. Safe to repeat. */
  release(): Promise<void>;
};

export type OpenResult =
  | { readonly kind: 'opened'; readonly folder: LabFolder }
  /** Another lab runs in it. */
  | { readonly kind: 'busy'; readonly pid: number }
  /** It holds something that is not a lab's, which we would not want to remove. */
  | { readonly kind: 'foreign'; readonly dir: string };

const markFile = 'lanekeeper-lab';

export async function openFolder(options: {
  readonly directory: string;
  readonly dir?: string | undefined;
  readonly keep: boolean;
}): Promise<OpenResult> {
  let dir: string;
  let made = true;
  if (options.dir === undefined) {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'lanekeeper-lab-')));
  } else {
    const wanted = resolve(options.directory, options.dir);
    made = !existsSync(wanted);
    await mkdir(wanted, { recursive: true });
    dir = await realpath(wanted);
    const running = readDescription(join(dir, labFileName));
    if (running && (await isSameProcess(running.pid, running.processStart))) return { kind: 'busy', pid: running.pid };
    const entries = await readdir(dir);
    if (entries.length > 0 && !entries.includes(markFile)) return { kind: 'foreign', dir };
  }
  // The user PostgreSQL runs as has to walk through; what is secret in here is readable for us only.
  if (made) await chmod(dir, 0o711);
  await mkdir(join(dir, markFile), { recursive: true });
  const clusters = await clustersFolder(dir);
  const pointer = options.dir === undefined ? pointerIn(options.directory) : null;

  const own = [{ path: join(dir, labFileName), text: dir }];
  const caretaker = watchOver({
    folders: options.keep ? [] : [...new Set([dir, clusters])],
    files: [...own, ...(pointer ? [{ path: pointer.file, text: JSON.stringify(dir) }] : [])],
  });
  let released = false;
  return {
    kind: 'opened',
    folder: {
      dir,
      clusters,
      keep: options.keep,
      announce(description) {
        writeDescription(join(dir, labFileName), description);
        if (pointer) pointer.write(description);
      },
      async release() {
        if (released) return;
        released = true;
        await rm(join(dir, labFileName), { force: true });
        if (pointer) await pointer.remove();
        if (!options.keep) {
          await rm(clusters, { recursive: true, force: true });
          await rm(dir, { recursive: true, force: true });
        }
        caretaker();
      },
    },
  };
}

/**
 * A folder below root's home cannot be reached by the user that PostgreSQL runs as; then the data live in /var/tmp,
 * always under the same name, so that a kept lab finds them again.
 */
async function clustersFolder(dir: string): Promise<string> {
  const { user } = await findNative();
  if (!user) return dir;
  const reachable = await runLeashed('/bin/sh', ['-c', 'cd -- "$1"', 'sh', dir], {
    cwd: '/',
    user,
    timeoutMs: 10_000,
  }).then(
    () => true,
    () => false,
  );
  if (reachable) return dir;
  const elsewhere = join('/var/tmp', `lanekeeper-lab-${createHash('sha256').update(dir).digest('hex').slice(0, 12)}`);
  await mkdir(elsewhere, { recursive: true, mode: 0o711 });
  return elsewhere;
}

type Pointer = { readonly file: string; write(description: LabDescription): void; remove(): Promise<void> };

function pointerIn(directory: string): Pointer {
  const folder = join(directory, '.lanekeeper');
  const file = join(folder, labFileName);
  let written = false;
  return {
    file,
    write(description) {
      const other = readDescription(file);
      // Two labs side by side in one working folder: the first one is found, the second by LANEKEEPER_LAB.
      if (other && existsSync(join(other.dir, labFileName))) return;
      try {
        mkdirSync(folder, { recursive: true });
        writeDescription(file, description);
        written = true;
      } catch {
        // A working folder that cannot be written is no reason not to run.
      }
    },
    async remove() {
      if (!written) return;
      await rm(file, { force: true });
      await rmdir(folder).catch(() => {});
    },
  };
}
