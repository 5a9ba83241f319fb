/**
 * The agent of one data center: observe, decide, act. Several may run; one leads.
 *
 * Map: `leadership.ts` who leads · `reign.ts` a leader's time: events in, actions out, deciding in `../ownership` ·
 * `effects.ts` carrying actions out, `handover.ts` those about whole data centers, `rejoin.ts` coming back ·
 * `replication.ts` who reads our log · `successions.ts` news of them · `yield.ts` a database that broke · `observer.ts`, `gate-reasons.ts` streams and peers → gates · `moves.ts`, `arrivals.ts`
 * moves as people ask for them, `seen.ts` deeds that thirds have · `claims.ts` · `copies.ts` · `merge.ts` · `hooks.ts` · `upkeep.ts`, `rollout.ts` · `api.ts`, `peers.ts` HTTP in and out · `status.ts`, `metrics.ts` ·
 * `buffering.ts` writes to every data center · `database.ts` connections.
 *
 * Invariants.
 * 1 (R4) Only the session that holds the lead writes the lease, so an agent that lost the lead cannot.
 * 2 (R1) An agent decides nothing about a write: it makes deeds, acceptances and leases, and the fence judges by them.
 * 3 (R3) Nothing is kept in memory that a move needs after its give: deeds that wait are found in the database again. An
 *   account that was given is accepted or on its way back at most `acceptWithinMs` + 5 s (one sweep) after its deed arrived
 *   where an agent leads that has the lease.
 * 4 (R6) What could not be learned is answered as `pending`, `unreachable` or `unavailable`, with a reason.
 * 5 Every wait has an end: statements, calls, drains, leaving.
 */

import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { comparableConfiguration } from 'lanekeeper/config';
import type { LeaseCredential } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Settings } from '../ownership/index.ts';
import {
  countOpenStranded,
  landSuccessions,
  mayReadOrigins,
  readClasses,
  readFacts,
  readIncidents,
  readMoves,
  settleView,
  streamNames,
  subscriptionName,
} from '../postgres/index.ts';
import { buildApi } from './api.ts';
import { Arrivals } from './arrivals.ts';
import { requestClaim } from './claims.ts';
import { collectConflicts } from './conflict-hook.ts';
import { Copies } from './copies.ts';
import { Listener, LocalDatabase } from './database.ts';
import { message } from './effect-context.ts';
import { Handover } from './handover.ts';
import { judgeHealth } from './health.ts';
import { Hooks } from './hooks.ts';
import { Leadership } from './leadership.ts';
import { Merging } from './merge.ts';
import { Metrics } from './metrics.ts';
import { type MoveAnswer, type MoveRequest, requestMove } from './moves.ts';
import { readNews } from './news.ts';
import { Observer } from './observer.ts';
import { type AgentOptions, defaultLimits } from './options.ts';
import { Peers } from './peers.ts';
import { Promotion } from './promotion.ts';
import { Reign } from './reign.ts';
import { RejoinEffects } from './rejoin.ts';
import { RelayEffects } from './relay.ts';
import { ReplicationWatch } from './replication.ts';
import { Rollout } from './rollout.ts';
import { Seen } from './seen.ts';
import { StandbyList } from './standby-list.ts';
import { type AgentStatus, buildStatus } from './status.ts';
import { Successions } from './successions.ts';
import { collectTakeovers } from './takeover-hook.ts';
import { Upkeep } from './upkeep.ts';
import { judgeFailure, yieldWhenGone } from './yield.ts';

export type { FailoverAnswer, SwitchAnswer } from './api-handover.ts';
export type { Buffering, BufferStatus } from './buffering.ts';
export type { MoveAnswer } from './moves.ts';
export { type AgentLimits, type AgentOptions, defaultLimits, type Log } from './options.ts';
export { type PeerAnswer, type PeerCall, Peers } from './peers.ts';
export type { AgentStatus, StandingOfPeer } from './status.ts';

export type Agent = {
  /** Where it listens. */
  readonly url: string;
  /** Leaves in order: see `Leadership.close`. */
  close(): Promise<void>;
};

/** For work beside moves: observing, claims, status. */
const spareConnections = 6;
const readAgainMs = 1_000;
const recentMoves = 20;
const recentIncidents = 50;

/** Starts listening and trying to lead. A database or a lease store that does not answer is waited for. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { configuration, keys, leaseStore, log = () => {} } = options;
  const { here, leases, moves, dataCenters } = configuration;
  const limits = { ...defaultLimits, ...options.limits };
  const instance = options.instance ?? `${here}-${randomBytes(4).toString('hex')}`;
  const others = Object.keys(dataCenters).filter((name) => name !== here);

  const database = new LocalDatabase({
    url: options.databaseUrl,
    instance,
    connections: limits.maxMoves + spareConnections,
    statementMs: moves.drainMs + 5_000,
  });
  const peers = new Peers(Object.fromEntries(others.map((name) => [name, dataCenters[name]?.agents ?? []])), keys);
  const arrivals = new Arrivals();
  const metrics = new Metrics();

  const settings: Settings = {
    here,
    holder: `${instance}-${randomBytes(6).toString('base64url')}`,
    ttlMs: leases.ttlMs,
    renewEveryMs: leases.renewEveryMs,
    skewMs: leases.skewMs,
    answerWithinMs: Math.max(2_000, leases.renewEveryMs),
    observationMaxAgeMs: Math.max(5_000, 2.5 * limits.observeEveryMs),
    acceptWithinMs: limits.acceptWithinMs,
    drainMs: moves.drainMs,
    maxMoves: limits.maxMoves,
    dwellMs: moves.dwellMs,
    perHour: moves.perHour,
    peers: others,
    watchEveryMs: limits.watchEveryMs,
    automaticFailover: configuration.failover.mode === 'automatic',
    releasedGraceMs: limits.releasedGraceMs,
    automaticRejoin: configuration.failover.rejoin === 'automatic',
    peerTimeoutMs: configuration.durability.peerTimeoutMs,
  };
  const subscriptions = Object.fromEntries(
    others.map((peer) => [peer, streamNames.map((stream) => subscriptionName(peer, stream))]),
  );
  const handover = new Handover();
  const relay = new RelayEffects({ configuration, database, connect: options.connect, log });
  const rejoin = new RejoinEffects({
    configuration,
    database,
    store: leaseStore,
    connect: options.connect,
    subscriptions,
    mend: (request) => relay.mend({ kind: 'mend', round: 0, ...request }),
    log,
  });
  const standbys = new StandbyList(configuration);
  const look = () => observer.lookAgain();
  const promotion = new Promotion({ peers: others, connect: options.connect(here, 'replication'), look, log });
  let syncProblem: string | null = null;
  const makeReign = async (session: Client, predecessor: LeaseCredential | null) => {
    const mayFreeze = await mayReadOrigins(session);
    const automaticFailover = settings.automaticFailover && mayFreeze;
    const context = {
      configuration,
      instance,
      database,
      session,
      store: leaseStore,
      subscriptions,
      mayReadOrigins: mayFreeze,
      promotion,
      standbys,
      handover,
      rejoin,
      relay,
      seen,
      onSyncProblem: (problem: string | null) => {
        syncProblem = problem;
      },
      log,
    };
    return new Reign({
      settings: { ...settings, automaticFailover },
      context,
      predecessor,
      onSettled: (settled) => arrivals.settle(settled),
    });
  };

  const reign = () => leadership.reign;
  const seen = new Seen({ peers, reign });
  const observer = new Observer({ configuration, database, peers, limits, log, reign });
  const replication = new ReplicationWatch({ database, others, standbys, log, reign });
  const successions = new Successions(database, log);
  const { keepStrandedMs } = configuration.failover;
  const rollout = new Rollout(configuration, options.version, database, () => (reign()?.leaseLeftMs() ?? 0) > 0);
  metrics.built(options.version, rollout.digest);
  const note = () => rollout.note();
  const { slots: relaySlots } = relay;
  const upkeep = new Upkeep({ database, observer, others, limits, keepStrandedMs, relaySlots, log, reign, note });
  const hooks: Hooks = new Hooks({
    configuration,
    database,
    secret: options.hookSecret ?? null,
    log,
    leads: () => reign() !== null,
    collect: async (client) => {
      await collectTakeovers(hooks, configuration, client);
      await collectConflicts(hooks, client);
    },
  });
  const copies = new Copies({ configuration, database, connect: options.connect, log, reign });
  const merging = new Merging({ configuration, database, log, reign });
  const listener = new Listener(
    () => database.session('listen', 5_000),
    'lanekeeper_agent',
    {
      message: (payload) => hear(payload),
      // Whatever was said while nobody listened is found in the database.
      up: () => {
        void reign()?.sweep(null);
        void readSuccessions();
      },
    },
    log,
  );

  /** The view follows the table where nobody has to be stopped: whoever gains homes. */
  async function readSuccessions(): Promise<void> {
    const known = await successions.refresh();
    const present = reign();
    if (present === null) return;
    try {
      if (known === null) throw new Error('the database did not answer');
      await database.run(settleView);
      await database.run(landSuccessions);
      present.handle({ kind: 'successions-read', terms: known.map(({ term }) => term) });
    } catch (error) {
      log('warn', 'the successions cannot be read', { error: message(error) });
      // Without them a leader takes nothing over, and nobody else may tell it again.
      if (!closing && reign() === present) setTimeout(() => void readSuccessions(), readAgainMs);
    }
  }
  async function yieldIfGone(): Promise<void> {
    const probe = () => database.probe(500).then(() => 'answers' as const, judgeFailure);
    const over = () => closing || reign() !== null || (dataCenters[here]?.standbys.length ?? 0) > 0;
    await yieldWhenGone({ here, holder: settings.holder, store: leaseStore, probe, log, over });
  }
  let closing = false;
  function hear(payload: string): void {
    const word = readNews(payload);
    if (word?.kind === 'leader-left') leadership.wake();
    else if (word?.kind === 'succession') void readSuccessions();
    else if (word?.kind === 'drained') reign()?.handle(word);
    else if (word?.kind === 'deed' && word.giver !== null) {
      const { account, home, epoch, giver, returned } = word;
      if (home === here) reign()?.handle({ kind: 'deed-arrived', account, deed: { epoch, giver, returned } });
      else if (giver !== here) seen.tell(home, { account, epoch });
    }
  }

  async function status(): Promise<AgentStatus> {
    const present = reign();
    if (present === null) throw Object.assign(new Error('this agent does not lead'), { statusCode: 503 });
    const merge = await merging.standing();
    const [recent, incidents, stranded, classes, hookProblems] = await database.run(async (client) => {
      await observer.count(client);
      const moves = await readMoves(client, recentMoves);
      const classes = await readClasses(client);
      const incidents = await readIncidents(client, recentIncidents);
      return [moves, incidents, await countOpenStranded(client), classes, await hooks.problems(client)] as const;
    });
    return buildStatus({
      configuration,
      instance,
      version: options.version,
      state: present.state,
      leaseLeftMs: present.leaseLeftMs(),
      agents: leadership.standing.agents ?? [],
      peers: Object.fromEntries(
        others.map((peer) => [peer, { reachable: observer.peer(peer) !== null, gate: observer.gate(peer) }]),
      ),
      streams: observer.streams,
      homes: observer.homes,
      recent,
      incidents,
      mayFreeze: present.mayFreeze,
      transactionProblem: upkeep.transactionProblem,
      successions: successions.known,
      replication: replication.report,
      syncProblem,
      relay: relaySlots.status,
      stranded,
      rollout: rollout.status,
      buffer: (await options.buffering?.standing().catch(() => null)) ?? null,
      merge,
      classes: { ...classes, problems: copies.problems },
      hookProblems,
    });
  }

  const health = () =>
    judgeHealth({
      dataCenter: here,
      instance,
      configuration: rollout.digest,
      version: options.version,
      standing: leadership.standing,
      ttlMs: leases.ttlMs,
      leaseLeftMs: reign()?.leaseLeftMs() ?? null,
    });

  async function move(request: MoveRequest): Promise<MoveAnswer> {
    const present = reign();
    const nobody = { kind: 'unreachable', home: null, epoch: null, reason: 'no agent leads here' } as const;
    const context = { here, database, peers, arrivals, marginMs: 1_000 };
    const answer = present === null ? nobody : await requestMove(context, present, request);
    metrics.moved(answer);
    return answer;
  }

  const api = buildApi({
    keys,
    log,
    tls: options.tls ?? null,
    backend: {
      dataCenters: Object.keys(dataCenters),
      health,
      metrics: async () => {
        const present = reign() === null ? null : await status();
        return { text: await metrics.text(present, upkeep.endedTransactions), contentType: metrics.contentType };
      },
      leaderElsewhere: () => {
        if (reign() !== null) return null;
        const { leader } = leadership.standing;
        return { url: leader === null || leader.instance === instance ? null : leader.url };
      },
      passOn: (url, call) => peers.callUrl(url, call, true),
      status,
      configuration: () => ({
        ...rollout.status,
        version: options.version,
        configuration: comparableConfiguration(configuration),
      }),
      account: async (account) => {
        const facts = await database.run((client) => readFacts(client, account));
        if (facts === null) return { kind: 'unknown-account', account };
        const { home, epoch, accepted, draining, lastUsedAgoMs } = facts;
        const inUse =
          home === here ? lastUsedAgoMs !== null && lastUsedAgoMs < configuration.sessions.stickinessMs : null;
        return { kind: 'account', account, home, epoch, accepted, draining, inUse };
      },
      move,
      claim: (request) => requestClaim({ configuration, database, peers }, request),
      seen: (peer, { account, epoch }) => reign()?.handle({ kind: 'deed-seen', account, peer, epoch }),
      give: async (request) => (await reign()?.give(request)) ?? null,
      append: options.buffering?.append ?? null,
      successions: (after, waitMs) => successions.beyond(after, waitMs),
      takeOver: async (from, forced) => (await reign()?.takeOver(from, forced)) ?? null,
      switchOver: async (request) => (await reign()?.switchOver(request)) ?? null,
      rejoin: () => reign()?.handle({ kind: 'rejoin-asked' }),
    },
  });
  await api.listen({ host: options.host, port: options.port });
  const { port } = api.server.address() as AddressInfo;
  const scheme = options.tls === undefined ? 'http' : 'https';
  const url = options.url ?? `${scheme}://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`;

  const leadership = new Leadership({
    instance,
    url,
    database,
    silentMs: leases.ttlMs,
    closeMs: limits.closeMs,
    log,
    reign: makeReign,
    onLead: () => {
      void observer.refresh();
      void readSuccessions();
    },
    onLost: () => void yieldIfGone(),
  });
  void listener.start();
  leadership.start();
  observer.start();
  replication.start();
  successions.start();
  upkeep.start();
  options.buffering?.start(() => reign() !== null);
  copies.start();
  merging.start();
  hooks.start();

  return {
    url,
    async close() {
      closing = true;
      upkeep.close();
      replication.close();
      successions.close();
      observer.close();
      merging.close();
      await copies.close();
      await leadership.close();
      await options.buffering?.close();
      await Promise.all([api.close(), listener.close(), peers.close(), hooks.close()]);
      await Promise.all([
        database.close(),
        leaseStore.close().catch((error: unknown) => log('warn', 'closing the lease store', { error: message(error) })),
      ]);
    },
  };
}
