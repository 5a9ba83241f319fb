/** A lab for drills only: a child process, which goes when we go, however we go. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ApproachName } from 'lanekeeper/model';
import { lanekeeperProgram } from '../lab/application.ts';
import type { LabDescription } from '../lab/description.ts';
import { watchOver } from '../processes/caretaker.ts';
import { type LeashedProcess, spawnLeashed } from '../processes/leash.ts';
import { sleepMs } from '../processes/observe.ts';

export type OwnLab = { readonly description: LabDescription; stop(): Promise<void> };

const readyTimeoutMs = 180_000;
const stopTimeoutMs = 30_000;
/** A fresh cluster of the lab has about 100 MB, with its WAL. */
const smallDiskMb = 320;

/** What a fault asks of the lab that it is drilled in; a lab is used again only by drills that ask for the same. */
export type LabKind = 'plain' | 'etcd' | 'clocks' | 'small-disk' | 'standbys';

/** Throws, with the end of what it printed, when it does not come up. */
export async function startOwnLab(options: {
  readonly roundTripMs: number;
  readonly env: NodeJS.ProcessEnv;
  readonly kind: LabKind;
  /** libfaketime, for `clocks`. */
  readonly clocks: string | null;
  readonly dataCenters: readonly string[];
  /** Default: that of the storefront. */
  readonly approach?: ApproachName;
}): Promise<OwnLab> {
  // Its pointer for other commands goes where nobody else's is.
  const directory = await mkdtemp(join(tmpdir(), 'lanekeeper-drill-'));
  const removed = watchOver({ folders: [directory] });
  const { LANEKEEPER_LAB: _lab, LANEKEEPER_CONFIG: _config, LANEKEEPER_DC: _dc, ...inherited } = options.env;
  const env = {
    ...inherited,
    ...(options.kind === 'clocks' ? { LANEKEEPER_LAB_CLOCKS: options.clocks ?? '' } : {}),
    ...(options.kind === 'standbys' ? { LANEKEEPER_LAB_STANDBYS: '1' } : {}),
  };
  const approach = options.approach === undefined ? [] : ['--approach', options.approach];
  const args =
    options.kind === 'small-disk'
      ? ['--dir', await smallDisks(directory, options.dataCenters)]
      : options.kind === 'etcd'
        ? ['--leases', 'etcd']
        : [];
  const leashed = await spawnLeashed(
    process.execPath,
    [
      lanekeeperProgram(),
      'lab',
      '--json',
      '--rtt',
      `${options.roundTripMs}ms`,
      '--data-centers',
      options.dataCenters.join(','),
      '--stickiness',
      '2s',
      ...approach,
      ...args,
    ],
    { cwd: directory, env, stdout: 'pipe', stderr: 'pipe' },
  );
  const stop = async (): Promise<void> => {
    leashed.signal('SIGTERM');
    const patience = new AbortController();
    await Promise.race([leashed.exited, sleepMs(stopTimeoutMs, patience.signal)]);
    patience.abort();
    leashed.signal('SIGKILL');
    await leashed.exited;
    if (options.kind === 'small-disk') await unmount(directory, options.dataCenters);
    await rm(directory, { recursive: true, force: true });
    removed();
  };
  try {
    return { description: await readDescription(leashed), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Only in a mount namespace of our own: with its last process they are gone. */
async function smallDisks(directory: string, names: readonly string[]): Promise<string> {
  await chmod(directory, 0o711);
  const dir = join(directory, 'lab');
  // The lab's own mark: otherwise it would not touch a folder in which something is.
  await mkdir(join(dir, 'lanekeeper-lab'), { recursive: true });
  for (const disk of disksIn(directory, names)) {
    await mkdir(disk, { recursive: true, mode: 0o755 });
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', `size=${smallDiskMb}m,mode=0755`, 'lanekeeper', disk]);
  }
  return dir;
}

function disksIn(directory: string, names: readonly string[]): readonly string[] {
  return names.map((name) => join(directory, 'lab', name, 'postgres'));
}

async function unmount(directory: string, names: readonly string[]): Promise<void> {
  for (const disk of disksIn(directory, names)) await promisify(execFile)('umount', ['-l', disk]).catch(() => {});
}

function readDescription(leashed: LeashedProcess): Promise<LabDescription> {
  const { stdout, stderr } = leashed.child;
  let complaints = '';
  stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = `${complaints}${text}`.slice(-4_000);
  });
  return new Promise((resolve, reject) => {
    let text = '';
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`The lab for the drills ${why}\n${text}${complaints}`.trim()));
    };
    const timer = setTimeout(() => fail(`was not ready after ${readyTimeoutMs / 1000} s`), readyTimeoutMs);
    stdout?.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end === -1) return;
      clearTimeout(timer);
      const line = text.slice(0, end);
      text = '';
      try {
        const said = JSON.parse(line) as LabDescription | { readonly error: { readonly message: string } };
        if ('error' in said) fail(`did not come up: ${said.error.message.slice(0, 2_000)}`);
        else resolve(said);
      } catch {
        fail(`printed something else: ${line.slice(0, 400)}`);
      }
    });
    void leashed.exited.then(({ code, signal }) => fail(`ended (${signal ?? `code ${code}`})`));
  });
}
