import type { Succession } from 'lanekeeper/model';
import { describe, expect, it } from 'vitest';
import { Driver } from '../../../../test/support/ownership-driver.ts';
import { type RejoinStage, rejoinStages } from './index.ts';

const taken: Succession = { term: 2, kind: 'take', from: 'ny', to: 'la', undoes: null };
const gone = { takenOver: 2, revision: 5, state: 'expired' } as const;

/** An agent whose dc was taken over, and that has taken back what its predecessor left of the lease. */
function returning(settings = {}): Driver {
  const agent = new Driver(null, { peers: ['la'], ...settings }).tick();
  agent.prove(agent.proof(undefined, false));
  if (agent.has('write-lease')) agent.written().tick();
  return agent.watch({}, [taken], gone).tick(50);
}

function reach(agent: Driver, stage: RejoinStage, round = agent.take('rejoin').round): Driver {
  return agent.send({ kind: 'rejoined', round, result: { kind: 'reached', stage } });
}

describe('coming back', () => {
  it('goes through every stage, one after the other', () => {
    const agent = returning();
    for (const stage of rejoinStages) {
      const action = agent.take('rejoin');
      expect(action).toMatchObject({ term: 2, successor: 'la', stage });
      expect(agent.tick(5000).has('rejoin')).toBe(false);
      reach(agent, stage, action.round).tick(10);
    }
    // The last one is asked for until the store says so itself.
    expect(agent.take('rejoin').stage).toBe('readmitted');
  });

  it('tries a stage again that was not reached, and says why it was not', () => {
    const agent = returning();
    const { round } = agent.take('rejoin');
    agent.send({ kind: 'rejoined', round, result: { kind: 'not-yet', problem: 'a stream does not end' } });
    expect(agent.state.rejoin?.problem).toBe('a stream does not end');
    expect(agent.tick(999).has('rejoin')).toBe(false);
    expect(agent.tick(1).take('rejoin').stage).toBe('frozen');
    reach(agent, 'frozen', agent.state.round);
    expect(agent.state.rejoin?.problem).toBeNull();
  });

  it('does not repeat what an earlier life reached', () => {
    const agent = reach(returning(), 'caught-up').tick(10);
    expect(agent.take('rejoin').stage).toBe('streaming');
  });

  it('hears no answer but the one to its present question', () => {
    const agent = returning();
    const first = agent.take('rejoin');
    reach(agent, 'frozen', first.round).tick(10);
    const second = agent.take('rejoin');
    reach(agent, 'stranded', first.round);
    expect(agent.state.rejoin?.next).toBe('stranded');
    reach(agent, 'stranded', second.round);
    reach(agent, 'readmitted', second.round);
    expect(agent.state.rejoin?.next).toBe('undone');
  });

  it('freezes at once, and waits for a person with the rest where that is configured', () => {
    const agent = returning({ automaticRejoin: false });
    reach(agent, 'frozen').tick(5000);
    expect(agent.has('rejoin')).toBe(false);
    agent.send({ kind: 'rejoin-asked' }).tick(10);
    expect(agent.take('rejoin').stage).toBe('stranded');
  });

  it('goes no further than freezing while the database may still hold a lease', () => {
    const agent = new Driver({ holder: 'ny-0', revision: 4 }, { peers: ['la'] }).watch({}, [taken], gone).tick(50);
    reach(agent, 'frozen').tick(50);
    expect(agent.has('rejoin')).toBe(false);
    // The lease of the agent before still counts there: the clock was set back.
    agent.prove(agent.proof(undefined, true));
    agent.read({ ...agent.view([gone]), term: 2, successions: [taken] });
    const write = agent.take('write-lease');
    expect(write.lease).toBeNull();
    expect(agent.tick(50).has('rejoin')).toBe(false);
    agent.send({ kind: 'lease-written', round: write.round, ok: true }).tick(50);
    expect(agent.take('rejoin').stage).toBe('stranded');
  });

  it('is over when the store has readmitted it', () => {
    const agent = returning();
    agent.watch({}, [taken], { ...gone, takenOver: null, revision: 6 }).tick(10);
    // Not while a stage is being carried out.
    expect(agent.state.rejoin).not.toBeNull();
    reach(agent, 'frozen').tick(10);
    expect(agent.state.rejoin).toBeNull();
  });

  it('begins anew when it is taken over again, and not beside a stage that is still being carried out', () => {
    const again: Succession = { term: 4, kind: 'take', from: 'ny', to: 'fra', undoes: null };
    const agent = reach(returning(), 'verified').tick(10);
    const { round } = agent.take('rejoin');
    agent.watch({}, [taken, again], { ...gone, takenOver: 4, revision: 9 }).tick(10);
    expect(agent.has('rejoin')).toBe(false);
    agent.send({ kind: 'rejoined', round, result: { kind: 'not-yet', problem: 'no answer' } }).tick(10);
    expect(agent.take('rejoin')).toMatchObject({ term: 4, successor: 'fra', stage: 'frozen' });
  });

  it('is nothing to a dc that was never taken over, nor to an agent that leaves', () => {
    const agent = new Driver(null, { peers: ['la'] })
      .watch({}, [], { revision: 5 })
      .send({ kind: 'rejoin-asked' })
      .tick(2000);
    expect(agent.has('rejoin')).toBe(false);
    const leaving = new Driver(null, { peers: ['la'] }).lead().send({ kind: 'leave', successor: false });
    expect(leaving.watch({}, [taken], gone).tick(100).has('rejoin')).toBe(false);
  });
});
