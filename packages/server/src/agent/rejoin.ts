/**
 * Carries out the stages of coming back after a takeover (`../ownership/rejoin.ts` has their order and meaning).
 *
 * How far it has come is in `lanekeeper.rejoining`, written when a stage is reached: the trigger that holds the successor's
 * stream goes by it, and so does the agent that starts anew. Each stage may be repeated as long as it is not written down.
 * Works on both databases, on the successor's as its agent's role, as `verify` does.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Configuration, RoleName } from 'lanekeeper/config';
import { comparePositions, type DataCenterName, type LeaseStore } from 'lanekeeper/model';
import type { Client } from 'pg';
import { type Action, type OwnershipEvent, type RejoinStage, rejoinStages } from '../ownership/index.ts';
import {
  announceMerged,
  answerConflicts,
  type Connect,
  countConflicts,
  freezeStreams,
  lockWriters,
  mergeAutomatically,
  noteConflicts,
  type Queryable,
  type RecordedCut,
  readProof,
  readStreams,
  readSuccessions,
  readUnanswered,
  renewSlot,
  resendStranded,
  type StrandedOrigin,
  strandedTransactions,
  streamNames,
  thawStreams,
  type UnansweredConflicts,
  undoStranded,
  verifyTables,
  waitUntilConfirmed,
  waitUntilRead,
  writeStranded,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import type { Log } from './options.ts';

type RejoinAction = Extract<Action, { kind: 'rejoin' }>;
type Result = Extract<OwnershipEvent, { kind: 'rejoined' }>['result'];

export type RejoinOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly store: LeaseStore;
  /** Connections to any data center's database, this one's included. */
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  /** Our subscriptions by the peer they read from. */
  readonly subscriptions: Readonly<Record<DataCenterName, readonly string[]>>;
  readonly log: Log;
};

/** What one stage works with. */
type Work = {
  readonly action: RejoinAction;
  /** Here, as the agent, to itself. */
  readonly here: Client;
  /** At the successor, as its agent. */
  readonly home: Client;
  readonly cut: RecordedCut;
  readonly origin: StrandedOrigin;
};

/** Expected, and for a person: the stage waits, and is tried again. */
class NotYet extends Error {}

const freezeWithinMs = 5_000;
const applyWithinMs = 20_000;
const readWithinMs = 10_000;
const writersWithinMs = 5_000;
/** An idle worker reports what it counted within a second, a busy one with its next commit after that. */
const countedWithinMs = 2_500;
/** On a busy machine reports come later still: then once more. */
const comparisons = 4;
/** Longer than streams run behind each other. */
const announcedBeforeMs = 3_600_000;
const seedAgain = (here: string, successor: string) => `seed it again: \`lanekeeper join ${here} --from ${successor}\``;

export class RejoinEffects {
  readonly #options: RejoinOptions;

  constructor(options: RejoinOptions) {
    this.#options = options;
  }

  async perform(action: RejoinAction): Promise<Result> {
    const { log } = this.#options;
    try {
      const reached = await this.#reach(action);
      log('warn', `coming back: ${reached}`, { term: action.term, successor: action.successor });
      return { kind: 'reached', stage: reached };
    } catch (error) {
      const problem = message(error);
      if (!(error instanceof NotYet)) log('error', `coming back: ${action.stage} failed`, { error: problem });
      return { kind: 'not-yet', problem };
    }
  }

  async #reach(action: RejoinAction): Promise<RejoinStage> {
    const { database, configuration } = this.#options;
    const { term, stage, successor } = action;
    const written = await database.run((client) => readStage(client, term));
    if (written !== null && rejoinStages.indexOf(written.stage) >= rejoinStages.indexOf(stage)) return written.stage;
    if (stage === 'frozen') {
      await database.run(async (client) => {
        await freezeStreams(client, successor, term, freezeWithinMs);
        await client.query(
          `INSERT INTO lanekeeper.rejoining (term, generation, stage)
            SELECT $1, generation, 'frozen' FROM lanekeeper.generation ON CONFLICT DO NOTHING`,
          [term],
        );
      });
      return stage;
    }
    if (written === null) throw new NotYet('the streams were not frozen yet');
    const here = await this.#open(configuration.here, 'agent');
    try {
      const home = await this.#open(successor, 'agent');
      try {
        const cut = await readCut(home, term, configuration.here);
        const origin = { dataCenter: configuration.here, generation: written.generation, term };
        const detail = await this.#work({ action, here, home, cut, origin });
        // An agent that stood still in a stage may wake up when another one has come further.
        const { rowCount } = await here.query(
          `UPDATE lanekeeper.rejoining SET stage = $2, detail = detail || $3::jsonb, at = clock_timestamp() WHERE term = $1 AND stage = $4`,
          [term, stage, JSON.stringify(detail), written.stage],
        );
        if (rowCount === 0) throw new NotYet('another agent has come further meanwhile');
        return stage;
      } finally {
        await home.end().catch(() => {});
      }
    } finally {
      await here.end().catch(() => {});
    }
  }

  /** Returns what is worth remembering of it. */
  async #work(work: Work): Promise<Readonly<Record<string, unknown>>> {
    switch (work.action.stage) {
      case 'stranded':
        return this.#strand(work);
      case 'undone':
        return this.#undo(work);
      case 'caught-up':
        return this.#catchUp(work);
      case 'streaming':
        return this.#stream(work);
      case 'verified':
        return this.#verify(work);
      case 'readmitted':
        return this.#readmit(work);
      default:
        return {};
    }
  }

  async #strand({ action, here, home, cut, origin }: Work): Promise<Readonly<Record<string, unknown>>> {
    const { configuration, store } = this.#options;
    const { successor } = action;
    const record = (await store.read()).leases.find(({ dataCenter }) => dataCenter === configuration.here);
    const { incarnation, positions } = await this.#proof(here);
    // Set back by a backup: what it had acknowledged since is nowhere in it, and its log tells another story.
    const setBack =
      record !== undefined &&
      (incarnation.systemIdentifier !== record.incarnation.systemIdentifier ||
        incarnation.timeline !== record.incarnation.timeline ||
        comparePositions(positions.log, record.positions.log) < 0 ||
        comparePositions(positions.log, cut.homed) < 0);
    if (setBack)
      throw new NotYet(
        `this database is not the one that was taken over, or an older copy: ${seedAgain(configuration.here, successor)}`,
      );
    // A transaction that was past every check when the lease ended may still commit: nobody writes once this is held.
    if (!(await lockWriters(here, writersWithinMs)))
      throw new NotYet('a transaction that began before the takeover is still open');
    await here.query('ROLLBACK');
    const replication = await this.#open(configuration.here, 'replication');
    try {
      // Where a slot begins says nothing: it confirms log that held nothing for its reader. One that was made anew in between
      // would leave rows that the comparison at the end finds.
      const opened = await strandedTransactions({ replication, agent: here, successor, cut: cut.homed });
      if (opened.kind === 'refused') throw new NotYet(`the log cannot be read: ${opened.error.message}`);
      if (opened.kind !== 'opened')
        throw new NotYet(
          `what was written here last can no longer be read: ${seedAgain(configuration.here, successor)}`,
        );
      let changes = 0;
      for await (const batch of opened.batches) changes += await writeStranded(home, origin, batch);
      return { stranded: changes };
    } finally {
      await replication.end().catch(() => {});
    }
  }

  async #undo({ here, home, origin }: Work): Promise<Readonly<Record<string, unknown>>> {
    // An agent that slept through all of this must not take away what has been sent again since.
    const mayGoOn = async () => (await readStage(here, origin.term, 'FOR SHARE'))?.stage === 'stranded';
    const result = await undoStranded({ client: here, home, origin, mayGoOn });
    if (result.kind === 'overtaken') throw new NotYet('another agent of this data center has gone on');
    if (result.kind === 'refused')
      throw new NotYet(
        `rows cannot be undone: ${result.error.message}; \`lanekeeper doctor\` prints the right that is missing`,
      );
    return { undone: result.rows };
  }

  async #catchUp({ action, here, home, origin }: Work): Promise<Readonly<Record<string, unknown>>> {
    await thawStreams(here, action.successor);
    const { keys, problems, upTo } = await resendStranded(home, origin);
    if (!(await waitUntilConfirmed(home, origin.dataCenter, 'homed', upTo, applyWithinMs)))
      throw new NotYet(`the stream from ${action.successor} has not arrived up to ${upTo} yet`);
    const busy = problems.filter(({ outcome }) => outcome === 'busy').length;
    if (busy > 0) throw new NotYet(`${busy} rows were in use in ${action.successor} and are sent again`);
    return { resent: keys };
  }

  async #stream({ action, here, home }: Work): Promise<Readonly<Record<string, unknown>>> {
    const { configuration } = this.#options;
    const { successor } = action;
    const replication = await this.#open(configuration.here, 'replication');
    try {
      // What the old slot still holds is in the ledger; from the new one on, everything written here is to be applied.
      await renewSlot(replication, successor, 'homed');
    } finally {
      await replication.end().catch(() => {});
    }
    await thawStreams(home, configuration.here);
    for (const stream of streamNames)
      if (!(await waitUntilRead(here, successor, stream, readWithinMs)))
        throw new NotYet(`${successor} does not read the ${stream} stream yet`);
    return { announced: await this.#announce({ here, home, term: action.term }) };
  }

  /** Shared rows are late, never stranded: the streams bring them, and what was written around the takeover is sent once more. */
  async #announce({ here, home, term }: { here: Client; home: Client; term: number }): Promise<number> {
    const { configuration } = this.#options;
    const { rows } = await home.query<{ at: Date }>('SELECT at FROM lanekeeper.succession WHERE term = $1', [term]);
    if (rows[0] === undefined) throw new NotYet(`the successor has not recorded the takeover of term ${term} yet`);
    const since = new Date(rows[0].at.getTime() - announcedBeforeMs);
    return (
      (await announceMerged(here, configuration, { since })) + (await announceMerged(home, configuration, { since }))
    );
  }

  /** What catching up met is counted by workers that report it later: it is answered for by a comparison that began afterwards. */
  async #verify({ action }: Work): Promise<Readonly<Record<string, unknown>>> {
    const sides = [this.#options.configuration.here, action.successor] as const;
    for (let attempt = 0; attempt < comparisons; attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, countedWithinMs));
      const counted = await this.#countConflicts(sides);
      const rows = await this.#compare(action);
      const since = await this.#countConflicts(sides);
      for (const [dc, unanswered] of counted) await this.#on(dc, (client) => answerConflicts(client, unanswered));
      if (sides.every((dc) => isDeepStrictEqual(counted.get(dc), since.get(dc)))) return { rows };
    }
    throw new NotYet('replication still reports conflicts that it met before');
  }

  async #countConflicts(sides: readonly DataCenterName[]): Promise<ReadonlyMap<DataCenterName, UnansweredConflicts>> {
    const { configuration } = this.#options;
    const counted = new Map<DataCenterName, UnansweredConflicts>();
    for (const dc of sides) {
      await this.#on(dc, (client) => noteIncoming(client, { ...configuration, here: dc }));
      counted.set(dc, await this.#on(dc, readUnanswered));
    }
    return counted;
  }

  /** How many rows were compared; throws when they are not the same. */
  async #compare(action: RejoinAction): Promise<number> {
    const { configuration, connect } = this.#options;
    const result = await verifyTables({
      configuration,
      here: configuration.here,
      there: action.successor,
      connect: (dc) => connect(dc, 'agent'),
    });
    if (result.kind !== 'verified') throw new NotYet(result.message);
    if (!result.clean) {
      const tables = result.tables.filter(({ kind }) => kind !== 'equal').map(({ table, kind }) => `${table} ${kind}`);
      throw new NotYet(
        `not equal: ${tables.join(', ')}; \`lanekeeper verify\` names the rows, \`--repair\` mends them`,
      );
    }
    return result.tables.reduce((sum, { rowsHere }) => sum + rowsHere, 0);
  }

  async #readmit({ action, here, home, origin }: Work): Promise<Readonly<Record<string, unknown>>> {
    const { configuration, store } = this.#options;
    const generation = origin.generation + 1;
    await here.query('UPDATE lanekeeper.generation SET generation = $1 WHERE generation < $1', [generation]);
    // Before the store readmits it: from then on nobody comes back to this stage.
    const { merged, left } = await mergeAutomatically(home, configuration, origin);
    const { incarnation, positions } = await this.#proof(here);
    const dataCenter = configuration.here;
    const readmitted = await store.readmit({ dataCenter, takenOver: action.term, incarnation, positions });
    if (!readmitted) {
      const record = (await store.read()).leases.find((one) => one.dataCenter === dataCenter);
      if (record?.takenOver !== null) throw new NotYet('the lease store does not readmit it');
    }
    return { generation, merged, left };
  }

  async #proof(client: Queryable) {
    return readProof(client, this.#options.subscriptions, true);
  }

  async #on<T>(dc: DataCenterName, work: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.#open(dc, 'agent');
    try {
      return await work(client);
    } finally {
      await client.end().catch(() => {});
    }
  }

  async #open(dc: DataCenterName, role: RoleName): Promise<Client> {
    const connected = await this.#options.connect(dc, role)('lanekeeper rejoin');
    if (connected.kind === 'unavailable') throw new NotYet(connected.message);
    return connected.client;
  }
}

/** Takes down the conflicts that replication has counted in the database of `configuration.here`. */
async function noteIncoming(client: Queryable, configuration: Configuration): Promise<void> {
  for (const incoming of (await readStreams(client, configuration)).incoming)
    if (incoming.stream === 'homed' && incoming.subscription !== null)
      await noteConflicts(client, incoming.subscription.name, countConflicts(incoming));
}

async function readStage(
  client: Queryable,
  term: number,
  lock: '' | 'FOR SHARE' = '',
): Promise<{ readonly stage: RejoinStage; readonly generation: number } | null> {
  const { rows } = await client.query<{ stage: RejoinStage; generation: number }>(
    `SELECT stage, generation FROM lanekeeper.rejoining WHERE term = $1 ${lock}`,
    [term],
  );
  return rows[0] ?? null;
}

async function readCut(home: Queryable, term: number, here: DataCenterName): Promise<RecordedCut> {
  const cut = (await readSuccessions(home)).find((one) => one.term === term)?.cuts[here];
  if (cut === undefined) throw new NotYet(`the successor has not recorded the takeover of term ${term} yet`);
  return cut;
}
