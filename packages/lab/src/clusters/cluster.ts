/**
 * One real PostgreSQL cluster: created from the template, started as our child, stopped, killed and started again.
 * `postgres` runs directly, not through `pg_ctl`: its exit is ours to see, and it cannot outlive us (see `leash.ts`).
 */
import { randomBytes } from 'node:crypto';
import { access, chown, mkdir, open, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { type LeashedProcess, spawnLeashed } from '../processes/leash.ts';
import { commandOf, descendantsOf, sleepMs } from '../processes/observe.ts';
import { findNative, type Native } from './native.ts';
import { freePort } from './ports.ts';
import { clusterSettings, hostBasedAuthentication, type SettingValue } from './settings.ts';
import { copyTemplate } from './template.ts';

export type ClusterOptions = {
  /** The cluster's own folder: its data, its log and its superuser's password. Made when it does not exist. */
  readonly dir: string;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** Used when it is free, else another one is. Default: the port of the last start, or any. */
  readonly port?: number;
  /** False turns fsync off: for tests, whose data nobody misses after a power cut. Default true. */
  readonly durable?: boolean;
  /** Settings of postgresql.conf over the defaults in `settings.ts`. */
  readonly settings?: Readonly<Record<string, SettingValue>>;
  /** Its programs. Default: as `findNative` finds them. Those of another major cannot read its data. */
  readonly native?: Native;
  /** More of an environment for `postgres`: for faults, such as a clock that goes wrong. */
  readonly env?: Readonly<Record<string, string>>;
};

export type StopMode =
  /** Ends sessions, writes a checkpoint. */
  | 'fast'
  /** Ends at once; recovers at the next start. */
  | 'immediate';

export type Cluster = {
  readonly dir: string;
  readonly host: string;
  /** May change at a restart, when somebody took the port meanwhile. */
  readonly port: number;
  /** Of the postmaster; null while it is stopped. */
  readonly pid: number | null;
  /** `postgres://` URL of a superuser, for tests and faults only: the product never gets it. */
  superuserUrl(database?: string): string;
  running(): boolean;
  /** Settles when the present postmaster ends, however it does; at once when it is stopped. */
  exited(): Promise<void>;
  start(): Promise<void>;
  /** Bounded: after `timeoutMs` (default 10 s) an orderly stop becomes an immediate one, then a kill. */
  stop(mode?: StopMode, timeoutMs?: number): Promise<void>;
  /** `kill -9` of the postmaster and of every backend, as a power cut would (the kernel keeps its caches, though). */
  kill(): Promise<void>;
};

const startTimeoutMs = 60_000;

/** Creates the cluster when its folder is empty, and starts it. Resolves when it accepts connections. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const native = options.native ?? (await findNative());
  await mkdir(options.dir, { recursive: true, mode: 0o755 });
  const dir = await realpath(options.dir);
  const data = join(dir, 'data');
  const passwordFile = join(dir, 'superuser-password');
  const isNew = !(await exists(passwordFile));
  let bootstrapPassword: string | null = null;
  if (isNew) {
    // A cluster without the password file was never finished: begin again.
    await rm(data, { recursive: true, force: true });
    bootstrapPassword = await makeData(native, dir, data);
  } else {
    await endStalePostmaster(data);
  }
  const cluster = new EmbeddedCluster(native, dir, data, options);
  if (bootstrapPassword === null) {
    cluster.password = await readFile(passwordFile, 'utf8');
    await cluster.start();
  } else {
    cluster.password = bootstrapPassword;
    await cluster.start();
    const password = randomBytes(18).toString('base64url');
    await changePassword(cluster.superuserUrl(), password);
    cluster.password = password;
    await writeFile(passwordFile, password, { mode: 0o600 });
  }
  return cluster;
}

/** The data folder must belong to the user that PostgreSQL runs as, who must be able to create it and walk to it. */
async function makeData(native: Native, dir: string, data: string): Promise<string> {
  if (!native.user) return copyTemplate(native, data);
  const nest = join(dir, 'nest');
  await mkdir(nest, { recursive: true, mode: 0o700 });
  await chown(nest, native.user.uid, native.user.gid);
  try {
    const copied = join(nest, 'data');
    await rm(copied, { recursive: true, force: true });
    const password = await copyTemplate(native, copied);
    await rename(copied, data);
    return password;
  } catch (error) {
    throw new Error(
      `The user ${native.user.name}, as whom PostgreSQL runs here, cannot use ${dir}: ${(error as Error).message}`,
      { cause: error },
    );
  } finally {
    await rm(nest, { recursive: true, force: true });
  }
}

class EmbeddedCluster implements Cluster {
  readonly dir: string;
  readonly host: string;
  port: number;
  password = '';
  readonly #native: Native;
  readonly #data: string;
  readonly #options: ClusterOptions;
  #postmaster: LeashedProcess | null = null;

  constructor(native: Native, dir: string, data: string, options: ClusterOptions) {
    this.#native = native;
    this.dir = dir;
    this.#data = data;
    this.#options = options;
    this.host = options.host ?? '127.0.0.1';
    this.port = options.port ?? 0;
  }

  get pid(): number | null {
    return this.#postmaster?.running() ? this.#postmaster.pid : null;
  }

  superuserUrl(database = 'postgres'): string {
    return `postgres://postgres:${encodeURIComponent(this.password)}@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }

  running(): boolean {
    return this.#postmaster?.running() ?? false;
  }

  async exited(): Promise<void> {
    await this.#postmaster?.exited;
  }

  async start(): Promise<void> {
    if (this.running()) return;
    const wanted = this.port || (await readLastPort(this.#data));
    let problem = '';
    for (let attempt = 0; attempt < 5; attempt += 1) {
      this.port = await freePort(this.host, attempt === 0 ? wanted : undefined);
      const result = await this.#startOnce();
      if (result.kind === 'ready') return;
      problem = result.log;
      // A port that was taken meanwhile is worth another try, and so is shared memory that a killed one's backends still hold.
      if (!/could not (bind|create any)|still in use/i.test(problem)) break;
      await sleepMs(100 * (attempt + 1));
    }
    throw new Error(`PostgreSQL did not start in ${this.dir}:\n${problem.trim()}`);
  }

  async #startOnce(): Promise<{ kind: 'ready' } | { kind: 'failed'; log: string }> {
    await writeSettings(this.#data, this.#native.major, this.host, this.port, this.#options);
    const logFile = join(this.dir, 'postgresql.log');
    const log = await open(logFile, 'a');
    const logStart = (await log.stat()).size;
    try {
      const postmaster = await spawnLeashed(this.#native.postgres, ['-D', this.#data], {
        cwd: '/',
        env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC', ...this.#options.env },
        user: this.#native.user,
        stdout: log.fd,
        stderr: log.fd,
        // Immediate shutdown: backends are told to quit, and the next start recovers.
        lastSignal: 'QUIT',
        scope: 'process',
      });
      this.#postmaster = postmaster;
    } finally {
      await log.close();
    }
    const deadline = Date.now() + startTimeoutMs;
    while (this.running()) {
      if (await isReady(this.#data, this.#postmaster?.pid)) return { kind: 'ready' };
      if (Date.now() > deadline) {
        await this.kill();
        return { kind: 'failed', log: `not ready after ${startTimeoutMs} ms` };
      }
      await sleepMs(10);
    }
    return { kind: 'failed', log: (await readFile(logFile)).subarray(logStart).toString('utf8') };
  }

  async stop(mode: StopMode = 'fast', timeoutMs = 10_000): Promise<void> {
    const postmaster = this.#postmaster;
    if (!postmaster?.running()) return;
    postmaster.signal(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    if (await endsWithin(postmaster, timeoutMs)) return;
    postmaster.signal('SIGQUIT');
    if (await endsWithin(postmaster, 5_000)) return;
    await this.kill();
  }

  async kill(): Promise<void> {
    const postmaster = this.#postmaster;
    if (!postmaster?.running()) return;
    const backends = await descendantsOf(postmaster.pid);
    postmaster.signal('SIGKILL');
    for (const pid of backends) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself: a backend whose postmaster is gone does.
      }
    }
    await postmaster.exited;
  }
}

async function endsWithin(leashed: LeashedProcess, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController();
  const ended = await Promise.race([
    leashed.exited.then(() => true),
    sleepMs(timeoutMs, timer.signal).then(() => false),
  ]);
  timer.abort();
  return ended;
}

/** The eighth line of postmaster.pid says so; it is what `pg_ctl -w` reads (`src/include/utils/pidfile.h`). */
async function isReady(data: string, pid: number | undefined): Promise<boolean> {
  const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready';
}

async function readLastPort(data: string): Promise<number | undefined> {
  const text = await readFile(join(data, 'lanekeeper.conf'), 'utf8').catch(() => '');
  const port = /^port = '(\d+)'$/m.exec(text)?.[1];
  return port === undefined ? undefined : Number(port);
}

/**
 * A postmaster that an earlier lab left behind (its machine slept through the leash, or it was stopped in a debugger)
 * holds the data folder. It is ended only when it is a PostgreSQL that runs in exactly this folder.
 */
async function endStalePostmaster(data: string): Promise<void> {
  const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 1 || lines[1] !== data) return;
  if (!(await commandOf(pid)).includes(data)) return;
  process.kill(pid, 'SIGQUIT');
  for (let tries = 0; tries < 100; tries += 1) {
    if (!(await commandOf(pid)).includes(data)) return;
    await sleepMs(50);
  }
  process.kill(pid, 'SIGKILL');
}

async function changePassword(url: string, password: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`ALTER ROLE postgres PASSWORD ${client.escapeLiteral(password)}`);
  } finally {
    await client.end();
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function writeSettings(
  data: string,
  major: number,
  host: string,
  port: number,
  options: ClusterOptions,
): Promise<void> {
  const settings = {
    ...clusterSettings(options.durable ?? true, major),
    ...options.settings,
    listen_addresses: host,
    port,
  };
  const lines = Object.entries(settings).map(([name, value]) => {
    const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
    return `${name} = '${text.replaceAll("'", "''")}'\n`;
  });
  await writeFile(join(data, 'lanekeeper.conf'), lines.join(''));
  await writeFile(join(data, 'pg_hba.conf'), hostBasedAuthentication);
  const main = join(data, 'postgresql.conf');
  const text = await readFile(main, 'utf8');
  if (!text.includes("include 'lanekeeper.conf'")) await writeFile(main, `${text}\ninclude 'lanekeeper.conf'\n`);
}
