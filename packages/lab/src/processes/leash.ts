/**
 * Child processes that cannot outlive us. Every child is started by a few lines of shell that leave a watcher behind
 * and then become the child (`exec`, so its pid is the one we know). The watcher reads a pipe that only we hold open:
 * when we end, however we end (SIGKILL too), the pipe closes and the watcher ends the child. There is no moment
 * between the start of the child and the start of its watcher.
 *
 * Each child leads its own session, so that Ctrl-C in a terminal reaches us only and we stop the others in order.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import type { Writable } from 'node:stream';

export type LeashOptions = {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Standard output and error: a file descriptor, `pipe` or `ignore`. Default `ignore`. */
  readonly stdout?: number | 'pipe' | 'ignore';
  readonly stderr?: number | 'pipe' | 'ignore';
  /** What the watcher sends when we are gone; SIGKILL follows after two seconds. Default TERM. */
  readonly lastSignal?: 'TERM' | 'INT' | 'QUIT' | 'KILL';
  /** Whether signals go to everything the child started (its process group) or to the child alone. Default `group`. */
  readonly scope?: 'group' | 'process';
};

/**
 * `$$` stays the pid of the outer shell inside the subshell, and so of the child after `exec`. A line on the pipe says
 * that the child is gone already and its pid must not be touched any more; end of file says that we are gone.
 */
const watchAndBecome = `
(
  trap '' INT TERM HUP QUIT
  cd /
  if read -r line <&3; then exit 0; fi
  target="$LEASH_SCOPE$$"
  kill -s "$LEASH_SIGNAL" -- "$target" 2>/dev/null
  tries=0
  while [ $tries -lt 20 ] && kill -0 "$$" 2>/dev/null; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL -- "$target" 2>/dev/null
) </dev/null >/dev/null 2>&1 &
exec 3<&-
unset LEASH_SCOPE LEASH_SIGNAL
exec "$@"
`;

export type LeashedProcess = {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Settles when the process has ended, with the code or the signal that ended it. Never rejects. */
  readonly exited: Promise<ProcessEnd>;
  /** True until it has ended. */
  running(): boolean;
  /** Sends a signal; does nothing when the process has ended. */
  signal(name: NodeJS.Signals): void;
  /** The same for what it left behind when it has ended. */
  signalGroup(name: NodeJS.Signals): void;
};

export type ProcessEnd = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

const live = new Set<LeashedProcess>();

/** Every leashed process that has not ended, for tests that make sure that none is left. */
export function liveProcesses(): readonly LeashedProcess[] {
  return [...live];
}

/**
 * Starts `command` on a leash. Rejects when it cannot be started at all (`code` as of `spawn`: EACCES, EPERM, EINVAL…);
 * a command that does not exist ends with code 127, one that may not be executed with 126, as in any shell.
 */
export async function spawnLeashed(
  command: string,
  args: readonly string[],
  options: LeashOptions = {},
): Promise<LeashedProcess> {
  const scope = options.scope ?? 'group';
  const spawnOptions: SpawnOptions = {
    detached: true,
    stdio: ['ignore', options.stdout ?? 'ignore', options.stderr ?? 'ignore', 'pipe'],
    env: {
      ...(options.env ?? process.env),
      LEASH_SIGNAL: options.lastSignal ?? 'TERM',
      LEASH_SCOPE: scope === 'group' ? '-' : '',
    },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.user === undefined ? {} : { uid: options.user.uid, gid: options.user.gid }),
  };
  const child = spawn('/bin/sh', ['-c', watchAndBecome, 'sh', command, ...args], spawnOptions);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const pid = child.pid as number;
  const pipe = child.stdio[3] as Writable;
  // The watcher may be gone already when we write to it: that is all right.
  pipe.on('error', () => {});
  let ended = false;
  const exited = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = true;
      live.delete(leashed);
      pipe.end('ended\n');
      resolve({ code, signal });
    });
  });
  const leashed: LeashedProcess = {
    pid,
    child,
    exited,
    running: () => !ended,
    signal(name) {
      if (!ended) send(scope === 'group' ? -pid : pid, name);
    },
    signalGroup: (name) => send(-pid, name),
  };
  live.add(leashed);
  return leashed;
}

function send(target: number, name: NodeJS.Signals): void {
  try {
    process.kill(target, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Runs a short command to its end and returns what it printed; throws when it fails or takes longer than `timeoutMs`. */
export async function runLeashed(
  command: string,
  args: readonly string[],
  options: Omit<LeashOptions, 'stdout' | 'stderr'> & { readonly timeoutMs: number },
): Promise<string> {
  const leashed = await spawnLeashed(command, args, { ...options, stdout: 'pipe', stderr: 'pipe' });
  const parts: string[] = [];
  for (const stream of [leashed.child.stdout, leashed.child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => parts.push(text));
  }
  const closed = new Promise<void>((resolve) => leashed.child.once('close', () => resolve()));
  const timer = setTimeout(() => leashed.signal('SIGKILL'), options.timeoutMs);
  const end = await leashed.exited;
  clearTimeout(timer);
  await closed;
  const output = parts.join('');
  if (end.code !== 0) {
    const how = end.signal ? `was ended by ${end.signal}` : `failed with code ${end.code}`;
    throw new Error(`${command} ${how}:\n${output.trim()}`);
  }
  return output;
}
