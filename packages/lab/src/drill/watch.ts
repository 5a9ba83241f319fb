/**
 * Looks at the product from outside while a drill runs: what agents report (X1 asks whether anything was said), and the
 * moments of a takeover. Nothing of it goes into the verdicts on customers' data.
 */
import { type Configuration, loadConfiguration } from 'lanekeeper/config';
import { createKeyRing, type KeyRing, mintAgentToken } from 'lanekeeper/session';
import { Client } from 'pg';
import type { LabDescription } from '../lab/description.ts';
import { sleepMs } from '../processes/observe.ts';
import type { Moments } from './report/index.ts';

export type Said = { readonly atMs: number; readonly dataCenter: string; readonly problem: string };

type AgentStatus = {
  readonly peers?: Readonly<Record<string, { readonly reachable: boolean }>>;
  readonly problems?: readonly string[];
  readonly lease?: { readonly kind: string; readonly term?: number };
  readonly succession?: { readonly history?: readonly { readonly term: number }[] };
  readonly sync?: { readonly alone?: boolean; readonly recorded?: readonly string[] };
  readonly relay?: { readonly slots?: readonly { readonly complete: boolean | null }[] } | null;
  readonly rejoin?: unknown;
};

const everyMs = 250;

export class Watch {
  readonly said: Said[] = [];
  readonly #lab: LabDescription;
  readonly #clock: () => number;
  readonly #rings = new Map<string, { readonly configuration: Configuration; readonly ring: KeyRing }>();
  readonly #last = new Map<string, AgentStatus>();
  readonly #moments = new Map<
    string,
    { at: string; detected: number | null; decided: number | null; promoted: number | null }
  >();
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();
  #firstTerm = 1;

  constructor(lab: LabDescription, clock: () => number) {
    this.#lab = lab;
    this.#clock = clock;
  }

  async start(): Promise<void> {
    for (const [name, dc] of Object.entries(this.#lab.dataCenters)) {
      const env = { ...dc.environment };
      const { configuration } = await loadConfiguration({ file: dc.config, env, dc: name });
      this.#rings.set(name, { configuration, ring: createKeyRing(configuration, { env }) });
    }
    this.#running = Promise.all(Object.keys(this.#lab.dataCenters).map((name) => this.#look(name)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** A token for any agent, signed by `name`'s key. */
  agentToken(name: string): string {
    const known = this.#rings.get(name);
    if (known === undefined) throw new Error(`no key of ${name}`);
    return mintAgentToken(known.ring, Date.now());
  }

  /** From now on a takeover of `at` is being watched for; earlier ones do not count. */
  async expect(at: string): Promise<void> {
    const other = Object.keys(this.#lab.dataCenters).find((name) => name !== at) as string;
    this.#firstTerm = await this.#termIn(other).catch(() => this.#firstTerm);
    this.#moments.clear();
    this.#moments.set(at, { at, detected: null, decided: null, promoted: null });
  }

  momentsOf(at: string): Moments {
    const found = this.#moments.get(at);
    return {
      detectedMs: found?.detected ?? null,
      decidedMs: found?.decided ?? null,
      promotedMs: found?.promoted ?? null,
    };
  }

  /** What agents complain about at this moment; those that do not answer are not asked again. */
  async problemsNow(): Promise<readonly string[]> {
    const names = Object.keys(this.#lab.dataCenters);
    await Promise.all(names.map((name) => this.#askAgent(name)));
    return names.flatMap((name) => (this.#last.get(name)?.problems ?? []).map((problem) => `${name}: ${problem}`));
  }

  /** Why the data centers are not ready to fail: no lease, alone, on the way back. Empty when they are. */
  async unreadiness(): Promise<readonly string[]> {
    const names = Object.keys(this.#lab.dataCenters);
    this.#last.clear();
    await Promise.all(names.map((name) => this.#askAgent(name)));
    return names.flatMap((name) => {
      const status = this.#last.get(name);
      if (status === undefined) return [`the agent of ${name} does not answer`];
      if (status.lease?.kind !== 'held') return [`${name} has no lease`];
      if (status.rejoin !== null && status.rejoin !== undefined) return [`${name} is on its way back`];
      const held = status.sync?.alone === true ? 0 : (status.sync?.recorded?.length ?? 0);
      const keeps = (status.relay?.slots ?? []).filter(({ complete }) => complete === true).length;
      if (held >= names.length - 1) {
        return names.length > 2 && keeps < names.length - 1
          ? [`${name} does not keep everything yet that the others may lack of a third`]
          : [];
      }
      const why = (status.problems ?? []).filter((problem) => problem.startsWith('no moves'));
      return [
        `${held === 0 ? 'nobody else holds' : 'not all of the others hold'} what ${name} writes${why.length === 0 ? '' : ` (${why.join('; ')})`}`,
      ];
    });
  }

  problemsSince(sinceMs: number): readonly string[] {
    return [
      ...new Set(
        this.said.filter(({ atMs }) => atMs >= sinceMs).map(({ dataCenter, problem }) => `${dataCenter}: ${problem}`),
      ),
    ];
  }

  async #look(name: string): Promise<void> {
    while (!this.#stopped) {
      await Promise.all([this.#askAgent(name), this.#askDatabase(name)]);
      await sleepMs(everyMs);
    }
  }

  async #askAgent(name: string): Promise<void> {
    const url = this.#lab.dataCenters[name]?.agent ?? '';
    try {
      const response = await fetch(new URL('/status', url), {
        headers: { authorization: `Bearer ${this.agentToken(name)}` },
        signal: AbortSignal.timeout(2_000),
      });
      if (!response.ok) {
        await response.arrayBuffer();
        return;
      }
      const status = (await response.json()) as AgentStatus;
      this.#take(name, status);
    } catch {
      // It does not answer, which others will tell.
    }
  }

  #take(name: string, status: AgentStatus): void {
    const nowMs = this.#clock();
    const before = new Set(this.#last.get(name)?.problems ?? []);
    for (const problem of status.problems ?? []) {
      if (!before.has(problem)) this.said.push({ atMs: nowMs, dataCenter: name, problem });
    }
    this.#last.set(name, status);
    for (const moment of this.#moments.values()) {
      if (moment.at === name) continue;
      if (status.peers?.[moment.at]?.reachable === false) moment.detected ??= nowMs;
      const term = Math.max(status.lease?.term ?? 1, ...(status.succession?.history ?? []).map((one) => one.term));
      if (term > this.#firstTerm) moment.decided ??= nowMs;
    }
  }

  async #askDatabase(name: string): Promise<void> {
    const open = [...this.#moments.values()].filter((one) => one.at !== name && one.promoted === null);
    if (open.length === 0) return;
    const term = await this.#termIn(name).catch(() => 1);
    if (term <= this.#firstTerm) return;
    for (const moment of open) {
      moment.promoted = this.#clock();
      moment.decided ??= moment.promoted;
      moment.detected ??= moment.decided;
    }
  }

  async #termIn(name: string): Promise<number> {
    const client = new Client({
      connectionString: this.#lab.dataCenters[name]?.databases.superuser ?? '',
      connectionTimeoutMillis: 1_000,
      query_timeout: 1_000,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      const { rows } = await client.query<{ term: number }>(
        'SELECT coalesce(max(term), 1)::integer AS term FROM lanekeeper.succession',
      );
      return rows[0]?.term ?? 1;
    } finally {
      await client.end().catch(() => {});
    }
  }
}
