/**
 * Coming back, its first half: what nobody else has is written down where the home is now, and taken away here. That is what
 * this data center wrote last, and what it had heard last of another one that is away.
 */
import {
  lockWriters,
  lowerTail,
  type Queryable,
  readKnownTails,
  readProgress,
  relayedTransactions,
  type StrandedOrigin,
  strandedTransactions,
  undoStranded,
  waitUntilConfirmed,
  writeStranded,
  writeStrandedWhole,
} from '../postgres/index.ts';
import { refuseOlderCopy } from './rejoin-standing.ts';
import {
  type CutOff,
  countedIn,
  isBeyond,
  lastLife,
  NotYet,
  open,
  readStage,
  uncounted,
  type Work,
} from './rejoin-work.ts';

const writersWithinMs = 5_000;
const confirmWithinMs = 10_000;

const seedAgain = ({ here, action }: Work) => `seed it again: \`lanekeeper join ${here} --from ${action.successor}\``;

export async function strand(work: Work): Promise<Readonly<Record<string, unknown>>> {
  await refuseOlderCopy(work);
  // What counts of them is not known before: more of it may have to be set aside.
  const [late] = work.unrecorded;
  if (late !== undefined) throw new NotYet(`${work.action.successor} has not recorded the takeover of ${late} yet`);
  // A transaction that was past every check when the lease ended may still commit: nobody writes once this is held.
  if (!(await lockWriters(work.own, writersWithinMs)))
    throw new NotYet('a transaction that began before the takeover is still open');
  await work.own.query('ROLLBACK');
  const stranded = await strandOwn(work);
  let relayed = 0;
  for (const other of work.others) if (other.isAway) relayed += await strandRelayed(work, other);
  await awaitLedger(work);
  const counted = countedIn(work.detail);
  const cuts = Object.fromEntries(work.others.map((other) => [other.name, uncounted(other, counted).cut.homed]));
  return { stranded, cuts, ...(relayed === 0 ? {} : { relayed }) };
}

async function strandOwn(work: Work): Promise<number> {
  const { options, action, here, own, home, cut, origin } = work;
  const replication = await open(options, here, 'replication');
  try {
    // Where a slot begins says nothing: it confirms log that held nothing for its reader. One that was made anew in between
    // would leave rows that the comparison at the end finds.
    const opened = await strandedTransactions({
      replication,
      agent: own,
      successor: action.successor,
      cut: cut.homed,
    });
    if (opened.kind === 'refused') throw new NotYet(`the log cannot be read: ${opened.error.message}`);
    if (opened.kind !== 'opened')
      throw new NotYet(`what was written here last can no longer be read: ${seedAgain(work)}`);
    let changes = 0;
    for await (const batch of opened.batches) changes += await writeStranded(home, origin, batch);
    return changes;
  } finally {
    await replication.end().catch(() => {});
  }
}

/** One that is back has told of everything itself: there only the rows have to go. */
async function strandRelayed(work: Work, other: CutOff): Promise<number> {
  const { options, action, here, own, home } = work;
  const { origin, cut } = lastLife(other);
  if (!isBeyond(await readProgress(own, other.name), cut.homed)) return 0;
  const tails = await readKnownTails(own);
  if (tails[other.name]?.frozen !== true) throw new NotYet(`the streams from ${other.name} have not ended yet`);
  if (!(await isKept(own, action.successor, other.name, cut.homed)))
    throw new NotYet(`what was last heard of ${other.name} can no longer be read: ${seedAgain(work)}`);
  const replication = await open(options, here, 'replication');
  try {
    const opened = await relayedTransactions({
      replication,
      agent: own,
      reader: action.successor,
      publisher: other.name,
      cut: cut.homed,
    });
    if (opened.kind === 'refused') throw new NotYet(`the log cannot be read: ${opened.error.message}`);
    if (opened.kind !== 'opened')
      throw new NotYet(`what was last heard of ${other.name} can no longer be read: ${seedAgain(work)}`);
    let changes = 0;
    for await (const parts of opened.transactions) changes += await writeStrandedWhole(home, origin, parts);
    return changes;
  } finally {
    await replication.end().catch(() => {});
  }
}

/** Whether the relay slot for `reader` has everything that was applied here of that log beyond `cut`. */
async function isKept(own: Queryable, reader: string, publisher: string, cut: string): Promise<boolean> {
  const { rows } = await own.query(
    `SELECT FROM lanekeeper.relay r JOIN pg_catalog.pg_subscription s ON 'pg_' || s.oid = r.origin
      WHERE r.peer = $1 AND r.publisher = $2 AND r.stream = 'homed' AND r.complete_from <= $3::pg_lsn`,
    [reader, publisher, cut],
  );
  return rows.length > 0;
}

/** Should the successor be lost as well, another one goes on from here, and has to have what was written down there. */
async function awaitLedger({ home, peers: [, ...others] }: Work): Promise<void> {
  if (others.length === 0) return;
  const { rows } = await home.query<{ lsn: string }>('SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS lsn');
  for (const { name } of others)
    if (!(await waitUntilConfirmed(home, name, 'homed', (rows[0] as { lsn: string }).lsn, confirmWithinMs)))
      throw new NotYet(`${name} does not have the ledger yet`);
}

/**
 * Whose stranded rows are taken away here and sent again: our own, and those of every other one of whom we had more than its cut. One
 * that is back has sent more since, and its rows are only sent once more than they need to be.
 */
export async function originsToUndo({ own, origin, others }: Work): Promise<readonly StrandedOrigin[]> {
  const origins: StrandedOrigin[] = [origin];
  for (const { name, lives } of others) {
    const progress = await readProgress(own, name);
    for (const { origin: theirs, cut } of lives) if (isBeyond(progress, cut.homed)) origins.push(theirs);
  }
  return origins;
}

export async function undo(work: Work): Promise<Readonly<Record<string, unknown>>> {
  const { action, own, home } = work;
  // An agent that slept through all of this must not take away what has been sent again since.
  const mayGoOn = async () => (await readStage(own, action.term, 'FOR SHARE'))?.stage === 'stranded';
  let undone = 0;
  for (const origin of await originsToUndo(work)) {
    const result = await undoStranded({ client: own, home, origin, mayGoOn });
    if (result.kind === 'overtaken') throw new NotYet('another agent of this data center has gone on');
    if (result.kind === 'refused')
      throw new NotYet(
        `rows cannot be undone: ${result.error.message}; \`lanekeeper doctor\` prints the right that is missing`,
      );
    undone += result.rows;
  }
  const before = countedIn(work.detail);
  for (const other of work.others) await lowerTail(own, other.name, uncounted(other, before).cut);
  const counted = Object.fromEntries(
    work.others.map(({ name, lives }) => [
      name,
      Object.fromEntries(lives.map(({ cut: { generation, homed } }) => [generation, homed])),
    ]),
  );
  return { undone, counted };
}
