/**
 * The configuration as the rest of the product sees it: complete, checked, frozen. What a person may write, and how it
 * becomes this, is in `schema.ts` and `load.ts`. Configuration belongs to one data center and is never replicated: the
 * files of two data centers differ at least in how each reaches the other.
 */
import type {
  ApproachName,
  DataCenterName,
  DataClass,
  Durability,
  Homes,
  Policy,
  Routing,
  StrandedPolicy,
  WhenAlone,
  WritePattern,
} from '../model/index.ts';

export type DataCenter = {
  readonly name: DataCenterName;
  /** 1 … stride: the remainder of this dc's strided sequences. By position in the file unless given. */
  readonly number: number;
  readonly place: string;
  readonly faultDomain: string;
  /** How to reach this dc's PostgreSQL from *here*, without user and password: `postgres://host:port/database`. */
  readonly database: string;
  /** What customers type: scheme, host and port. */
  readonly url: string;
  /** Base URL of this dc's edge for other edges, as seen from here. Defaults to `url`. */
  readonly edge: string;
  /** Base URLs of this dc's agents, as seen from here. */
  readonly agents: readonly string[];
  /** Base URLs of this dc's application instances, as seen from here. */
  readonly applications: readonly string[];
  /** Base URLs of this dc's backend instances, as seen from here; for the routing of calls. */
  readonly backends: readonly string[];
  /** Requests a second: what it can serve, and what it serves at its busiest. Null when nobody has said. */
  readonly capacity: { readonly limit: number; readonly peak: number } | null;
  /** Physical standbys of this dc's own PostgreSQL: `name` is their slot's, and their `application_name`. */
  readonly standbys: readonly Standby[];
};

export type Standby = {
  readonly name: string;
  /** `remote` commits wait for it as well, while it is there. */
  readonly sync: boolean;
};

/** `schema.table` */
export type TableName = string;

export type Table = {
  readonly name: TableName;
  readonly class: DataClass;
  /**
   * How a row finds its account, for homed tables (`system-of-record` with homes per account): columns from this table
   * through foreign keys to the account, e.g. `['account_id']` or `['order_id', 'account_id']`. Every step but the last is
   * a foreign key column (or the name of a foreign key constraint) of the table reached so far.
   */
  readonly account: readonly string[] | null;
  /** True for the one table whose rows are the accounts: deeds are born with its rows. */
  readonly root: boolean;
  /** Which account a row with a NULL account belongs to; null refuses such rows. */
  readonly nullAccount: string | null;
  /** The one dc that may write: `read-only`, `static-content`, and `system-of-reference` that is not merged. */
  readonly feeder: DataCenterName | null;
  /** The fixed home of all its rows (a key of `fixed`); null where every row is written in its account's home. */
  readonly home: string | null;
  /** How concurrent writes are merged; null for tables that are not merged. */
  readonly policy: Policy | null;
  /** For `locality-weight`, of every dc. */
  readonly weights: Readonly<Record<DataCenterName, number>>;
  readonly writes: WritePattern;
  /** A copy of other tables, made by the feeder as of moments `atMs` + n × `everyMs` since midnight UTC. */
  readonly copy: { readonly query: string; readonly everyMs: number; readonly atMs: number } | null;
  /** Applications are told of every changed row. */
  readonly cached: boolean;
  /** What a transaction that writes it waits for, unless it writes a stricter one as well or asks for more. */
  readonly durability: Durability;
  /** Always `accept` for a `local` table. */
  readonly whenAlone: WhenAlone;
  /** Always `keep` for a table that is not homed. */
  readonly stranded: StrandedPolicy;
};

export type Claim = {
  readonly name: string;
  readonly table: TableName;
  readonly column: string;
  /** `lower` compares case-insensitively; `none` byte by byte. */
  readonly normalise: 'none' | 'lower';
  /** `buckets`: 256 of them, each with a home. `one-dc`: only `dataCenter` registers values. */
  readonly mode: 'buckets' | 'one-dc';
  readonly dataCenter: DataCenterName | null;
};

export type RoleName = 'owner' | 'application' | 'agent' | 'replication';

export type Configuration = {
  readonly cluster: string;
  /** The data center this process runs in: `LANEKEEPER_DC`. */
  readonly here: DataCenterName;
  readonly approach: ApproachName;
  readonly homes: Homes;
  readonly routing: Routing;
  readonly dataCenters: Readonly<Record<DataCenterName, DataCenter>>;
  /** Sequences step by this much, so that each dc draws its own numbers. Fixed for the life of the cluster. Default 8. */
  readonly stride: number;
  /** `observe` logs and counts what would have been refused; only while there is one dc. */
  readonly enforce: 'enforce' | 'observe';
  /** The dc that owns accounts which existed before Lanekeeper did. Default: the first. */
  readonly existingAccounts: DataCenterName;
  readonly leases: {
    readonly store: 'postgres' | 'etcd';
    /**
     * For `postgres`: connection URL of the witness, without password; `witnessUrl()` adds it, and the agent role where no
     * user is named. Empty for `etcd`.
     */
    readonly url: string;
    /** For `etcd`: base URLs of its members. Empty for `postgres`. */
    readonly endpoints: readonly string[];
    /** For `etcd`: null when it does not authenticate by password. `witnessPassword()` finds the password. */
    readonly user: string | null;
    /** For `etcd`: absolute paths of PEM files. */
    readonly tls: { readonly ca: string | null; readonly cert: string | null; readonly key: string | null };
    /** What fails together with the store. `none`: it has no place of its own. Default `witness`. */
    readonly faultDomain: string;
    /** How long a lease lasts after it was last proved. Default 6000. */
    readonly ttlMs: number;
    /** Default 2000. */
    readonly renewEveryMs: number;
    /** The largest difference between two clocks' rates over one lease. Default 1000. */
    readonly skewMs: number;
  };
  readonly failover: {
    /** `automatic`: a survivor takes over by itself once it may. `manual`: only when a person asks for it. */
    readonly mode: 'automatic' | 'manual';
    /** Whether a dc that was taken over comes back by itself; its accounts stay where they are. */
    readonly rejoin: 'automatic' | 'manual';
    /** How long rows of stranded transactions are kept after they were decided about. Default 30 days. */
    readonly keepStrandedMs: number;
  };
  readonly durability: {
    /** A peer that is silent for so long leaves the sync set, so that `remote` commits wait no longer. Default 2000. */
    readonly peerTimeoutMs: number;
  };
  /** PostgreSQL role names. */
  readonly roles: Readonly<Record<RoleName, string>>;
  /** By qualified name. */
  readonly tables: Readonly<Record<TableName, Table>>;
  /** Tables that Lanekeeper leaves alone: `schema.table`, `*` matches within a name. */
  readonly ignore: readonly string[];
  /** Empty with one home for all: there a unique index says as much. */
  readonly claims: Readonly<Record<string, Claim>>;
  /** Homes that belong to no account, and where each starts; the deed is that of `fixedAccount(name)`. */
  readonly fixed: Readonly<Record<string, DataCenterName>>;
  readonly merge: {
    /** Applications that say who they are, by weight; the heaviest wins under `application-weight`. */
    readonly applications: Readonly<Record<string, number>>;
    /** Default 7 days. */
    readonly keepTombstonesMs: number;
    /** Default 30 days. */
    readonly keepConflictsMs: number;
  };
  readonly reads: {
    /** How long a read waits for what the same session wrote last. Default 300. */
    readonly bookmarkWaitMs: number;
  };
  readonly buffer: {
    readonly store: 'postgres' | 'nats';
    /** For `nats`. */
    readonly urls: readonly string[];
    readonly user: string | null;
    readonly replicas: 1 | 3 | 5;
    /** Then a write that cannot be drained is set aside. Default 60000. */
    readonly retryMs: number;
  };
  /** Absolute http(s) URLs. */
  readonly hooks: { readonly onTakeover: string | null; readonly onConflict: string | null };
  readonly rollout: {
    /** Default 600000. */
    readonly bakeMs: number;
    /** All data centers. */
    readonly order: readonly DataCenterName[];
  };
  readonly moves: {
    /** An account stays at least this long where it moved to. Default 30000. */
    readonly dwellMs: number;
    /** Sign-in moves an account at most this often per hour. Default 12. */
    readonly perHour: number;
    /** A sign-in waits this long for a move, then routes. Default and maximum 300. */
    readonly signInWaitMs: number;
    /** Requests in flight get this long to finish before a move gives up. Default 5000. */
    readonly drainMs: number;
  };
  readonly sessions: {
    /** Cookie name without prefix. Default `lanekeeper`. */
    readonly cookie: string;
    /** Parent domain that the dcs' host names share, or null. */
    readonly domain: string | null;
    /** How long a session lasts without a visit. Default 30 days. */
    readonly maxAgeMs: number;
    /** An account counts as in use this long after a sign-in or a write. Default 30 minutes. */
    readonly stickinessMs: number;
    /** Whether an account may be signed in from several browsers at once. Default `allow`. */
    readonly concurrent: 'allow' | 'block';
    /** Public keys of every dc: a JWK set (RFC 7517) with `kid` = `<dc>-<n>`. */
    readonly keys: readonly Readonly<Record<string, unknown>>[];
  };
};
