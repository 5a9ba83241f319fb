/**
 * Carries out what the protocol asks for about whole data centers: freezing, recording, giving everything away, waiting for
 * peers. The lock that all writers wait for is held by a session of its own, so that it ends with whatever goes wrong.
 */
import { type DataCenterName, singleAccount } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Action, OwnershipEvent } from '../ownership/index.ts';
import {
  beginDrain,
  cancelSyncWaiters,
  endDrain,
  freezeStreams,
  giveAll,
  letApplicationsWait,
  lockWriters,
  proveThatCommitsWait,
  recordSuccessions,
  setStandbyNames,
  setSyncMembers,
  settleView,
  waitUntilSynchronous,
} from '../postgres/index.ts';
import type { EffectContext } from './effect-context.ts';

const freezeWithinMs = 5_000;
const synchronousWithinMs = 10_000;
const proveWithinMs = 3_000;
const lockSessionTimeoutMs = 30_000;

const kinds = [
  'watch-store',
  'succeed',
  'freeze',
  'record',
  'drain-all',
  'lock-writers',
  'give-all',
  'resume',
  'set-sync',
] as const;

export type HandoverAction = Extract<Action, { kind: (typeof kinds)[number] }>;

export function isHandover(action: Action): action is HandoverAction {
  return (kinds as readonly string[]).includes(action.kind);
}

export class Handover {
  /** Holds, or is about to hold, the lock. */
  #session: Client | null = null;

  async perform(context: EffectContext, action: HandoverAction): Promise<OwnershipEvent> {
    const { database, store } = context;
    const { round } = action;
    switch (action.kind) {
      case 'watch-store':
        return { kind: 'watched', round, view: await store.read() };
      case 'succeed': {
        const result = await store.succeed(action.request);
        const { kind, from, to, term } = action.request;
        context.log(result.kind === 'succeeded' ? 'warn' : 'info', `asked for a succession: ${result.kind}`, {
          how: kind,
          from,
          to,
          term: result.view.term,
          ...(result.kind === 'refused' ? { reason: result.reason, asked: term } : {}),
        });
        return { kind: 'succeeded', round, result };
      }
      case 'freeze': {
        const { from, term } = action;
        const cut = await database.run((client) => freezeStreams(client, from, term, freezeWithinMs));
        context.log('warn', 'froze the streams', { from, term, ...cut });
        return { kind: 'frozen', round, cut };
      }
      case 'record': {
        const { successions, cuts } = action;
        await database.run((client) => recordSuccessions(client, successions, cuts));
        const taken = successions.at(-1);
        context.log('warn', 'took over', { from: taken?.from, term: taken?.term, cuts });
        return { kind: 'recorded', round, ok: true };
      }
      case 'drain-all': {
        this.#session = await database.session('switchover', lockSessionTimeoutMs);
        const begun = await database.run((client) => beginDrain(client, singleAccount, action.to, action.forMs));
        const result = begun === null ? ({ kind: 'failed' } as const) : ({ kind: 'begun', ...begun } as const);
        return { kind: 'all-draining', round, result };
      }
      case 'lock-writers': {
        this.#session ??= await database.session('switchover', lockSessionTimeoutMs);
        return { kind: 'writers-locked', round, ok: await lockWriters(this.#session, action.withinMs) };
      }
      case 'give-all': {
        const session = this.#session;
        if (session === null) return { kind: 'all-given', round, ok: false };
        await giveAll(session, action.succession);
        await this.#close();
        const { kind: how, to, term } = action.succession;
        context.log('warn', 'gave everything away', { how, to, term });
        return { kind: 'all-given', round, ok: true };
      }
      case 'resume': {
        await this.#close();
        await database.run(async (client) => {
          await settleView(client);
          await endDrain(client, singleAccount, null);
        });
        return { kind: 'resumed', round, ok: true };
      }
      case 'set-sync':
        return {
          kind: 'sync-set',
          round,
          ok: await context.standbys.alone(() => this.#setSync(context, action.members, action.grows)),
        };
    }
  }

  /** Lets go of the lock: whoever led does not lead any more. */
  abandon(): void {
    void this.#close();
  }

  /** The order of the two is what the promise rests on: see `sync-set.ts`. */
  async #setSync(context: EffectContext, members: readonly DataCenterName[], grows: boolean): Promise<boolean> {
    const { database, log, standbys: own } = context;
    const peers = Object.keys(context.subscriptions);
    const standbys = await database.run((client) => own.present(client));
    if (!grows) {
      await database.run(async (client) => {
        await setSyncMembers(client, members.length);
        const set = await setStandbyNames(client, members, standbys);
        if (set.kind === 'refused' && members.length > 0)
          await letApplicationsWait(client, members, synchronousWithinMs);
        await cancelSyncWaiters(client);
      });
      log('warn', 'remote commits wait for fewer', { members });
      return true;
    }
    return database.run(async (client) => {
      const set = await setStandbyNames(client, members, standbys);
      if (set.kind === 'refused') {
        const view = await letApplicationsWait(client, members, synchronousWithinMs);
        const instead = view === null ? 'and a peer is behind' : 'so applications wait themselves after their commits';
        context.onSyncProblem(`${set.message}, ${instead}`);
        return view !== null;
      }
      if (set.before === 'foreign') {
        await setStandbyNames(client, []);
        const prober = await database.session('probe', lockSessionTimeoutMs);
        try {
          if (!(await proveThatCommitsWait(client, prober, proveWithinMs))) return false;
        } finally {
          await prober.end().catch(() => {});
        }
        await setStandbyNames(client, members, standbys);
      }
      const synchronous = await waitUntilSynchronous(client, members, peers, synchronousWithinMs, own.all);
      context.onSyncProblem(synchronous.kind === 'late' ? `${synchronous.peer}: ${synchronous.reason}` : null);
      if (synchronous.kind === 'late') return false;
      await setSyncMembers(client, members.length);
      log('info', 'remote commits wait for', { members });
      return true;
    });
  }

  async #close(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.end().catch(() => {});
  }
}

/** Nothing is known of it but that it failed. */
export function handoverFailure(action: HandoverAction): OwnershipEvent {
  const { kind, round } = action;
  switch (kind) {
    case 'watch-store':
      return { kind: 'watched', round, view: null };
    case 'succeed':
      return { kind: 'succeeded', round, result: null };
    case 'freeze':
      return { kind: 'frozen', round, cut: null };
    case 'record':
      return { kind: 'recorded', round, ok: false };
    case 'drain-all':
      return { kind: 'all-draining', round, result: { kind: 'failed' } };
    case 'lock-writers':
      return { kind: 'writers-locked', round, ok: false };
    case 'give-all':
      return { kind: 'all-given', round, ok: false };
    case 'resume':
      return { kind: 'resumed', round, ok: false };
    case 'set-sync':
      return { kind: 'sync-set', round, ok: false };
  }
}
