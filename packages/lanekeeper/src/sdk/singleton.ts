/**
 * Work that runs once: in one process of this dc, or of the whole cluster, taken over by another one when it dies.
 *
 * All singletons of a process share one direct connection. Its session advisory locks say that they run; once a second it asks
 * whether they still may, and PostgreSQL ends it when it has not been heard of for a while. Each runner has a number that is greater than
 * those of all before it; a transaction that says it (`guard`) commits as the present runner's, or not at all.
 *
 * Invariants. 1: here, a run begins only when the one before has ended, whatever became of its lock. 2: a lost lock, a lost home and a
 * lost connection abort the run within seconds; until then, and for code that does not listen, the number is what protects (R4).
 */
import pg from 'pg';
import { type DataCenterName, fixedAccount, LanekeeperError } from '../model/index.ts';
import type { Queryable, Singleton, SingletonOptions, SingletonRun } from './api.ts';

type Entry = {
  readonly name: string;
  readonly everywhere: boolean;
  readonly pauseMs: number;
  readonly work: (run: SingletonRun) => Promise<unknown>;
  readonly onError: (error: unknown) => void;
  phase: Phase;
  failures: number;
};

type Phase =
  | { readonly kind: 'waiting' }
  /** `lock`: the connection that holds its lock; the run may outlive it. */
  | {
      readonly kind: 'running';
      readonly run: SingletonRun;
      readonly abort: AbortController;
      readonly lock: pg.Client;
      readonly ended: Promise<void>;
    }
  | { readonly kind: 'resting'; readonly untilMs: number }
  | { readonly kind: 'stopped' };

const lookEveryMs = 1_000;
const answerTimeoutMs = 4_000;
/** A process that says nothing for so long has lost its locks, and says so every second. */
const silentMs = 15_000;
const longestRestMs = 30_000;
/** How long `close` waits for runs to end. */
const closeWaitMs = 5_000;

export class Singletons {
  readonly #url: string;
  readonly #instance: string;
  readonly #entries = new Map<string, Entry>();
  #client: pg.Client | null = null;
  #timer: NodeJS.Timeout | null = null;
  #tick: Promise<void> = Promise.resolve();
  #closed = false;
  #warned = false;

  /** `url` leads straight to PostgreSQL: session locks do not survive a pooler in transaction mode. */
  constructor(url: string, instance: string) {
    this.#url = url;
    this.#instance = instance;
  }

  add(
    name: string,
    work: (run: SingletonRun) => Promise<unknown>,
    { scope = 'dc', pauseMs = 1_000, onError }: SingletonOptions,
  ): Singleton {
    const key = `${scope} ${name}`;
    if (this.#closed) throw new TypeError('Lanekeeper is closed.');
    if (this.#entries.has(key)) throw new TypeError(`This process has a singleton ${name} already.`);
    const report = onError ?? ((error: unknown) => process.emitWarning(`singleton ${name}: ${String(error)}`));
    const everywhere = scope === 'cluster';
    const entry: Entry = { name, everywhere, pauseMs, work, onError: report, phase: { kind: 'waiting' }, failures: 0 };
    this.#entries.set(key, entry);
    if (this.#timer === null) this.#schedule(0);
    return {
      get running() {
        return entry.phase.kind === 'running' && !entry.phase.abort.signal.aborted ? entry.phase.run : null;
      },
      stop: async () => {
        this.#entries.delete(key);
        await this.#stop(entry);
      },
    };
  }

  /** Aborts all runs and gives them a moment to end. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#tick;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeWaitMs);
    });
    await Promise.race([Promise.all([...this.#entries.values()].map((entry) => this.#stop(entry))), late]);
    clearTimeout(timer);
    this.#entries.clear();
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }

  async #stop(entry: Entry): Promise<void> {
    const { phase } = entry;
    entry.phase = { kind: 'stopped' };
    if (phase.kind !== 'running') return;
    phase.abort.abort(lost(entry.name, 'it was stopped'));
    await phase.ended;
  }

  #schedule(afterMs: number): void {
    this.#timer = setTimeout(() => {
      this.#tick = this.#tend()
        .then(
          () => {
            this.#warned = false;
          },
          (error: unknown) => this.#failed(error),
        )
        .finally(() => {
          if (!this.#closed && this.#entries.size > 0) this.#schedule(lookEveryMs * (0.75 + Math.random() / 2));
          else this.#timer = null;
        });
    }, afterMs);
  }

  #failed(error: unknown): void {
    this.#drop(this.#client);
    if (!this.#warned && !this.#closed) process.emitWarning(`Singletons wait for the database: ${String(error)}`);
    this.#warned = true;
  }

  async #tend(): Promise<void> {
    const nowMs = performance.now();
    const asked: Entry[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.phase.kind === 'resting' && entry.phase.untilMs <= nowMs) entry.phase = { kind: 'waiting' };
      if (entry.phase.kind === 'waiting' || entry.phase.kind === 'running') asked.push(entry);
    }
    const client = this.#client ?? (await this.#connect());
    const phases = asked.map(({ phase }) => phase);
    const { rows } = await client.query<{ at: number; granted: string | null }>(
      'SELECT at, granted FROM lanekeeper.tend_singletons($1, $2, $3, $4)',
      [
        this.#instance,
        asked.map(({ name }) => name),
        asked.map(({ everywhere }) => everywhere),
        phases.map((phase) => (phase.kind === 'running' ? String(phase.run.number) : null)),
      ],
    );
    for (const { at, granted } of rows) {
      const entry = asked[at - 1];
      const phase = phases[at - 1];
      if (entry === undefined || phase === undefined) continue;
      if (phase.kind === 'running') {
        if (granted === null) phase.abort.abort(lost(entry.name, 'it is not to run here any more'));
      } else if (granted !== null) {
        if (entry.phase === phase && this.#client === client) this.#start(entry, BigInt(granted), client);
        else await this.#unlock(entry, client);
      }
    }
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      connectionTimeoutMillis: answerTimeoutMs,
      query_timeout: answerTimeoutMs,
      keepAlive: true,
      application_name: `lanekeeper:${this.#instance}`,
    });
    client.on('error', () => this.#drop(client));
    client.on('end', () => this.#drop(client));
    await client.connect();
    // A process that is stopped, or a host that is gone, keeps its locks only for so long.
    await client.query(`SET idle_session_timeout = ${silentMs}; SET tcp_user_timeout = ${silentMs}`);
    this.#client = client;
    return client;
  }

  /** The locks are lost with it. */
  #drop(client: pg.Client | null): void {
    if (client === null) return;
    if (this.#client === client) this.#client = null;
    client.end().catch(() => {});
    for (const { name, phase } of this.#entries.values()) {
      if (phase.kind === 'running' && phase.lock === client)
        phase.abort.abort(lost(name, 'the connection that held its lock is lost'));
    }
  }

  #start(entry: Entry, number: bigint, lock: pg.Client): void {
    const { name, everywhere } = entry;
    const abort = new AbortController();
    const { signal } = abort;
    const run: SingletonRun = {
      name,
      number,
      signal,
      guard: async (client: Queryable) => {
        signal.throwIfAborted();
        await client.query('SELECT lanekeeper.guard_singleton($1, $2, $3)', [name, everywhere, String(number)]);
      },
    };
    const ended = this.#repeat(entry, run, signal).then(async (failed) => {
      if (this.#client === lock) await this.#unlock(entry, lock);
      if (entry.phase.kind === 'stopped') return;
      entry.failures = failed ? entry.failures + 1 : 0;
      const restMs = failed ? Math.min(lookEveryMs * 2 ** (entry.failures - 1), longestRestMs) : 0;
      entry.phase = { kind: 'resting', untilMs: performance.now() + restMs };
    });
    entry.phase = { kind: 'running', run, abort, lock, ended };
  }

  /** Again and again, until it fails (true) or may not run any more. */
  async #repeat(entry: Entry, run: SingletonRun, signal: AbortSignal): Promise<boolean> {
    // Not in the tick that granted it.
    await Promise.resolve();
    while (!signal.aborted) {
      try {
        await entry.work(run);
        entry.failures = 0;
      } catch (error) {
        // What was aborted may well fail for it.
        if (signal.aborted) return false;
        entry.onError(error);
        return true;
      }
      await pause(entry.pauseMs, signal);
    }
    return false;
  }

  /** A lock that cannot be given back goes with its connection. */
  async #unlock({ name, everywhere }: Entry, client: pg.Client): Promise<void> {
    await client.query('SELECT lanekeeper.leave_singleton($1, $2)', [name, everywhere]).catch(() => this.#drop(client));
  }
}

/** @throws {LanekeeperError} `LK_CONFIG` when a singleton of the cluster has no fixed home */
export function requireHomeOf(
  name: string,
  scope: SingletonOptions['scope'],
  fixed: Readonly<Record<string, DataCenterName>>,
) {
  if (scope !== 'cluster' || Object.hasOwn(fixed, name)) return;
  throw new LanekeeperError(
    'LK_CONFIG',
    `The singleton ${name} of the cluster runs where ${fixedAccount(name)} is at home: add \`${name}\` to \`fixed\`.`,
  );
}

function lost(name: string, why: string): LanekeeperError {
  return new LanekeeperError('LK_SINGLETON_LOST', `The singleton ${name} has to end: ${why}.`);
}

function pause(forMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, forMs);
    signal.addEventListener('abort', end);
  });
}
