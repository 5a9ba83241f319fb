/**
 * Hears of successions: asks the agents of every data center, its own first among equals, each by a request that is answered
 * when there is something new. So an edge hears at once from its own agents, and still hears when those are gone or cut off.
 * Whoever knows more is believed, if it is more of the same history.
 */
import { type DataCenterName, readHistory, type Succession } from 'lanekeeper/model';
import { Agent } from 'undici';
import type { EdgeContext } from './context.ts';
import { contradicts, learn } from './successions.ts';

/** Agents hold a question this long at most. */
const waitMs = 20_000;
const answerMarginMs = 3_000;
const connectTimeoutMs = 2_000;
/** After an answer without news that came too soon to have waited, and after a failure: growing up to the longest. */
const pauseMs = { first: 250, longest: 3_000 } as const;
const answerBytesMax = 4 * 1024 * 1024;

export class News {
  readonly #edge: EdgeContext;
  readonly #agents: ReadonlyMap<DataCenterName, readonly string[]>;
  readonly #connections: Agent;
  readonly #stopped = new AbortController();

  constructor(edge: EdgeContext, agents: ReadonlyMap<DataCenterName, readonly string[]>) {
    this.#edge = edge;
    this.#agents = agents;
    this.#connections = new Agent({
      connect: { timeout: connectTimeoutMs },
      headersTimeout: waitMs + answerMarginMs,
      bodyTimeout: answerMarginMs,
    });
  }

  start(): void {
    for (const [dataCenter, urls] of this.#agents) if (urls.length > 0) void this.#listen(dataCenter, urls);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#connections.destroy();
  }

  async #listen(dataCenter: DataCenterName, urls: readonly string[]): Promise<void> {
    let asked = 0;
    let pause: number = pauseMs.first;
    let silent = false;
    while (!this.#stopped.signal.aborted) {
      const url = urls[asked % urls.length] as string;
      const startedMs = performance.now();
      const history = await this.#ask(url);
      if (this.#stopped.signal.aborted) return;
      const news = history !== null && this.#hear(history, url);
      if (history === null) asked += 1;
      // Each of its agents had its turn and none answered.
      const nobody = history === null && asked % urls.length === 0;
      if (nobody !== silent && (nobody || history !== null)) {
        silent = nobody;
        this.#edge.log(silent ? 'warn' : 'info', silent ? 'agents-silent' : 'agents-heard', { dataCenter });
      }
      if (news || (history !== null && performance.now() - startedMs > waitMs / 2)) {
        pause = pauseMs.first;
        continue;
      }
      await this.#rest(pause);
      pause = Math.min(pause * 2, pauseMs.longest);
    }
  }

  #hear(history: readonly Succession[], from: string): boolean {
    const edge = this.#edge;
    const { successions } = edge.table;
    if (!learn(successions, history, Date.now())) {
      if (contradicts(successions, history)) edge.log('warn', 'succession-contradicted', { from });
      return false;
    }
    const { term } = successions;
    edge.log('info', 'succession', { from, ...successions.history.at(-1), term });
    edge.lookAgain();
    return true;
  }

  /** Null when there is no answer, or one that says nothing. */
  async #ask(url: string): Promise<readonly Succession[] | null> {
    const { origin } = new URL(url);
    const after = this.#edge.table.successions.term;
    try {
      const { statusCode, body } = await this.#connections.request({
        origin,
        path: `/v1/successions?after=${after}&waitMs=${waitMs}`,
        method: 'GET',
        headers: { authorization: `Bearer ${this.#edge.identity.agentToken(Date.now())}` },
        signal: this.#stopped.signal,
      });
      let text = '';
      for await (const chunk of body) {
        text += chunk;
        if (text.length > answerBytesMax) throw new Error('too long an answer');
      }
      return statusCode === 200 ? readHistory(JSON.parse(text)) : null;
    } catch {
      return null;
    }
  }

  async #rest(ms: number): Promise<void> {
    const { signal } = this.#stopped;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms * (0.75 + Math.random() / 2));
      timer.unref();
      signal.addEventListener('abort', done);
    });
  }
}
