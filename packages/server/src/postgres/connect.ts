/**
 * One connection to one database. A database that cannot be used is an expected event for everything here, so it is a
 * returned `kind` with a reason a person can act on; a throw is a bug.
 */
import { Client, type ClientConfig } from 'pg';

export type UnavailableReason =
  | 'unreachable'
  | 'wrong-password'
  | 'no-password'
  | 'refused'
  | 'no-such-database'
  | 'missing-right'
  | 'too-many-connections'
  | 'not-accepting';

export type Unavailable = {
  readonly kind: 'unavailable';
  readonly reason: UnavailableReason;
  /** Which server, database and role, and what it answered; never the password. One sentence. */
  readonly message: string;
  /** SQLSTATE or the operating system's error code, when there was one. */
  readonly code: string | null;
};

export type ConnectResult = { readonly kind: 'connected'; readonly client: Client } | Unavailable;

export type ConnectOptions = {
  /** Shown in `pg_stat_activity`, so that an operator sees who it is. */
  readonly applicationName: string;
  /** Default 5000. */
  readonly timeoutMs?: number;
  /** `statement_timeout` of the session; 0, the default, leaves the role's own. */
  readonly statementTimeoutMs?: number;
};

/** Makes connections of one role to one database; what rooms that need several connections are handed. */
export type Connect = (applicationName: string) => Promise<ConnectResult>;

/** SQLSTATEs of a refused connection (PostgreSQL, Appendix A). */
const reasons: Readonly<Record<string, UnavailableReason>> = {
  '28P01': 'wrong-password',
  '28000': 'refused',
  '3D000': 'no-such-database',
  '42501': 'missing-right',
  '53300': 'too-many-connections',
  '57P03': 'not-accepting',
};

const explanations: Readonly<Record<UnavailableReason, string>> = {
  unreachable: 'cannot be reached',
  'wrong-password': 'refused the password',
  'no-password': 'asked for a password, and none was given',
  refused: 'refused the role (pg_hba.conf, or the role may not log in)',
  'no-such-database': 'has no such database',
  'missing-right': 'refused the role the right to connect',
  'too-many-connections': 'has no free connection',
  'not-accepting': 'does not accept connections now (starting, stopping or recovering)',
};

/**
 * Connects. The client carries an error listener, so that a connection lost while idle does not end the process: the
 * next query on it fails instead.
 */
export async function connect(url: string, options: ConnectOptions): Promise<ConnectResult> {
  const config: ClientConfig = {
    connectionString: url,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.timeoutMs ?? 5_000,
    keepAlive: true,
    ...(options.statementTimeoutMs ? { statement_timeout: options.statementTimeoutMs } : {}),
  };
  const client = new Client(config);
  client.on('error', () => {});
  try {
    await client.connect();
    return { kind: 'connected', client };
  } catch (error) {
    await client.end().catch(() => {});
    return unavailable(error, client);
  }
}

function unavailable(error: unknown, client: Client): Unavailable {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const known = typeof code === 'string' ? code : null;
  // Without a code the driver gave up by itself: a timeout, a closed socket, or a password it was asked for and lacks.
  const silent: UnavailableReason = known === null && !client.password ? 'no-password' : 'unreachable';
  const reason = known === null ? silent : (reasons[known] ?? 'unreachable');
  const where = `${client.host}:${client.port}, database "${client.database}", role "${client.user}"`;
  return {
    kind: 'unavailable',
    reason,
    // What the driver says of a missing password is about itself.
    message: `PostgreSQL at ${where} ${explanations[reason]}${reason === 'no-password' ? '' : `: ${String(message ?? error)}`}`,
    code: known,
  };
}
