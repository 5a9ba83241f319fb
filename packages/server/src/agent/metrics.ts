/** Figures for Prometheus: `GET /metrics`. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { MoveAnswer } from './moves.ts';
import type { AgentStatus } from './status.ts';

export class Metrics {
  readonly #registry = new Registry();
  readonly #leads = this.#gauge('lanekeeper_agent_leads', 'Whether this agent leads in its data center.');
  readonly #build = this.#gauge(
    'lanekeeper_build_info',
    'Always 1: the version of this agent and the digest of its configuration.',
    ['version', 'configuration'],
  );
  readonly #lease = this.#gauge('lanekeeper_lease_left_seconds', 'How long this data center may still write.');
  readonly #accounts = this.#gauge('lanekeeper_accounts', 'Accounts by home.', ['home']);
  readonly #open = this.#gauge('lanekeeper_gate_open', 'Whether moves to and from a data center may begin.', ['peer']);
  readonly #behind = this.#gauge('lanekeeper_stream_behind_bytes', 'Written here and not yet confirmed there.', [
    'peer',
    'stream',
  ]);
  readonly #retained = this.#gauge('lanekeeper_stream_retained_bytes', 'Log kept on disk for a data center.', [
    'peer',
    'stream',
  ]);
  readonly #relayComplete = this.#gauge(
    'lanekeeper_relay_complete',
    'Whether what a data center may lack of a third is kept here.',
    ['peer'],
  );
  readonly #term = this.#gauge('lanekeeper_term', 'The term of the latest failover or switchover known here.');
  readonly #members = this.#gauge('lanekeeper_sync_members', 'How many data centers a remote commit waits for.');
  readonly #atRisk = this.#gauge('lanekeeper_at_risk_bytes', 'Written here and not yet stored there.', ['peer']);
  readonly #rejoining = this.#gauge('lanekeeper_rejoining', 'Whether this data center was taken over and is not back.');
  readonly #stranded = this.#gauge('lanekeeper_stranded_open', 'Stranded transactions that wait for a decision.');
  readonly #waiting = this.#gauge('lanekeeper_buffer_waiting', 'Writes that a data center has not got yet.', [
    'log',
    'target',
  ]);
  readonly #oldest = this.#gauge('lanekeeper_buffer_oldest_seconds', 'Since when the oldest of those waits.', [
    'log',
    'target',
  ]);
  readonly #drained = this.#gauge('lanekeeper_buffer_drained', 'Writes drained since this agent began.', [
    'log',
    'target',
  ]);
  readonly #aside = this.#gauge('lanekeeper_buffer_aside', 'Writes that a data center refused.', ['state']);
  readonly #pending = this.#gauge('lanekeeper_merge_pending', 'Changes of shared rows that wait to be merged.', [
    'state',
  ]);
  readonly #conflicts = this.#gauge('lanekeeper_merge_conflicts', 'Conflicts of shared rows that are kept.');
  readonly #copies = this.#gauge('lanekeeper_copy_age_seconds', 'How long ago the moment was as of which a copy is.', [
    'table',
  ]);
  readonly #incomplete = this.#gauge(
    'lanekeeper_copy_incomplete',
    'Whether writes before that moment may be missing.',
    ['table'],
  );
  readonly #underWay = this.#gauge('lanekeeper_moves_under_way', 'Accounts on their way.', ['role']);
  readonly #problems = this.#gauge('lanekeeper_problems', 'What needs attention: see `lanekeeper status`.');
  readonly #ended = this.#gauge('lanekeeper_old_transactions_ended', 'Transactions ended because of their age.');
  readonly #moves = new Counter({
    name: 'lanekeeper_moves_total',
    help: 'Moves asked for here, by how they ended.',
    labelNames: ['outcome'],
    registers: [this.#registry],
  });
  readonly #pause = new Histogram({
    name: 'lanekeeper_move_seconds',
    help: 'From asking the home of an account until it was accepted here.',
    buckets: [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10],
    registers: [this.#registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
  }

  built(version: string, digest: string): void {
    this.#build.set({ version, configuration: digest }, 1);
  }

  moved({ kind, pauseMs }: MoveAnswer): void {
    this.#moves.inc({ outcome: kind });
    if (kind === 'moved' && pauseMs !== undefined) this.#pause.observe(pauseMs / 1000);
  }

  /** `status` is null on an agent that does not lead. */
  async text(status: AgentStatus | null, endedTransactions: number): Promise<string> {
    this.#leads.set(status === null ? 0 : 1);
    for (const gauge of [
      this.#accounts,
      this.#open,
      this.#behind,
      this.#retained,
      this.#relayComplete,
      this.#underWay,
      this.#atRisk,
      this.#waiting,
      this.#oldest,
      this.#copies,
      this.#incomplete,
    ])
      gauge.reset();
    this.#lease.set(status?.lease.kind === 'held' ? status.lease.leftMs / 1000 : 0);
    this.#problems.set(status?.problems.length ?? 0);
    this.#ended.set(endedTransactions);
    for (const [home, count] of Object.entries(status?.homes ?? {})) this.#accounts.set({ home }, count);
    for (const [peer, { open }] of Object.entries(status?.peers ?? {})) this.#open.set({ peer }, open ? 1 : 0);
    for (const { subscriber: peer, stream, lagBytes, retainedBytes } of status?.streams?.outgoing ?? []) {
      if (lagBytes !== null) this.#behind.set({ peer, stream }, lagBytes);
      if (retainedBytes !== null) this.#retained.set({ peer, stream }, retainedBytes);
    }
    for (const { peer, retainedBytes, complete } of status?.relay?.slots ?? []) {
      if (retainedBytes !== null) this.#retained.set({ peer, stream: 'relay' }, retainedBytes);
      if (complete !== null) this.#relayComplete.set({ peer }, complete ? 1 : 0);
    }
    this.#term.set(status?.succession.history.at(-1)?.term ?? (status === null ? 0 : 1));
    this.#members.set(status?.sync.waitsFor.length ?? 0);
    for (const [peer, bytes] of Object.entries(status?.sync.atRiskBytes ?? {}))
      if (bytes !== null) this.#atRisk.set({ peer }, bytes);
    this.#rejoining.set(status === null || status.rejoin === null ? 0 : 1);
    for (const { log, target, waiting, oldestSeconds, drained } of status?.buffer?.drains ?? []) {
      this.#waiting.set({ log, target }, waiting);
      this.#oldest.set({ log, target }, oldestSeconds ?? 0);
      this.#drained.set({ log, target }, drained);
    }
    for (const [state, count] of Object.entries(status?.buffer?.aside ?? {})) this.#aside.set({ state }, count);
    if (status?.merge) {
      const { locked, failed, conflicts } = status.merge;
      this.#pending.set({ state: 'locked' }, locked);
      this.#pending.set(
        { state: 'failed' },
        failed.reduce((sum, { changes }) => sum + changes, 0),
      );
      this.#conflicts.set(conflicts);
    }
    for (const { table, asOf, complete } of status?.copies ?? []) {
      this.#copies.set({ table }, (Date.now() - new Date(asOf).getTime()) / 1000);
      this.#incomplete.set({ table }, complete ? 0 : 1);
    }
    this.#stranded.set(status?.stranded ?? 0);
    for (const { role } of status?.moves.underWay ?? []) this.#underWay.inc({ role });
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }
}
