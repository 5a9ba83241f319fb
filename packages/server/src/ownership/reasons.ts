/**
 * Why a lease, a move or an acceptance is not given. One table: `stops` says what a reason about a stream stands in the
 * way of (`start`: no move is begun; `accept`: what has arrived is not accepted either), and `help` says it to a person.
 */
type ReasonEntry = { readonly stops: 'lease' | 'start' | 'accept'; readonly help: string };

export const reasonTable = {
  starting: { stops: 'lease', help: 'the agent has just started' },
  leaving: { stops: 'lease', help: 'the agent is being stopped' },
  expired: { stops: 'lease', help: 'the lease ran out before it could be renewed' },
  'store-unreachable': { stops: 'lease', help: 'the lease store does not answer' },
  'store-nonsense': { stops: 'lease', help: 'the lease store gave an answer that cannot be true' },
  'store-behind': {
    stops: 'lease',
    help: 'the lease store does not know successions that this database has: it is another one, or was set back',
  },
  'held-by-other': { stops: 'lease', help: 'another agent process holds the lease' },
  'other-incarnation': {
    stops: 'lease',
    help: 'this database is not the one the lease store knows: it was restored, cloned or made anew',
  },
  demoted: {
    stops: 'lease',
    help: 'a standby of this database was promoted and has its place: this one writes nothing any more, and is to become a standby of that one',
  },
  'promotion-unproved': {
    stops: 'lease',
    help: 'it was promoted, and nothing says where its log left the one that the lease store knows: it is a standby of another one, or the replication role cannot read the history of its timelines',
  },
  'promotion-lacks': {
    stops: 'lease',
    help: 'it was promoted and lacks what is known to have been there: fail over to another data center, then seed this one with `lanekeeper join`',
  },
  'promotion-without-slots': {
    stops: 'lease',
    help: 'it was promoted without the slots that another data center reads, which would miss what is written now: fail over to that one, then seed this one with `lanekeeper join`',
  },
  'promotion-unread': {
    stops: 'lease',
    help: 'it was promoted, and another data center does not read from it yet: it may still read from the primary before',
  },
  'promotion-waits': {
    stops: 'lease',
    help: 'it was promoted, and the lease of the primary before has to run out first',
  },
  'other-installation': {
    stops: 'lease',
    help: 'this database belongs to another data center or another cluster: see `cluster`, `dataCenters` and LANEKEEPER_DC',
  },
  'taken-over': { stops: 'lease', help: 'it was taken over and has to rejoin first' },
  'still-held': { stops: 'start', help: 'its lease may still be in use' },
  'released-lately': { stops: 'start', help: 'its agents were stopped in order and may be starting again' },
  'not-in-sync': {
    stops: 'start',
    help: 'it may have acknowledged writes that have not arrived here: see what would be lost, then force it',
  },
  'another-has-more': {
    stops: 'start',
    help: 'another data center has more of it and cannot be reached from here: what is missing could not be fetched, so that one takes over',
  },
  'nothing-to-undo': { stops: 'start', help: 'there is no such succession to hand back' },
  'behind-own-record': {
    stops: 'lease',
    help: 'this database is behind its own last recorded position: it was restored from an old copy',
  },
  'behind-peer': {
    stops: 'lease',
    help: 'a peer has received more from this database than it contains: it was restored from an old copy',
  },
  'tail-lost': {
    stops: 'lease',
    help: 'what it lacks of a data center that was taken over can be had from nobody: seed it again with `lanekeeper join`',
  },
  'database-unreachable': { stops: 'lease', help: 'the local database does not answer' },
  'clock-stepped': { stops: 'lease', help: "the database server's clock jumped" },
  'in-recovery': { stops: 'lease', help: 'this PostgreSQL is a standby' },
  'fence-incomplete': { stops: 'lease', help: 'a fence trigger is missing or disabled' },
  'prepared-transactions': {
    stops: 'lease',
    help: '`max_prepared_transactions` must be 0: a prepared transaction can commit after the lease',
  },
  'no-lease': { stops: 'start', help: 'this data center holds no lease' },
  'not-observed': { stops: 'start', help: 'the streams have not been looked at lately' },
  'peer-incomplete': {
    stops: 'start',
    help: 'the other data center may lack some of what was written here, and has to be verified',
  },
  'cannot-freeze': {
    stops: 'start',
    help: 'this agent may not read how far a stream has come: `lanekeeper doctor` prints the right that is missing; then start it again',
  },
  'peer-not-observed': { stops: 'start', help: "the other data center's agent does not answer" },
  'not-streaming': { stops: 'start', help: 'a stream does not run' },
  lagging: { stops: 'start', help: 'a stream is behind' },
  'table-not-ready': { stops: 'accept', help: 'a table is still being copied' },
  'table-not-subscribed': { stops: 'accept', help: 'a table is not subscribed to' },
  'tables-differ': { stops: 'accept', help: 'the data centers replicate different tables' },
  'version-differs': { stops: 'start', help: "the data centers have different versions of Lanekeeper's schema" },
  'schema-differs': { stops: 'accept', help: 'the tables do not have the same columns in both data centers' },
  'new-conflicts': {
    stops: 'accept',
    help: 'replication met conflicting rows, skipped a transaction or left a table out since the last clean `verify`',
  },
  'third-lacks-deed': { stops: 'accept', help: 'another data center that holds a lease has not heard of the move yet' },
  'digest-differs': { stops: 'accept', help: "the account's rows are not the ones that were sent" },
  arriving: { stops: 'start', help: 'the account is just arriving here' },
  'already-moving': { stops: 'start', help: 'the account is already moving' },
  'not-drained': { stops: 'start', help: 'requests in flight for the account did not finish in time' },
  busy: { stops: 'start', help: 'a transaction kept the account locked' },
  'database-failed': { stops: 'start', help: 'the local database did not answer' },
  'epoch-changed': { stops: 'start', help: 'the account has moved since it was looked at' },
  'no-such-dc': { stops: 'start', help: 'the destination is not a data center of this cluster' },
} as const satisfies Record<string, ReasonEntry>;

export type ReasonCode = keyof typeof reasonTable;

export type Reason = {
  readonly code: ReasonCode;
  /** Which stream, table, trigger or peer, where there is something to name. */
  readonly about?: string;
};

export function reason(code: ReasonCode, about?: string): Reason {
  return about === undefined ? { code } : { code, about };
}

/**
 * It says that something was applied elsewhere and not here. A shape that differs does not: it stops the stream, or does no
 * harm. Neither does a table that was never read here: nobody writes it before.
 */
export function speaksOfGaps({ code }: Reason): boolean {
  return code === 'table-not-ready' || code === 'new-conflicts';
}

/** One sentence without a full stop, for a person. */
export function explain({ code, about }: Reason): string {
  return about === undefined ? reasonTable[code].help : `${reasonTable[code].help} (${about})`;
}
