/** What an agent is given, and the limits it works within. */
import type { Configuration, RoleName } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { KeyRing } from 'lanekeeper/session';
import type { Connect } from '../postgres/index.ts';
import type { Buffering } from './buffering.ts';

export type LogLevel = 'info' | 'warn' | 'error';
export type Log = (level: LogLevel, event: string, details?: Readonly<Record<string, unknown>>) => void;

export type AgentOptions = {
  readonly configuration: Configuration;
  /** With the signing key of this dc. */
  readonly keys: KeyRing;
  /** The local database as the agent's role, straight to PostgreSQL. */
  readonly databaseUrl: string;
  readonly leaseStore: LeaseStore;
  /** Connections to any data center's database: coming back after a takeover works on both. */
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  /** For tables that are written in every data center; closed with the agent. */
  readonly buffering?: Buffering;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** PEM. Without it, put something in front that speaks TLS when others are reached over open lines. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Where the other agents of this dc reach this one. Default: the address it listens on. */
  readonly url?: string;
  /** Names this process among the agents of its dc. Default: the dc's name and something random. */
  readonly instance?: string;
  /** Signs what `hooks` are told. Default: they are told without a signature. */
  readonly hookSecret?: string;
  /** Of the product, shown in `status`. */
  readonly version: string;
  readonly log?: Log;
  readonly limits?: Partial<AgentLimits>;
};

export type AgentLimits = {
  /**
   * A transaction that has passed the fence and is older is ended. A takeover waits for lease + longest transaction +
   * skew (faults.md, remedy 2), so that this is part of how long a failover takes. Default 10,000.
   */
  readonly transactionMs: number;
  /** An account that arrived and cannot be accepted for this long goes back. Default 5000. */
  readonly acceptWithinMs: number;
  /** No move begins while a stream is further behind than this. Defaults 5000 and 16 MiB. */
  readonly lagMs: number;
  readonly lagBytes: number;
  /** Moves that this dc gives away at the same time; others wait their turn. Default 16. */
  readonly maxMoves: number;
  /** How often the streams are looked at. Default 2000. */
  readonly observeEveryMs: number;
  /** How often the lease store is looked at for what other data centers do. Default 300. */
  readonly watchEveryMs: number;
  /** A data center whose agents were stopped in order is taken over only after this long. Default 30,000. */
  readonly releasedGraceMs: number;
  /** On `close`, how long moves under way and the release of the lease may take. Default 8000. */
  readonly closeMs: number;
};

export const defaultLimits: AgentLimits = {
  transactionMs: 10_000,
  acceptWithinMs: 5_000,
  lagMs: 5_000,
  lagBytes: 16 * 1024 * 1024,
  maxMoves: 16,
  observeEveryMs: 2_000,
  watchEveryMs: 300,
  releasedGraceMs: 30_000,
  closeMs: 8_000,
};
