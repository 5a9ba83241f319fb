/**
 * Keeps the relay slots of this data center: makes them, moves them on, and says what it has itself of other logs, by which
 * the others move theirs. With two data centers there are none, and nothing is done.
 */
import type { Configuration, RoleName } from 'lanekeeper/config';
import { comparePositions, type DataCenterName, isPosition } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  advanceRelaySlot,
  type BegunSample,
  beginSample,
  type Connect,
  coveredSample,
  ensureRelaySlots,
  finishSample,
  hasRelays,
  noteHeard,
  type PeerTails,
  type RelayOutcome,
  type RelaySample,
  type RelaySlotState,
  readPublishers,
  readRelaySlots,
  readTails,
  stillNeeded,
  withSample,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';

export type RelayStatus = {
  /** What is on disk here of the others' logs. */
  readonly tails: PeerTails;
  /** What is kept here for each peer. Those who need none yet are not listed. */
  readonly slots: readonly (RelaySlotState & {
    /** It holds whatever the peer may lack of a third; null while the peer does not say what it has. */
    readonly complete: boolean | null;
  })[];
  /** What needs somebody's attention, in words. */
  readonly problems: readonly string[];
};

export type RelaySlotsOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
};

const ensureEveryMs = 10_000;
/** Making a slot waits for every running transaction. */
const ensureTimeoutMs = 20_000;
/** With a sample a second: a minute's, and then fewer of a longer time. */
const samplesMax = 64;
/** A slot that was just made is complete when its reader has caught up. */
const incompleteForMs = 60_000;
/** Each time reads the log again from where the slot would restart, which PostgreSQL moves every 15 seconds. */
const advanceEveryMs = 5_000;
const spareShareMin = 0.5;
const mebibyte = 1_048_576;

export class RelaySlots {
  readonly #options: RelaySlotsOptions;
  #replication: Client | null = null;
  #begun: BegunSample | null = null;
  #samples: readonly RelaySample[] = [];
  #ensuredMs = Number.NEGATIVE_INFINITY;
  readonly #advancedMs = new Map<DataCenterName, number>();
  #outcomes: readonly RelayOutcome[] = [];
  #tails: PeerTails = {};
  #slots: RelayStatus['slots'] = [];
  readonly #incompleteSince = new Map<DataCenterName, number>();
  #problem: string | null = null;
  #closed = false;

  constructor(options: RelaySlotsOptions) {
    this.#options = options;
  }

  /** Whether there is anything to keep: not with two data centers. */
  get needed(): boolean {
    return hasRelays(this.#options.configuration);
  }

  /** Null with two data centers. */
  get status(): RelayStatus | null {
    return this.needed ? { tails: this.#tails, slots: this.#slots, problems: this.#problems() } : null;
  }

  /** Writes down what has been heard, and then says it. */
  async note(): Promise<void> {
    const { database, configuration } = this.#options;
    await database.run(async (client) => {
      const publishers = await readPublishers(client, configuration);
      await noteHeard(client, publishers);
      const tails: Record<string, Record<string, string>> = {};
      for (const { publisher, stream, tail } of await readTails(client, publishers)) {
        tails[publisher] = { ...tails[publisher], [stream]: tail };
      }
      this.#tails = tails;
    });
  }

  /** `tailsOf`: what a peer has said lately; null when it has not. */
  async keep(tailsOf: (peer: DataCenterName) => PeerTails | null): Promise<void> {
    const replication = await this.#session();
    if (replication === null) return;
    const { database, configuration } = this.#options;
    try {
      await database.run(async (agent) => {
        const sessions = { agent, replication };
        if (performance.now() - this.#ensuredMs > ensureEveryMs) {
          await replication.query(`SET statement_timeout = ${ensureTimeoutMs}`);
          this.#outcomes = await ensureRelaySlots(sessions, configuration);
          this.#ensuredMs = performance.now();
        }
        const peers = this.#outcomes.map(({ peer }) => peer);
        if (peers.length > 0) await this.#sample(agent);
        // It reads as much log as there is to be passed.
        await replication.query('SET statement_timeout = 0');
        for (const peer of peers) {
          const tails = tailsOf(peer);
          const covered = tails === null ? null : coveredSample(this.#samples, peer, tails);
          const nextMs = (this.#advancedMs.get(peer) ?? Number.NEGATIVE_INFINITY) + advanceEveryMs;
          if (covered === null || performance.now() < nextMs) continue;
          await advanceRelaySlot(sessions, peer, covered);
          this.#advancedMs.set(peer, performance.now());
        }
        const states = await readRelaySlots(agent, configuration);
        this.#slots = states
          .filter(({ peer }) => peers.includes(peer))
          .map((state) => ({ ...state, complete: isComplete(state, tailsOf(state.peer)) }));
        this.#samples = stillNeeded(
          this.#samples,
          this.#slots.map(({ confirmedLsn }) => confirmedLsn ?? '0/0'),
        );
      });
      this.#problem = null;
    } catch (error) {
      this.#problem = `relay slots cannot be kept: ${error instanceof Error ? error.message : String(error)}`;
      // Whatever is wrong with the session is not wrong with the next one.
      this.#drop();
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  async #sample(agent: Parameters<typeof beginSample>[0]): Promise<void> {
    const publishers = await readPublishers(agent, this.#options.configuration);
    const sample = this.#begun === null ? null : await finishSample(agent, this.#begun, publishers);
    if (sample !== null) this.#samples = withSample(this.#samples, sample, samplesMax);
    if (sample !== null || this.#begun === null) this.#begun = await beginSample(agent);
  }

  async #session(): Promise<Client | null> {
    if (this.#replication !== null || this.#closed) return this.#replication;
    const { configuration, connect } = this.#options;
    const connected = await connect(configuration.here, 'replication')('lanekeeper relay');
    if (connected.kind === 'unavailable') {
      this.#problem = `relay slots cannot be kept: ${connected.message}`;
      return null;
    }
    const { client } = connected;
    client.on('end', () => {
      if (this.#replication === client) this.#replication = null;
    });
    if (this.#closed) client.end().catch(() => {});
    else this.#replication = client;
    return this.#replication;
  }

  #drop(): void {
    this.#replication?.end().catch(() => {});
    this.#replication = null;
  }

  #problems(): readonly string[] {
    const problems = this.#problem === null ? [] : [this.#problem];
    for (const { peer, kind, message } of this.#outcomes) {
      if (kind === 'failed') problems.push(`there is no relay slot for ${peer}: ${message}`);
    }
    for (const slot of this.#slots) {
      const { peer, walStatus, spareBytes, retainedBytes, complete } = slot;
      const limitBytes = (spareBytes ?? 0) + (retainedBytes ?? 0);
      if (walStatus === 'lost') problems.push(`the relay slot for ${peer} has lost what it kept`);
      else if (spareBytes !== null && spareBytes < spareShareMin * limitBytes) {
        const leftMib = Math.max(0, Math.round(spareBytes / mebibyte));
        problems.push(`the relay slot for ${peer} loses what it keeps when another ${leftMib} MiB have been written`);
      }
      if (complete !== false) this.#incompleteSince.delete(peer);
      else {
        const sinceMs = this.#incompleteSince.get(peer) ?? performance.now();
        this.#incompleteSince.set(peer, sinceMs);
        if (performance.now() - sinceMs > incompleteForMs) {
          problems.push(
            `the relay slot for ${peer} begins later than what ${peer} has: should a third fail now, it may lack more`,
          );
        }
      }
    }
    return problems;
  }
}

function isComplete({ exists, completeFrom }: RelaySlotState, tails: PeerTails | null): boolean | null {
  if (tails === null) return null;
  const measured = Object.entries(completeFrom);
  if (!exists || measured.length === 0) return false;
  return measured.every(([publisher, from]) =>
    (['homed', 'rest'] as const).every((stream) => {
      const tail = tails[publisher]?.[stream];
      return tail !== undefined && comparePositions(tail, from[stream]) >= 0;
    }),
  );
}

/** What a peer's status says of its tails. It is input: what does not look like a position is not known. */
export function readPeerTails(relay: unknown): PeerTails | null {
  const said = (relay as { tails?: unknown } | null | undefined)?.tails;
  if (typeof said !== 'object' || said === null) return null;
  const tails: Record<string, Record<string, string>> = {};
  for (const [publisher, places] of Object.entries(said as Readonly<Record<string, unknown>>)) {
    const { homed, rest } = (places ?? {}) as { homed?: unknown; rest?: unknown };
    tails[publisher] = {
      ...(isPosition(homed) ? { homed } : {}),
      ...(isPosition(rest) ? { rest } : {}),
    };
  }
  return tails;
}
