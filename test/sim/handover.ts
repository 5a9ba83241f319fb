/** Carries out the actions about whole data centers, step by step as `src/agent/handover.ts` does. */
import type { Action } from '@lanekeeper/server/ownership';
import type { AgentProcess } from './agent.ts';
import type { SuccessionRow } from './rows.ts';

type HandoverAction = Extract<
  Action,
  {
    kind:
      | 'watch-store'
      | 'succeed'
      | 'freeze'
      | 'record'
      | 'drain-all'
      | 'lock-writers'
      | 'give-all'
      | 'resume'
      | 'set-sync';
  }
>;

const freezeWithinMs = 1000;
const synchronousWithinMs = 2500;

export const textOf = (lsn: number) => `0/${lsn.toString(16).toUpperCase()}`;
export const lsnOf = (text: string) => Number.parseInt(text.slice(2), 16);

export function performHandover(agent: AgentProcess, action: HandoverAction): void {
  const { simulation, dc } = agent;
  const { pg, incoming } = dc;
  const { round } = action;
  switch (action.kind) {
    case 'watch-store':
      return agent.askStore(
        (nowMs) => simulation.store.read(nowMs),
        (view) => agent.handle({ kind: 'watched', round, view }),
      );
    case 'succeed':
      return agent.askStore(
        (nowMs) => simulation.succeed(action.request, nowMs),
        (result) => agent.handle({ kind: 'succeeded', round, result }),
      );
    case 'freeze':
      return freeze(agent, action.from, (cut) => {
        const text = cut === null ? null : { homed: textOf(cut), rest: '0/0' };
        agent.handle({ kind: 'frozen', round, cut: text });
      });
    case 'record': {
      const { successions, cuts } = action;
      const cut = { of: cuts.of, generation: cuts.generation, homed: lsnOf(cuts.cut.homed) };
      return agent.query(
        () => {
          if (!pg.mayTouchSuccessions) return 'wait' as const;
          const last = successions.length - 1;
          const rows = successions.map((one, at): SuccessionRow => ({ ...one, cut: at === last ? cut : null }));
          const missing = rows.filter(({ term }) => !pg.tables.succession.has(String(term)));
          if (missing.length > 0)
            pg.commit(missing.map((value) => ({ op: 'insert', table: 'succession', key: String(value.term), value })));
          pg.settleView();
          return true;
        },
        (ok) => agent.handle({ kind: 'recorded', round, ok: ok === true }),
      );
    }
    case 'drain-all':
      agent.lockSession = {};
      return agent.query(
        () => dc.beginDrain('*', action.forMs),
        (begun) => {
          const failed = begun === 'lost' || begun === null;
          agent.handle({
            kind: 'all-draining',
            round,
            result: failed ? { kind: 'failed' } : { kind: 'begun', ...begun },
          });
        },
      );
    case 'lock-writers': {
      agent.lockSession ??= {};
      const session = agent.lockSession;
      const untilMs = simulation.timeline.nowMs + action.withinMs;
      return agent.query(
        () => {
          if (agent.lockSession !== session) return false;
          if (pg.lockWriters(session) || pg.holdsLock(session)) return true;
          if (simulation.timeline.nowMs < untilMs) return 'wait' as const;
          pg.unlockWriters(session);
          return false;
        },
        (ok) => {
          // A session that broke lets go of what it held.
          if (ok === 'lost') pg.unlockWriters(session);
          agent.handle({ kind: 'writers-locked', round, ok: ok === true });
        },
      );
    }
    case 'give-all': {
      const session = agent.lockSession;
      agent.lockSession = null;
      return agent.query(
        () => {
          if (session === null || !pg.holdsLock(session)) return false;
          const value: SuccessionRow = { ...action.succession, cut: null };
          if (dc.random.chance(simulation.lossRate * 4)) {
            // Rolled back: a `setval` is not.
            pg.view = Math.max(pg.view, value.term);
            pg.unlockWriters(session);
            return false;
          }
          pg.commit([{ op: 'insert', table: 'succession', key: String(value.term), value }]);
          pg.unlockWriters(session);
          return true;
        },
        (ok) => {
          if (ok !== true && session !== null) pg.unlockWriters(session);
          agent.handle({ kind: 'all-given', round, ok: ok === true });
        },
      );
    }
    case 'resume': {
      const session = agent.lockSession;
      agent.lockSession = null;
      // The session ends, whatever becomes of the rest.
      if (session !== null) pg.later(1, () => pg.unlockWriters(session));
      return agent.query(
        () => {
          if (!pg.mayTouchSuccessions) return 'wait' as const;
          pg.settleView();
          pg.endDrain('*', null);
          return true;
        },
        (ok) => agent.handle({ kind: 'resumed', round, ok: ok === true }),
      );
    }
    case 'set-sync':
      return setSync(agent, action.members, action.grows, (ok) => agent.handle({ kind: 'sync-set', round, ok }));
  }

  function freeze(process: AgentProcess, from: string, done: (cut: number | null) => void): void {
    const untilMs = simulation.timeline.nowMs + freezeWithinMs;
    if (simulation.broken('not frozen'))
      return process.query(
        () => pg.progress.get(from) ?? 0,
        (cut) => done(cut === 'lost' ? null : cut),
      );
    process.query(
      () => {
        const cut = pg.progress.get(from) ?? 0;
        pg.frozen.add(from);
        if (simulation.broken('cut before the freeze')) {
          process.later(1000, () => pg.later(0, () => terminate()));
          return cut;
        }
        incoming.disable();
        return null;
      },
      (early) => {
        if (early === 'lost') return done(null);
        if (early !== null) return done(early);
        if (simulation.broken('disabled, not terminated'))
          return process.query(() => pg.progress.get(from) ?? 0, finish);
        look();
      },
    );
    const terminate = () => {
      incoming.disable();
      incoming.terminate();
    };
    const finish = (cut: number | 'lost') => done(cut === 'lost' ? null : cut);
    const look = () =>
      process.query(
        () => {
          const had = incoming.hasWorker;
          incoming.terminate();
          return had;
        },
        (had) => {
          if (had === 'lost') return done(null);
          if (!had) return process.query(() => pg.progress.get(from) ?? 0, finish);
          if (simulation.timeline.nowMs > untilMs) return done(null);
          process.later(20, look);
        },
      );
  }
}

/** The order of the steps is what the promise rests on. */
function setSync(agent: AgentProcess, members: readonly string[], grows: boolean, done: (ok: boolean) => void): void {
  const { simulation, dc } = agent;
  const { pg, outgoing } = dc;
  const setNames = () => {
    pg.names = [...members];
    simulation.checkSyncSet(dc);
    outgoing.readListSoon();
    return true;
  };
  const setMembers = () => {
    pg.syncMembers = members.length;
    pg.syncView++;
    return true;
  };
  if (!grows) {
    const cancel = () => {
      for (const one of [...pg.waiting]) one.end('cancelled');
      return true;
    };
    return agent.query(setMembers, (first) => {
      if (first === 'lost') return done(false);
      agent.query(setNames, (second) => {
        if (second === 'lost') return done(false);
        agent.query(cancel, (third) => done(third === true));
      });
    });
  }
  if (simulation.broken('recorded before the database waits'))
    return agent.query(setMembers, (ok) => done(ok === true));
  const untilMs = simulation.timeline.nowMs + synchronousWithinMs;
  let targetLsn: number | null = null;
  const look = () =>
    agent.query(
      () => {
        targetLsn ??= pg.lsn;
        return outgoing.connected && outgoing.readsList && outgoing.flushedLsn >= targetLsn;
      },
      (ready) => {
        if (ready === 'lost') return done(false);
        if (ready || simulation.broken('grown without waiting'))
          return agent.query(setMembers, (ok) => done(ok === true));
        if (simulation.timeline.nowMs > untilMs) return done(false);
        agent.later(50, look);
      },
    );
  agent.query(setNames, (ok) => (ok === true ? look() : done(false)));
}
