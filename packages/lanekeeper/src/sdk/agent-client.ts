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
    return this.#anyOf(call, (url, signal) => this.#callOne(url, call, signal));
  }

  /** As `call`, for what is answered without a `kind`. */
  async ask(call: AgentCall): Promise<unknown> {
    return this.#anyOf(call, async (url, signal) => (await this.#fetch(url, call, signal)).answer);
  }

  async #anyOf<Answer>(
    call: AgentCall,
    askOne: (url: string, signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    const signal = AbortSignal.timeout(Math.ceil(call.timeoutMs));
    let cause: unknown;
    for (let attempt = 0; attempt < this.#urls.length && !signal.aborted; attempt++) {
      const index = (this.#preferred + attempt) % this.#urls.length;
      try {
        const answer = await askOne(this.#urls[index]!, signal);
        this.#preferred = index;
        return answer;
      } catch (error) {
        cause = error;
      }
    }
    throw new LanekeeperError('LK_AGENT_UNAVAILABLE', undefined, {}, { cause });
  }

  async #callOne(url: string, call: AgentCall, signal: AbortSignal): Promise<AgentAnswer> {
    const { status, answer } = await this.#fetch(url, call, signal);
    if (typeof answer === 'object' && answer !== null && typeof (answer as AgentAnswer).kind === 'string') {
      return answer as AgentAnswer;
    }
    throw new Error(`The agent at ${url} answered ${call.method} ${call.path} with status ${status} and no kind.`);
  }

  async #fetch(
    url: string,
    { method, path, body }: AgentCall,
    signal: AbortSignal,
  ): Promise<{ status: number; answer: unknown }> {
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
    return { status: response.status, answer: (await response.json()) as unknown };
  }
}
