/**
 * When coming back begins again from the first stage: more is here of one that is gone than the home had when it took it over, which
 * was found out only after the rest was set aside; or one that is back by now keeps a slot for us that we do not read.
 */
import { rejoinStages } from '@lanekeeper/server/ownership';
import type { Rejoin } from './rejoin.ts';
import { lastCut } from './rejoin-rows.ts';

/** Those that are gone as well, and of whom the home has not written down yet what counts. */
export function unrecorded({ agent, dc, home }: Rejoin): string | null {
  for (const { name } of dc.peers) {
    const takenOver = agent.state.view.peers.get(name)?.record.takenOver ?? null;
    if (takenOver === null) continue;
    const recorded = home.pg.successions.some(({ term, cuts }) => term >= takenOver && cuts?.[name] !== undefined);
    if (!recorded) return name;
  }
  return null;
}

/** At the home's database. `wait`: it is not known yet. */
export function mustBeginAgain(rejoin: Rejoin): 'again' | { readonly wait: string } | null {
  const { action, agent, dc, home, living } = rejoin;
  const { pg } = dc;
  if (rejoinStages.indexOf(action.stage) <= rejoinStages.indexOf('stranded')) return null;
  if (agent.simulation.broken('set aside once and for all')) return null;
  // The lease store may have let it in, or still do so.
  if (agent.state.view.own?.takenOver !== action.takenOver || pg.rejoining?.asked === agent.state.term) return null;
  const isLast = action.stage === 'readmitted';
  const isRead = rejoinStages.indexOf(action.stage) > rejoinStages.indexOf('caught-up');
  for (const there of dc.peers) {
    const { name } = there;
    const generation = pg.generations.get(name) ?? 1;
    const isLiving = living.includes(there);
    if (!pg.frozen.has(name)) {
      if (isLiving && (dc.from(name).isWithheld || generation < there.pg.generation)) return 'again';
      if (!isLiving && isLast) return { wait: `the stream from ${name} has not ended` };
      continue;
    }
    // As `joinNewcomers`: it came back after the streams had been brought in order.
    if (isLiving && isRead) return 'again';
    const cut = lastCut(home.pg, name, generation)?.homed ?? Number.POSITIVE_INFINITY;
    const progress = pg.progress.get(name) ?? 0;
    const setAsideBy = pg.rejoining?.stage === 'stranded' ? (pg.rejoining.cuts?.[name] ?? progress) : progress;
    if (progress > cut && setAsideBy > cut) return 'again';
  }
  const late = isLast ? unrecorded(rejoin) : null;
  return late === null ? null : { wait: `${home.name} has not recorded the takeover of ${late}` };
}
