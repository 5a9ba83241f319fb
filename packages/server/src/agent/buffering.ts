/**
 * Tables that are written in every data center: what the agent needs of whoever appends and drains (`../buffer`, which it is
 * handed), and the API's path for writes.
 */
import type { FastifyInstance } from 'fastify';
import type { DataCenterName } from 'lanekeeper/model';

export type BufferedAnswer =
  | { readonly kind: 'buffered'; readonly durability: string; readonly position: string }
  | { readonly kind: 'refused'; readonly state: string; readonly message: string }
  | { readonly kind: 'unavailable' | 'unknown'; readonly reason: string };

export type BufferStatus = {
  /** How far each log is drained into each data center. */
  readonly drains: readonly {
    readonly log: string;
    readonly target: DataCenterName;
    readonly waiting: number;
    /** Since when the oldest of those waits. */
    readonly oldestSeconds: number | null;
    readonly drained: number;
    readonly problem: string | null;
  }[];
  /** Writes that a data center refused: tried again for a while, then for a person to decide about. */
  readonly aside: { readonly retrying: number; readonly poison: number };
  readonly problems: readonly string[];
};

export type Buffering = {
  /** Drains whenever `leads()`. */
  start(leads: () => boolean): void;
  append(write: { table: string; row: Readonly<Record<string, unknown>>; remove: boolean }): Promise<BufferedAnswer>;
  standing(): Promise<BufferStatus>;
  close(): Promise<void>;
};

export const bufferPath = '/v1/buffer';
/** What NATS takes in one message, with a margin for what is added. */
const bodyLimit = 1_000_000;
const writesMax = 100;

export function bufferRoutes(guarded: FastifyInstance, append: Buffering['append'] | null): void {
  const write = {
    type: 'object',
    required: ['table', 'row', 'remove'],
    additionalProperties: false,
    properties: {
      table: { type: 'string', minLength: 1, maxLength: 200 },
      row: { type: 'object' },
      remove: { type: 'boolean' },
    },
  } as const;
  guarded.post<{ Body: { writes: { table: string; row: Record<string, unknown>; remove: boolean }[] } }>(
    bufferPath,
    {
      bodyLimit,
      schema: {
        body: {
          type: 'object',
          required: ['writes'],
          additionalProperties: false,
          properties: { writes: { type: 'array', minItems: 1, maxItems: writesMax, items: write } },
        },
      },
    },
    async ({ body }, reply) => {
      if (append === null) {
        reply.code(404);
        return { kind: 'unavailable', reason: 'this agent knows of no table that is buffered' };
      }
      return { kind: 'answers', answers: await Promise.all(body.writes.map(append)) };
    },
  );
}

export function bufferProblems(status: BufferStatus | null): readonly string[] {
  if (status === null) return [];
  const { drains, aside, problems } = status;
  const stuck = drains.flatMap(({ log, target, waiting, problem }) =>
    problem === null ? [] : [`${count(waiting)} in ${log} cannot be drained into ${target}: ${problem}`],
  );
  const poison = aside.poison === 0 ? [] : [`${count(aside.poison)} set aside: \`lanekeeper buffer poison\``];
  return [...problems, ...stuck, ...poison];
}

function count(writes: number): string {
  return writes === 1 ? '1 write' : `${writes} writes`;
}
