/** The lab as a user starts it: one process, one line of JSON when it is ready, SIGTERM to end it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export type LabDataCenter = {
  readonly edge: string;
  readonly url: string;
  readonly apps: readonly string[];
  readonly agent: string;
  readonly database: string;
  readonly databases: Readonly<Record<'owner' | 'application' | 'agent' | 'replication' | 'superuser', string>>;
  readonly config: string;
  readonly environment: Readonly<Record<string, string>>;
};

export type LabLine = {
  readonly storefront: string;
  readonly dataCenters: Readonly<Record<string, LabDataCenter>>;
  readonly dir: string;
  readonly pid: number;
};

export type RunningLab = LabLine & {
  dc(name: string): LabDataCenter;
  /** Runs a `lanekeeper` command against this lab. Never throws for an exit code. */
  command(
    ...args: readonly string[]
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
  /** The last lines of every log, for a failing test. */
  logs(): Promise<string>;
  stop(): Promise<void>;
};

const bin = new URL('../../packages/server/bin/lanekeeper.js', import.meta.url).pathname;

export async function startLab(...args: readonly string[]): Promise<RunningLab> {
  const parent = await mkdtemp(join(tmpdir(), 'lanekeeper-lab-'));
  const child = spawn(process.execPath, [bin, 'lab', '--json', '--dir', join(parent, 'lab'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-8000);
  });
  try {
    const line = await firstLine(child, () => errors);
    const described = JSON.parse(line) as LabLine;
    return {
      ...described,
      dc(name) {
        const found = described.dataCenters[name];
        if (!found) throw new Error(`the lab has no data center ${name}`);
        return found;
      },
      async command(...command) {
        return runCommand(command, { ...process.env, LANEKEEPER_LAB: join(described.dir, 'lab.json') });
      },
      async logs() {
        const { stdout } = await promisify(execFile)('sh', ['-c', `tail -n 25 ${described.dir}/logs/*.log`]).catch(
          (error) => error,
        );
        return String(stdout);
      },
      async stop() {
        await end(child);
        await rm(parent, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await end(child);
    await rm(parent, { recursive: true, force: true });
    throw error;
  }
}

async function firstLine(child: ChildProcess, errors: () => string): Promise<string> {
  if (!child.stdout) throw new Error('no stdout');
  const lines = createInterface({ input: child.stdout });
  const timeout = AbortSignal.timeout(90_000);
  return await Promise.race([
    once(lines, 'line', { signal: timeout }).then(([line]) => line as string),
    once(child, 'exit').then(([code]) => {
      throw new Error(`the lab ended with ${code} before it was ready:\n${errors()}`);
    }),
  ]);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await exited;
  clearTimeout(timer);
}

function runCommand(args: readonly string[], env: NodeJS.ProcessEnv) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      [bin, ...args],
      { env, maxBuffer: 64 << 20, timeout: 120_000 },
      (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      },
    );
  });
}
