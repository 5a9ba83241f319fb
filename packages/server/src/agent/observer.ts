/**
 * Looks at the streams and at the other data centers' agents, again and again, and tells the protocol whether the gates are
 * open. What was seen last is kept for `status`.
 */

import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Reason } from '../ownership/index.ts';
import {
  countConflicts,
  countHomes,
  noteConflicts,
  noteLeftOut,
  ownHomedTables,
  type PeerTails,
  type Queryable,
  readAnnounced,
  readStreams,
  type StreamsReport,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import { gateReasons } from './gate-reasons.ts';
import type { AgentLimits, Log } from './options.ts';
import type { Peers } from './peers.ts';
import type { Reign } from './reign.ts';
import { readPeerTails } from './relay-slots.ts';

export type PeerView = {
  readonly seenMs: number;
  readonly streams: StreamsReport | null;
  /** Why it may lack some of what was written here, as it said last. */
  readonly incomplete: readonly string[];
  /** What it has on disk of other logs; null when it does not say. */
  readonly tails: PeerTails | null;
};

export type ObserverOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly peers: Peers;
  readonly limits: AgentLimits;
  readonly log: Log;
  readonly reign: () => Reign | null;
};

const askPeersEveryMs = 1_000;
const askMissingEveryMs = 250;
const askTimeoutMs = 2_000;
/** A peer that was not heard of for this long is not there. */
export const peerSilentMs = 5_000;
/** Counting reads every deed: at most this share of the time goes into it. */
const countingShare = 0.05;

export class Observer {
  readonly #options: ObserverOptions;
  readonly #others: readonly DataCenterName[];
  readonly #seen = new Map<DataCenterName, PeerView>();
  readonly #gates = new Map<DataCenterName, readonly Reason[]>();
  #streams: StreamsReport | null = null;
  #homes: Readonly<Record<DataCenterName, number>> | null = null;
  #nextCountMs = 0;
  #timers: NodeJS.Timeout[] = [];
  #looking: Promise<void> | null = null;
  #closed = false;

  constructor(options: ObserverOptions) {
    this.#options = options;
    const { here, dataCenters } = options.configuration;
    this.#others = Object.keys(dataCenters).filter((name) => name !== here);
  }

  start(): void {
    for (const peer of this.#others)
      this.#repeat(
        () => (this.#reportOf(peer) === null ? askMissingEveryMs : askPeersEveryMs),
        () => this.#ask(peer),
      );
    this.#repeat(
      () => this.#options.limits.observeEveryMs,
      () => this.#look(),
    );
  }

  /** A new leader needs to know at once. */
  async refresh(): Promise<void> {
    await Promise.all(this.#others.map((peer) => this.#ask(peer)));
    await this.#look();
  }

  /** A look that is under way may be too early for what is known now. */
  async lookAgain(): Promise<void> {
    await this.#looking;
    await this.#look();
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  get streams(): StreamsReport | null {
    return this.#streams;
  }

  get homes(): Readonly<Record<DataCenterName, number>> | null {
    return this.#homes;
  }

  /** Null: not heard of lately. */
  peer(name: DataCenterName): PeerView | null {
    const view = this.#seen.get(name);
    return view === undefined || performance.now() - view.seenMs > peerSilentMs ? null : view;
  }

  gate(peer: DataCenterName): readonly Reason[] | null {
    return this.#gates.get(peer) ?? null;
  }

  #reportOf(peer: DataCenterName): StreamsReport | null {
    return this.peer(peer)?.streams ?? null;
  }

  #repeat(everyMs: () => number, work: () => Promise<void>): void {
    const again = async () => {
      // A standby watches nothing; it asks the leader when it is asked.
      if (this.#options.reign() !== null) await work();
      if (this.#closed) return;
      this.#timers = this.#timers.filter((one) => one !== timer);
      timer = setTimeout(() => void again(), everyMs());
      this.#timers.push(timer);
    };
    let timer = setTimeout(() => void again(), everyMs());
    this.#timers.push(timer);
  }

  async #ask(peer: DataCenterName): Promise<void> {
    const answer = await this.#options.peers.call(peer, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
    if (answer.kind !== 'answered' || answer.status !== 200) return;
    const { dataCenter, streams, peers, relay } = answer.body;
    if (dataCenter !== peer) return;
    const report = readReport(peer, streams);
    const appeared = report !== null && this.#reportOf(peer) === null;
    const before = this.#seen.get(peer)?.incomplete ?? [];
    const incomplete = readIncomplete(peers, this.#options.configuration.here) ?? before;
    this.#seen.set(peer, { seenMs: performance.now(), streams: report, incomplete, tails: readPeerTails(relay) });
    // A gap is told at once: until it is known here, what the peer confirms counts as held.
    if (!appeared && incomplete.join('\n') === before.join('\n')) return;
    // The gate waits for nothing else.
    await this.lookAgain();
  }

  /** Counts homes again, unless that was done lately, as lately goes for how long it takes: whoever asks shall see what is. */
  async count(client: Queryable): Promise<void> {
    const beganMs = performance.now();
    if (beganMs < this.#nextCountMs) return;
    this.#homes = await countHomes(client);
    this.#nextCountMs = performance.now() + (performance.now() - beganMs) / countingShare;
  }

  async #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = null;
    });
    await this.#looking;
  }

  async #lookOnce(): Promise<void> {
    const { database, configuration, limits, log, reign } = this.#options;
    const { lagMs, lagBytes } = limits;
    try {
      await database.run(async (client) => {
        const announced = new Map<DataCenterName, readonly string[]>();
        const expected = new Map<DataCenterName, readonly string[]>();
        for (const peer of this.#others) {
          announced.set(peer, await readAnnounced(client, peer, configuration.here));
          expected.set(peer, await readAnnounced(client, configuration.here, peer));
        }
        const here = await readStreams(client, configuration);
        this.#streams = here;
        for (const peer of this.#others) {
          let unanswered = 0;
          for (const incoming of here.incoming) {
            if (incoming.publisher !== peer || incoming.stream !== 'homed' || incoming.subscription === null) continue;
            // The other stream's tables do not concern the homes of accounts.
            const { name, tables } = incoming.subscription;
            const homed = (announced.get(peer) ?? []).filter((table) => isHomed(configuration, table));
            const leftOut = homed.filter((table) => !tables.includes(table));
            if (leftOut.length > 0) await noteLeftOut(client, peer, name, leftOut);
            unanswered += await noteConflicts(client, incoming.subscription.name, countConflicts(incoming));
          }
          const there = this.#reportOf(peer);
          // Kept while it is silent: a gap does not close by that.
          const published = here.published.homed ?? [];
          const incomplete = [
            ...(this.#seen.get(peer)?.incomplete ?? []),
            ...(expected.get(peer) ?? [])
              .filter((table) => isHomed(configuration, table) && !published.includes(table))
              .map((table) => `${table} is read there and not published here any more`),
          ];
          const reasons = gateReasons({ peer, here, there, unanswered, incomplete, lagMs, lagBytes });
          this.#gates.set(peer, reasons);
          reign()?.handle({ kind: 'gate', peer, reasons });
        }
        await this.count(client);
      });
    } catch (error) {
      log('warn', 'the streams cannot be looked at', { error: message(error) });
    }
  }
}

function isHomed({ tables }: Configuration, table: string): boolean {
  return ownHomedTables.includes(table) || tables[table]?.class === 'system-of-record';
}

/** What a peer says it may lack of ours; null when it has not looked yet, or does not say. */
function readIncomplete(peers: unknown, here: DataCenterName): readonly string[] | null {
  const gaps = (peers as Readonly<Record<string, { incomplete?: unknown } | undefined>> | null | undefined)?.[here]
    ?.incomplete;
  return Array.isArray(gaps) && gaps.every((gap) => typeof gap === 'string') ? gaps : null;
}

/** A peer's report is input: what does not look like one is none. */
function readReport(peer: DataCenterName, value: unknown): StreamsReport | null {
  if (typeof value !== 'object' || value === null) return null;
  const report = value as Partial<StreamsReport>;
  const isRecord = (part: unknown) => typeof part === 'object' && part !== null;
  const whole =
    report.dataCenter === peer &&
    Array.isArray(report.incoming) &&
    Array.isArray(report.outgoing) &&
    isRecord(report.tables) &&
    isRecord(report.published) &&
    [report.published?.homed, report.published?.rest].every((tables) => tables === null || Array.isArray(tables));
  return whole ? (report as StreamsReport) : null;
}
