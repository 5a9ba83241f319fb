/**
 * Writes to the log that the agents keep. What comes while a request is under way goes together in the next one: a request costs the
 * agent more than a write does.
 */
import type { AgentClient } from './agent-client.ts';

export type AgentWrite = { readonly table: string; readonly row: unknown; readonly remove: boolean };
/** As the agent answers for one write. */
export type AgentWriteAnswer = Readonly<Record<string, unknown>> & { readonly kind: string };

type Waiting = {
  readonly write: AgentWrite;
  /** Of its row as JSON. */
  readonly length: number;
  readonly resolve: (answer: AgentWriteAnswer) => void;
  readonly reject: (error: unknown) => void;
};

const timeoutMs = 5_000;
const requestsAtOnce = 2;
const writesAtOnce = 50;
/** Of rows, in UTF-16 units; an agent takes a million bytes. */
const lengthAtOnce = 200_000;

export class AgentBuffer {
  readonly #agents: AgentClient;
  readonly #waiting: Waiting[] = [];
  #underWay = 0;

  constructor(agents: AgentClient) {
    this.#agents = agents;
  }

  /** Rejects when nobody knows what became of it. `row` is JSON. */
  write(table: string, row: string, remove: boolean): Promise<AgentWriteAnswer> {
    return new Promise((resolve, reject) => {
      const write = { table, row: JSON.parse(row) as unknown, remove };
      this.#waiting.push({ write, length: row.length, resolve, reject });
      this.#send();
    });
  }

  #send(): void {
    while (this.#underWay < requestsAtOnce && this.#waiting.length > 0) {
      let length = 0;
      let count = 0;
      for (const one of this.#waiting) {
        length += one.length;
        if (count > 0 && (count === writesAtOnce || length > lengthAtOnce)) break;
        count++;
      }
      void this.#request(this.#waiting.splice(0, count));
    }
  }

  async #request(together: readonly Waiting[]): Promise<void> {
    this.#underWay++;
    try {
      const body = { writes: together.map(({ write }) => write) };
      const answer = await this.#agents.call({ method: 'POST', path: '/v1/buffer', body, timeoutMs });
      const answers = answer.answers as readonly AgentWriteAnswer[] | undefined;
      // Without them it is said for all alike: not known here, too large, no token.
      for (const [index, one] of together.entries()) one.resolve(answers?.[index] ?? answer);
    } catch (error) {
      for (const { reject } of together) reject(error);
    } finally {
      this.#underWay--;
      this.#send();
    }
  }
}
