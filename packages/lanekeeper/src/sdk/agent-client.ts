/**
 * Asks this dc's agents over HTTP. Several may be configured; any of them answers, so the next is tried when one cannot be
 * reached. An agent's refusal is an answer, no reason to ask another.
 */
import { LanekeeperError } from '../model/index.ts';

export type AgentAnswer = Readonly<Record<string, unknown>> & { readonly kind: string };

export type AgentCall = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  /** For all attempts together. */
  readonly timeoutMs: number;
};

export class AgentClient {
  readonly #urls: readonly string[];
  readonly #token: () => string;
  #preferred = 0;

  /** `token` mints what proves to the agent that this dc asks; it is asked for every call and may keep one for a while. */
  constructor(urls: readonly string[], token: () => string) {
    this.#urls = urls;
    this.#token = token;
  }

  /** @throws {LanekeeperError} `LK_AGENT_UNAVAILABLE` when none answers in time. */
  async call(call: AgentCall): Promise<AgentAnswer> {
    const signal = AbortSignal.timeout(Math.ceil(call.timeoutMs));
    let cause: unknown;
    for (let attempt = 0; attempt < this.#urls.length && !signal.aborted; attempt++) {
      const index = (this.#preferred + attempt) % this.#urls.length;
      try {
        const answer = await this.#callOne(this.#urls[index]!, call, signal);
        this.#preferred = index;
        return answer;
      } catch (error) {
        cause = error;
      }
    }
    throw new LanekeeperError('LK_AGENT_UNAVAILABLE', undefined, {}, { cause });
  }

  async #callOne(url: string, { method, path, body }: AgentCall, signal: AbortSignal): Promise<AgentAnswer> {
    const response = await fetch(new URL(path, url), {
      method,
      signal,
      redirect: 'error',
      headers: {
        authorization: `Bearer ${this.#token()}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json();
    if (typeof answer === 'object' && answer !== null && typeof (answer as AgentAnswer).kind === 'string') {
      return answer as AgentAnswer;
    }
    throw new Error(`The agent at ${url} answered ${method} ${path} with status ${response.status} and no kind.`);
  }
}
