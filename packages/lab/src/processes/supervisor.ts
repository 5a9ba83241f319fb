/**
 * Keeps services running: starts them, waits until they answer, starts them again when they end by themselves, stops
 * them in order. What they print goes to one log file each.
 *
 * 1. A service that never became ready is a failed start, told with the end of its log; it is not tried again.
 * 2. One that ended after it was ready is started again, later each time, until it has run well for a while.
 * 3. Stopping is bounded: SIGTERM, then SIGKILL for the whole process group. None outlives us (see `leash.ts`).
 */
import { mkdir, open, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type LeashedProcess, type ProcessEnd, spawnLeashed } from './leash.ts';
import { endGroup, sleepMs } from './observe.ts';

export type ServiceSpec = {
  /** Unique; also the name of its log. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** The whole environment, nothing is inherited. */
  readonly env: NodeJS.ProcessEnv;
  /** Ready when it accepts connections here. */
  readonly address: { readonly host: string; readonly port: number };
  /** Default 30000. */
  readonly readyTimeoutMs?: number;
  /** From SIGTERM to SIGKILL. Default 5000. */
  readonly stopTimeoutMs?: number;
};

/** What is done with it now; each phase has what belongs to it. */
type Phase =
  | { readonly kind: 'starting'; readonly process: LeashedProcess | null }
  | { readonly kind: 'running'; readonly process: LeashedProcess; readonly sinceMs: number }
  | { readonly kind: 'waiting'; readonly wake: AbortController; readonly ended: LeashedProcess }
  | { readonly kind: 'stopped' };

export type ServiceState = {
  readonly name: string;
  readonly phase: Phase['kind'];
  readonly pid: number | null;
  /** How often it was started again because it had ended by itself. */
  readonly restarts: number;
};

const firstBackoffMs = 200;
const lastBackoffMs = 5_000;
/** After running this long, the next failure is a first one again. */
const settledMs = 10_000;

export class Service {
  readonly spec: ServiceSpec;
  readonly logFile: string;
  readonly #onEvent: (event: ServiceEvent) => void;
  #phase: Phase = { kind: 'stopped' };
  #restarts = 0;
  #backoffMs = firstBackoffMs;

  constructor(spec: ServiceSpec, logFile: string, onEvent: (event: ServiceEvent) => void) {
    this.spec = spec;
    this.logFile = logFile;
    this.#onEvent = onEvent;
  }

  state(): ServiceState {
    const phase = this.#phase;
    const process = 'process' in phase ? phase.process : null;
    return { name: this.spec.name, phase: phase.kind, pid: process?.pid ?? null, restarts: this.#restarts };
  }

  /** Resolves when it accepts connections; rejects when it does not. */
  async start(): Promise<void> {
    if (this.#phase.kind !== 'stopped') return;
    const logStart = await sizeOf(this.logFile);
    const leashed = await this.#spawn();
    if (await this.#becomesReady(leashed)) return;
    await this.stop();
    const tail = (await readFile(this.logFile)).subarray(logStart).toString('utf8').trim().split('\n').slice(-20);
    throw new Error(`${this.spec.name} did not start; the end of ${this.logFile}:\n${tail.join('\n')}`);
  }

  /** Sends a signal to it and everything it started: for drills. */
  signal(name: NodeJS.Signals): void {
    if ('process' in this.#phase) this.#phase.process?.signal(name);
  }

  async stop(): Promise<void> {
    const phase = this.#phase;
    this.#phase = { kind: 'stopped' };
    if (phase.kind === 'waiting') {
      phase.wake.abort();
      await endGroup(phase.ended.pid, 0);
    }
    if (!('process' in phase) || phase.process === null) return;
    const leashed = phase.process;
    leashed.signal('SIGTERM');
    const deadlineMs = performance.now() + (this.spec.stopTimeoutMs ?? 5_000);
    const patience = new AbortController();
    await Promise.race([leashed.exited, sleepMs(deadlineMs - performance.now(), patience.signal)]);
    patience.abort();
    leashed.signal('SIGKILL');
    await leashed.exited;
    await endGroup(leashed.pid, deadlineMs - performance.now());
  }

  /** Ends it and everything it started at once, as a power cut would. It stays off until `start`. */
  async kill(): Promise<void> {
    const phase = this.#phase;
    this.#phase = { kind: 'stopped' };
    if (phase.kind === 'waiting') phase.wake.abort();
    const leashed = phase.kind === 'waiting' ? phase.ended : 'process' in phase ? phase.process : null;
    if (leashed === null) return;
    leashed.signal('SIGKILL');
    await leashed.exited;
    await endGroup(leashed.pid, 0);
  }

  async #spawn(): Promise<LeashedProcess> {
    this.#phase = { kind: 'starting', process: null };
    const log = await open(this.logFile, 'a');
    try {
      const leashed = await spawnLeashed(this.spec.command, this.spec.args, {
        env: this.spec.env,
        ...(this.spec.cwd === undefined ? {} : { cwd: this.spec.cwd }),
        stdout: log.fd,
        stderr: log.fd,
      });
      void leashed.exited.then((end) => this.#ended(leashed, end));
      // Stopped meanwhile: whoever stopped it found no process yet.
      if (this.state().phase === 'stopped') leashed.signal('SIGKILL');
      else this.#phase = { kind: 'starting', process: leashed };
      return leashed;
    } finally {
      await log.close();
    }
  }

  async #becomesReady(leashed: LeashedProcess): Promise<boolean> {
    const deadlineMs = performance.now() + (this.spec.readyTimeoutMs ?? 30_000);
    while (leashed.running() && performance.now() < deadlineMs) {
      if (await accepts(this.spec.address)) {
        if (this.#phase.kind !== 'starting' || this.#phase.process !== leashed) return false;
        this.#phase = { kind: 'running', process: leashed, sinceMs: performance.now() };
        return true;
      }
      await sleepMs(50);
    }
    return false;
  }

  #ended(leashed: LeashedProcess, end: ProcessEnd): void {
    const phase = this.#phase;
    if (phase.kind !== 'running' || phase.process !== leashed) return;
    if (performance.now() - phase.sinceMs > settledMs) this.#backoffMs = firstBackoffMs;
    void this.#startAgain(leashed, end);
  }

  async #startAgain(ended: LeashedProcess, end: ProcessEnd): Promise<void> {
    let last = { leashed: ended, end };
    for (;;) {
      const wake = new AbortController();
      const waiting: Phase = { kind: 'waiting', wake, ended: last.leashed };
      this.#phase = waiting;
      this.#onEvent({ kind: 'ended', name: this.spec.name, end: last.end, againInMs: this.#backoffMs });
      // What it started itself must be gone before it starts again: it may hold the port.
      last.leashed.signalGroup('SIGTERM');
      await Promise.all([sleepMs(this.#backoffMs, wake.signal), endGroup(last.leashed.pid, firstBackoffMs)]);
      if (this.#phase !== waiting) return;
      this.#backoffMs = Math.min(this.#backoffMs * 2, lastBackoffMs);
      this.#restarts += 1;
      const leashed = await this.#spawn();
      if (await this.#becomesReady(leashed)) {
        this.#onEvent({ kind: 'restarted', name: this.spec.name });
        return;
      }
      if (this.state().phase === 'stopped') return;
      leashed.signal('SIGKILL');
      last = { leashed, end: await leashed.exited };
    }
  }
}

export type ServiceEvent =
  | { readonly kind: 'ended'; readonly name: string; readonly end: ProcessEnd; readonly againInMs: number }
  | { readonly kind: 'restarted'; readonly name: string };

export class Supervisor {
  readonly #logFolder: string;
  readonly #onEvent: (event: ServiceEvent) => void;
  readonly #services = new Map<string, Service>();
  #closed = false;

  constructor(logFolder: string, onEvent: (event: ServiceEvent) => void = () => {}) {
    this.#logFolder = logFolder;
    this.#onEvent = onEvent;
  }

  /** Starts a service and keeps it running from then on. Rejects when it does not become ready. */
  async start(spec: ServiceSpec): Promise<Service> {
    if (this.#services.has(spec.name)) throw new Error(`There is a service ${spec.name} already`);
    await mkdir(this.#logFolder, { recursive: true });
    if (this.#closed) throw new Error(`${spec.name} is not started any more: everything is being stopped`);
    const service = new Service(spec, join(this.#logFolder, `${spec.name}.log`), this.#onEvent);
    this.#services.set(spec.name, service);
    await service.start();
    return service;
  }

  /** Every service, by name. */
  services(): ReadonlyMap<string, Service> {
    return this.#services;
  }

  /** Stops everything at once, for good. */
  async stop(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#services.values()].map((service) => service.stop()));
  }
}

async function sizeOf(file: string): Promise<number> {
  return readFile(file).then(
    (content) => content.length,
    () => 0,
  );
}

function accepts({ host, port }: { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    const answer = (yes: boolean) => (): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', answer(true));
    socket.once('timeout', answer(false));
    socket.once('error', answer(false));
  });
}
