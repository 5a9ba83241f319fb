/**
 * What the edge knows of successions: one of them moves the home of everything that a data center held, while every cookie
 * still names the old one. Pure but for the fields of `Successions`, which only `learn` changes. `news.ts` asks the agents.
 *
 * 1. A history only grows; one that contradicts what is known is not believed.
 * 2. What is newer than the last succession that is known is left as it is: an edge that has heard nothing changes nothing.
 */
import { type DataCenterName, isNewerHistory, resolveHome, type Succession } from 'lanekeeper/model';

/** Where somebody says that something is written, and in which term he knew it; null: now, as far as he knows. */
export type Place = { readonly home: DataCenterName; readonly term: number | null };

export type Successions = {
  history: readonly Succession[];
  /** Of the last one; 1 without any. */
  term: number;
  learnedAtMs: number;
  /** Homes by term and name, worked out once: the fold is the same for every customer of a data center. */
  readonly folded: Map<number, Map<DataCenterName, DataCenterName>>;
};

/** Terms come from verified cookies; this only bounds what a data center gone mad could fill. */
const foldedMax = 1_000;

export function newSuccessions(): Successions {
  return { history: [], term: 1, learnedAtMs: Number.NEGATIVE_INFINITY, folded: new Map() };
}

/** Whether there was anything new in it. */
export function learn(successions: Successions, history: readonly Succession[], nowMs: number): boolean {
  if (!isNewerHistory(history, successions.history)) return false;
  successions.history = history;
  successions.term = history.at(-1)?.term ?? 1;
  successions.learnedAtMs = nowMs;
  successions.folded.clear();
  return true;
}

/** Whether `history` cannot be true together with what is known: it is neither the same, nor a part, nor more of it. */
export function contradicts({ history: known }: Successions, history: readonly Succession[]): boolean {
  const [longer, shorter] = history.length > known.length ? [history, known] : [known, history];
  // One more than the shorter one, whatever it is, makes the question one that `isNewerHistory` answers.
  return shorter.length > 0 && !isNewerHistory([...longer, ...longer.slice(-1)], shorter);
}

/** Where that is written now. */
export function presentHome(successions: Successions, { home, term }: Place): DataCenterName {
  if (term === null || term >= successions.term) return home;
  let byName = successions.folded.get(term);
  if (byName === undefined) {
    if (successions.folded.size >= foldedMax) successions.folded.clear();
    byName = new Map();
    successions.folded.set(term, byName);
  }
  let present = byName.get(home);
  if (present === undefined) {
    present = resolveHome(successions.history, { home, term });
    byName.set(home, present);
  }
  return present;
}
