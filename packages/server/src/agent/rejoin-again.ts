/**
 * When coming back begins again from the first stage. Nobody in the view waits for what a data center says that is coming back, so
 * that what counts of another one may turn out to be less than is here after the rest was set aside. And another one that came back
 * meanwhile may be read by a new slot, which the streams from there, as they were, know nothing of.
 */
import type { RejoinStage } from '../ownership/index.ts';
import { rejoinStages } from '../ownership/index.ts';
import { freezeAgain, keepsAside, readKnownTails } from '../postgres/index.ts';
import { countedIn, isBeyond, NotYet, uncounted, type Work } from './rejoin-work.ts';

const freezeWithinMs = 5_000;

/** Before `stage`, which follows on `before`. True: the next stage is the one after `frozen`. */
export async function beginAgain(work: Work, stage: RejoinStage, before: RejoinStage): Promise<boolean> {
  if (rejoinStages.indexOf(stage) <= rejoinStages.indexOf('stranded')) return false;
  // The lease store may have let it in, or still do so.
  if (work.isBack || work.detail.asked === work.view) return false;
  if (!(await mustBeginAgain(work, before))) return false;
  const { own, peers, action } = work;
  const names = peers.map(({ name }) => name);
  if (!(await freezeAgain(own, names, { term: action.term, stage: before }, freezeWithinMs)))
    throw new NotYet('another agent has come further meanwhile');
  return true;
}

async function mustBeginAgain({ here, own, peers, others, detail }: Work, before: RejoinStage): Promise<boolean> {
  const tails = await readKnownTails(own);
  for (const { name, client } of peers) {
    if (tails[name]?.frozen === true) continue;
    if (await keepsAside(client, here)) return true;
  }
  const cutsBefore = (detail.cuts ?? {}) as Readonly<Record<string, string>>;
  const counted = countedIn(detail);
  return others.some((other) => {
    const { name } = other;
    const tail = tails[name];
    const cut = uncounted(other, counted).cut.homed;
    if (tail?.frozen !== true || !isBeyond(tail.homed, cut)) return false;
    // Set aside, and taken away next.
    return before !== 'stranded' || isBeyond(cutsBefore[name] ?? tail.homed, cut);
  });
}
