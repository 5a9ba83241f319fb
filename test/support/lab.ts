/** Starts `lanekeeper lab` as a user does, from a folder of its own, for tests of the whole. Needs a build. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataCenterDescription, LabDescription } from '@lanekeeper/lab';

export const lanekeeperProgram = fileURLToPath(new URL('../../packages/server/bin/lanekeeper.js', import.meta.url));

export type TestLab = {
  readonly line: LabDescription;
  /** From the start to the line of JSON. */
  readonly readyAfterMs: number;
  /** The working folder it was started in. */
  readonly directory: string;
  readonly process: ChildProcess;
  /** Runs another command in that folder: it finds the lab by itself. */
  command(...args: readonly string[]): Promise<CommandResult>;
  /** SIGTERM; resolves with the exit code. Removes the working folder. */
  stop(): Promise<number | null>;
};

export type CommandResult = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export async function testLab(args: readonly string[] = [], timeoutMs = 90_000): Promise<TestLab> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'lanekeeper-cwd-')));
  const startMs = performance.now();
  const { LANEKEEPER_LAB: _, ...env } = process.env;
  const child = spawn(process.execPath, [lanekeeperProgram, 'lab', '--json', ...args], {
    cwd: directory,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const text = await new Promise<string>((resolve, reject) => {
    let stdout = '';
    const timer = setTimeout(() => {
      child.kill('SIGTERM');
      reject(new Error(`The lab was not ready after ${timeoutMs} ms:\n${stderr}`));
    }, timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      stdout += part;
      if (!stdout.includes('\n')) return;
      clearTimeout(timer);
      resolve(stdout);
    });
    void exited.then((code) => {
      clearTimeout(timer);
      reject(new Error(`The lab ended with code ${code}:\n${stdout}${stderr}`));
    });
  });
  const line = JSON.parse(text) as LabDescription;
  return {
    line,
    readyAfterMs: performance.now() - startMs,
    directory,
    process: child,
    command: (...words) => runCommand(words, directory, env),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const code = await exited;
      await rm(directory, { recursive: true, force: true });
      return code;
    },
  };
}

export function dataCenterOf(lab: TestLab, name: string): DataCenterDescription {
  const found = lab.line.dataCenters[name];
  if (found === undefined) throw new Error(`the lab has no data center ${name}`);
  return found;
}

function runCommand(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<CommandResult> {
  const child = spawn(process.execPath, [lanekeeperProgram, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...output })));
}

/** Processes that have `dir` in their command line or environment: those of a lab in it. Linux only. */
export async function processesOf(dir: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [command, environment] = await Promise.all(
      ['cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')),
    );
    if (`${command}${environment}`.includes(dir)) found.push(`${pid} ${command?.replaceAll('\0', ' ')}`);
  }
  return found;
}

/** A customer's browser, as far as cookies go: one jar per host name would be a real one's; this one carries them along. */
export class Customer {
  readonly #cookies = new Map<string, string>();

  async ask(
    url: string,
    options: { readonly method?: string; readonly body?: unknown } = {},
  ): Promise<{
    readonly status: number;
    readonly dataCenter: string | null;
    readonly body: never;
    readonly location: string | null;
  }> {
    const response = await fetch(url, {
      method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      redirect: 'manual',
      headers: {
        accept: 'application/json',
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      signal: AbortSignal.timeout(20_000),
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (name !== undefined && value !== undefined) this.#cookies.set(name, value);
    }
    const text = await response.text();
    return {
      status: response.status,
      dataCenter: response.headers.get('lanekeeper-data-center'),
      location: response.headers.get('location'),
      body: (text === '' ? null : parse(text)) as never,
    };
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
