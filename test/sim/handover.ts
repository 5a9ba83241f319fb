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
  const { pg } = dc;
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
      return freeze(agent, action.from, action.term, (cut) => {
        const text = cut === null ? null : { homed: textOf(cut), rest: '0/0' };
        agent.handle({ kind: 'frozen', round, cut: text });
      });
    case 'record': {
      const { successions } = action;
      /** Of all who are gone by now: one that was taken over later, and knows nothing of that, must not read on behind an earlier row either. */
      const cutsAt = (term: number) =>
        Object.fromEntries(
          Object.entries(action.cuts)
            .filter(([, { takenOver }]) => takenOver <= term || !simulation.broken('cuts of those before'))
            .map(([of, { generation, homed }]) => [of, { generation, homed: lsnOf(homed) }]),
        );
      return agent.query(
        () => {
          if (!pg.mayTouchSuccessions) return 'wait' as const;
          const rows = successions.map(
            (one): SuccessionRow => ({ ...one, cuts: one.kind === 'take' ? cutsAt(one.term) : null }),
          );
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
          const value: SuccessionRow = { ...action.succession, cuts: null };
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
}

/** As `freezeStreams`: one that is read from again, since it comes back, is not frozen once more for the same takeover. */
function freeze(process: AgentProcess, from: string, term: number, done: (cut: number | null) => void): void {
  const { simulation, dc } = process;
  const { pg } = dc;
  const incoming = dc.from(from);
  const untilMs = simulation.timeline.nowMs + freezeWithinMs;
  const read = () => process.query(() => pg.progress.get(from) ?? 0, finish);
  const finish = (cut: number | 'lost') => done(cut === 'lost' ? null : cut);
  const mark = () => pg.frozen.set(from, { term, lost: pg.frozen.get(from)?.lost ?? false });
  if (simulation.broken('not frozen'))
    return process.query(() => {
      mark();
      return pg.progress.get(from) ?? 0;
    }, finish);
  process.query(
    () => {
      const cut = pg.progress.get(from) ?? 0;
      if (pg.thawed.get(from) === term) return cut;
      mark();
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
      if (simulation.broken('disabled, not terminated')) return read();
      look();
    },
  );
  const terminate = () => {
    incoming.disable();
    incoming.terminate();
  };
  const look = () =>
    process.query(
      () => {
        const had = incoming.hasWorker;
        incoming.terminate();
        return had;
      },
      (had) => {
        if (had === 'lost') return done(null);
        if (!had) return read();
        if (simulation.timeline.nowMs > untilMs) return done(null);
        process.later(20, look);
      },
    );
}

/** The order of the steps is what the promise rests on. */
function setSync(agent: AgentProcess, members: readonly string[], grows: boolean, done: (ok: boolean) => void): void {
  const { simulation, dc } = agent;
  const { pg } = dc;
  const setNames = () => {
    pg.names = [...members];
    simulation.checkSyncSet(dc);
    for (const stream of dc.outgoing.values()) stream.readListSoon();
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
        const target = targetLsn;
        return members.every((name) => {
          const { connected, readsList, flushedLsn } = dc.to(name);
          return connected && readsList && flushedLsn >= target;
        });
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
