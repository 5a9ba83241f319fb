/** The steps of a join, in their order. See index.ts. */
import { randomUUID } from 'node:crypto';
import type { RoleName } from 'lanekeeper/config';
import type { DataCenterName, LeaseStore } from 'lanekeeper/model';
import type { Unavailable } from '../connect.ts';
import { readLeader, tryLeadLock } from '../deeds/agents.ts';
import { applyChanges } from '../plan/apply.ts';
import { setMembers } from '../streams/members.ts';
import type { TableVerdict, VerifyProgress } from '../verify/verify.ts';
import { attach } from './attach.ts';
import { dropStreams, emptyTables } from './clear.ts';
import { type CopyProgress, copySnapshot } from './copy.ts';
import { compare, countForPlanner, isWhole, leaveNumbersOut, raiseGeneration, readBack, readmit } from './finish.ts';
import { refusalOf, type Standing, standingOf } from './inspect.ts';
import { type KeepResult, keep } from './keep.ts';
import { lostDatabase } from './lost.ts';
import { handOverShared, keepMerging, seedShared } from './merged-rows.ts';
import {
  eraseMark,
  type JoinMark,
  type JoinSides,
  type JoinStage,
  joinStages,
  othersOf,
  readMark,
  Sessions,
  SideUnavailable,
  Stopped,
  writeMark,
} from './sides.ts';
import { takeMoment } from './snapshot.ts';

export type JoinEvent =
  /** What is being done now. */
  | { readonly kind: 'step'; readonly what: string }
  /** And written down, so that another run goes on from here. */
  | { readonly kind: 'reached'; readonly stage: JoinStage }
  | Exclude<KeepResult, { kind: 'too-many' | 'not-comparable' }>
  /** Nothing goes on until this has ended or come. */
  | { readonly kind: 'waiting'; readonly what: string }
  /** For how long nothing was applied at the source. */
  | { readonly kind: 'paused'; readonly ms: number }
  | ({ readonly kind: 'copy' } & CopyProgress)
  | ({ readonly kind: 'compare'; readonly with: DataCenterName } & VerifyProgress);

export type JoinOptions = JoinSides & {
  /** The lease store, as seen from where the join runs. */
  readonly store: LeaseStore;
  /** Do not keep what only the target has. Default false: it goes to the ledger where the target is intact. */
  readonly discard?: boolean;
  readonly onEvent?: (event: JoinEvent) => void;
  /** Parts of tables that are copied at a time, see `copy.ts`. */
  readonly copying?: { readonly workers?: number; readonly pagesPerPart?: number };
  /** The streams into the source stand still for at most so long. Default 1000. */
  readonly pauseMaxMs?: number;
};

export type JoinResult =
  | {
      readonly kind: 'joined';
      /** It was taken over before and may ask for a lease again; false: it never had one. */
      readonly readmitted: boolean;
      readonly generation: number;
      /** For how long nothing was applied at the source; null: it reads from nobody, or an earlier run did it. */
      readonly pausedMs: number | null;
    }
  /** Nothing was changed. */
  | { readonly kind: 'refused'; readonly why: string; readonly hint: string | null }
  /** What was done stays done: mend it and run it again. */
  | { readonly kind: 'stopped'; readonly stage: JoinStage; readonly why: string; readonly hint: string | null }
  | { readonly kind: 'differs'; readonly from: DataCenterName; readonly tables: readonly TableVerdict[] }
  | (Unavailable & { readonly dataCenter: DataCenterName; readonly role: RoleName });

/** Empties the target's tables. `inspectJoin` says before what that loses. */
export async function joinDataCenter(options: JoinOptions): Promise<JoinResult> {
  const sessions = new Sessions(options);
  const join = new Join(options, sessions);
  try {
    return await join.run();
  } catch (thrown) {
    if (thrown instanceof Stopped) {
      return { kind: 'stopped', stage: join.stage, why: thrown.message, hint: thrown.hint };
    }
    if (thrown instanceof SideUnavailable) {
      return { ...thrown.failure, dataCenter: thrown.dataCenter, role: thrown.role };
    }
    const lost = lostDatabase(thrown);
    if (lost === null) throw thrown;
    return { kind: 'stopped', stage: join.stage, why: lost, hint: 'Run it again when that is mended.' };
  } finally {
    await sessions.close();
  }
}

class Join {
  readonly #options: JoinOptions;
  readonly #sessions: Sessions;
  readonly #here: DataCenterName;
  readonly #there: DataCenterName;
  #mark: JoinMark = { id: randomUUID(), stage: 'begun', detail: {} };
  #pausedMs: number | null = null;

  constructor(options: JoinOptions, sessions: Sessions) {
    this.#options = options;
    this.#sessions = sessions;
    this.#here = options.target.configuration.here;
    this.#there = options.source.configuration.here;
  }

  get stage(): JoinStage {
    return this.#mark.stage;
  }

  async run(): Promise<JoinResult> {
    const { store } = this.#options;
    const standing = await standingOf(store, this.#here, this.#there);
    if (standing.kind === 'may-not') return { ...standing, kind: 'refused' };
    const refused = (why: string, hint: string | null): JoinResult => ({ kind: 'refused', why, hint });
    const refusal = await refusalOf(this.#sessions, this.#options);
    if (refusal !== null) return refusal;
    if ((await isWhole(this.#sessions, store, 'source', this.#there)) === false) {
      return refused(
        `the database of ${this.#there} is not the one that the lease store knows, or an older copy`,
        null,
      );
    }
    // Held until the sessions are closed: no agent leads here meanwhile.
    const session = await this.#sessions.get('target', 'agent');
    if (!(await tryLeadLock(session))) {
      const leader = await readLeader(session).catch(() => null);
      return refused(`the agent ${leader?.instance ?? ''} leads in ${this.#here}`, `Stop the agents of ${this.#here}.`);
    }
    this.#say('bring the schema to what is declared');
    await this.#apply();
    this.#mark = (await readMark(this.#sessions, this.#here, this.#there)) ?? this.#mark;
    if (this.#mark.stage === 'begun') await this.#reached('begun');
    await this.#sameView();
    await this.#keep(standing);
    const generation = await this.#clear(standing);
    await this.#copy();
    const endMerging = await keepMerging(this.#sessions, this.#options);
    try {
      await this.#resend();
      await this.#readBack();
      const differing = await this.#compare();
      if (differing !== null) return { kind: 'differs', ...differing };
    } finally {
      await endMerging();
    }
    await this.#sameView();
    if (standing.takenOver !== null && !(await readmit(this.#sessions, this.#options, store, standing.takenOver))) {
      throw new Stopped('the lease store does not readmit it', 'Run it again.');
    }
    await eraseMark(this.#sessions, this.#here);
    return { kind: 'joined', readmitted: standing.takenOver !== null, generation, pausedMs: this.#pausedMs };
  }

  /**
   * Whoever takes part when somebody is taken over ends what he reads from there and says how far he had come. The one that joins does
   * not take part in that, so after a takeover it begins again.
   */
  async #sameView(): Promise<void> {
    const { term } = this.#mark.detail;
    if (term === undefined || !this.#isPast('cleared')) return;
    const { successions } = await this.#options.store.read();
    const taken = successions.find((one) => one.kind === 'take' && one.term > term);
    if (taken === undefined) return;
    this.#mark = { ...this.#mark, stage: 'kept', detail: {} };
    await writeMark(this.#sessions, this.#here, this.#there, { ...this.#mark, stage: 'cleared' });
    throw new Stopped(
      `${taken.to} has taken over ${taken.from} since this began (term ${taken.term})`,
      'Run it again: it copies everything anew.',
    );
  }

  /** Without its streams: those are made here. */
  async #apply(): Promise<void> {
    const { target } = this.#options;
    const result = await applyChanges(target.connect('owner'), target.configuration);
    switch (result.kind) {
      case 'applied':
        return;
      case 'unavailable':
        throw new SideUnavailable(this.#here, 'owner', result);
      case 'refused':
        throw new Stopped(result.problems[0]?.message ?? 'nothing can be applied');
      case 'unreadable':
      case 'failed':
        throw new Stopped(result.error.message, '`lanekeeper apply` there says more.');
      case 'busy':
        throw new Stopped(`another apply runs in ${this.#here}`);
      case 'blocked':
        throw new Stopped(`${result.step.lock?.table ?? 'a table'} is in use in ${this.#here}`);
    }
  }

  /** What only an intact database has goes to the ledger. An older copy has nothing that was not known once. */
  async #keep({ takenOver, generation }: Extract<Standing, { kind: 'may' }>): Promise<void> {
    const { store, discard = false } = this.#options;
    if (this.#isPast('kept')) return;
    const whole = (await isWhole(this.#sessions, store, 'target', this.#here)) === true;
    if (whole && !discard && takenOver !== null && generation !== null) {
      this.#say(`keep what only ${this.#here} has in the ledger of ${this.#there}`);
      const origin = { dataCenter: this.#here, generation, term: takenOver };
      const confirmed = (await store.read()).leases.find(({ dataCenter }) => dataCenter === this.#there)?.positions
        .received[this.#here];
      const kept = await keep(this.#sessions, this.#options, origin, confirmed);
      if (kept.kind === 'too-many') {
        const hint = '--discard gives them up; `pg_dump` keeps them outside.';
        throw new Stopped(`more than ${kept.atLeast} rows differ, too many to keep one by one`, hint);
      }
      if (kept.kind === 'not-comparable') {
        const each = kept.tables.map(
          ({ table, reason }) => `${table} cannot be compared: ${reason ?? 'no reason is known'}`,
        );
        throw new Stopped(each.join('; '), 'Mend that and run it again, or give these rows up with --discard.');
      }
      this.#options.onEvent?.(kept);
    }
    if (whole && !discard) {
      const handed = await handOverShared(this.#sessions, this.#options);
      if (handed > 0) this.#say(`${handed} shared rows that only ${this.#here} has are merged in ${this.#there}`);
    }
    await this.#reached('kept');
  }

  async #clear({ generation: recorded, term }: Extract<Standing, { kind: 'may' }>): Promise<number> {
    const generation = await raiseGeneration(this.#sessions, this.#here, recorded);
    if (this.#isPast('cleared')) return generation;
    // From here on nothing in it is its own: an agent that is started now gets no lease.
    await writeMark(this.#sessions, this.#here, this.#there, { ...this.#mark, stage: 'cleared', detail: { term } });
    this.#say('take old streams and slots away on all sides');
    await dropStreams(this.#sessions, this.#options);
    const names = othersOf(this.#options).map(({ configuration }) => configuration.here);
    await setMembers(await this.#sessions.get('target', 'agent'), [this.#here, ...names]);
    this.#say(`empty the tables of ${this.#here}`);
    const problem = await emptyTables(this.#sessions, this.#options);
    if (problem !== null) throw new Stopped(`the tables of ${this.#here} could not be emptied: ${problem}`, rightsHint);
    await this.#reached('cleared', { term });
    return generation;
  }

  /** Tables that no stream carries: the other side's agent brings them, as everything that is written in every data center. */
  async #resend(): Promise<void> {
    const { configuration } = this.#options.source;
    const tables = Object.values(configuration.tables).filter(({ writes }) => writes !== 'replicated');
    const agent = await this.#sessions.get('source', 'agent');
    for (const { name } of tables) await agent.query('SELECT lanekeeper.buffer_resend($1, $2)', [name, this.#here]);
  }

  async #copy(): Promise<void> {
    const { onEvent = () => {}, copying = {}, pauseMaxMs } = this.#options;
    if (!this.#isPast('copied')) {
      this.#say(`take a snapshot in ${this.#there}`);
      const moment = await takeMoment(this.#sessions, this.#options, {
        onWait: (what) => onEvent({ kind: 'waiting', what }),
        ...(pauseMaxMs === undefined ? {} : { pauseMaxMs }),
      });
      try {
        this.#pausedMs = moment.pausedMs;
        if (moment.pausedMs !== null) onEvent({ kind: 'paused', ms: moment.pausedMs });
        await this.#reached('copying');
        this.#say('copy');
        await copySnapshot(this.#sessions, this.#options, {
          ...copying,
          snapshot: moment.snapshot,
          onProgress: (progress) => onEvent({ kind: 'copy', ...progress }),
          mayGoOn: () => this.#sameView(),
        });
      } finally {
        await moment.close().catch(() => {});
      }
      await this.#reached('copied', { positions: moment.positions });
    }
    if (this.#isPast('reading')) return;
    const { positions } = this.#mark.detail;
    if (positions === undefined) throw new Stopped('nobody knows any more from where streams are to be read');
    await this.#sameView();
    this.#say(
      `read ${othersOf(this.#options)
        .map(({ configuration }) => configuration.here)
        .join(' and ')} from there on`,
    );
    await attach(this.#sessions, this.#options, positions);
    this.#say('set the sequences beyond what was given out');
    await this.#apply();
    await leaveNumbersOut(this.#sessions, this.#options);
    this.#say('count rows for the planner');
    await countForPlanner(this.#sessions, this.#options);
  }

  async #readBack(): Promise<void> {
    if (this.#isPast('reading')) return;
    this.#say(`let the others read ${this.#here}`);
    const [trouble] = await readBack(this.#sessions, this.#options);
    if (trouble) throw new Stopped(trouble.message, 'Run it again.');
    this.#say('send shared rows');
    if (!(await seedShared(this.#sessions, this.#options)))
      throw new Stopped(`the shared rows of ${this.#there} have not arrived yet`, 'Run it again.');
    await this.#reached('reading');
  }

  async #compare(): Promise<{ readonly from: DataCenterName; readonly tables: readonly TableVerdict[] } | null> {
    const { onEvent = () => {} } = this.#options;
    if (this.#isPast('verified')) return null;
    this.#say('compare');
    const compared = await compare(this.#sessions, this.#options, (progress) =>
      onEvent({ kind: 'compare', ...progress }),
    );
    for (const { with: from, result } of compared) {
      if (!result.clean) return { from, tables: result.tables.filter(({ kind }) => kind !== 'equal') };
    }
    await this.#reached('verified');
    return null;
  }

  #isPast(stage: JoinStage): boolean {
    return joinStages.indexOf(this.#mark.stage) >= joinStages.indexOf(stage);
  }

  async #reached(stage: JoinStage, detail: JoinMark['detail'] = {}): Promise<void> {
    this.#mark = { ...this.#mark, stage, detail: { ...this.#mark.detail, ...detail } };
    await writeMark(this.#sessions, this.#here, this.#there, this.#mark);
    this.#options.onEvent?.({ kind: 'reached', stage });
  }

  #say(what: string): void {
    this.#options.onEvent?.({ kind: 'step', what });
  }
}

const rightsHint = 'See docs/guides/roles.md, or `lanekeeper doctor`, for the rights of the agent.';
