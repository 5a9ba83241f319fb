/** The API's paths about whole data centers: successions, failover, switchover, rejoin. */
import type { FastifyInstance } from 'fastify';
import type { DataCenterName } from 'lanekeeper/model';
import { explain, type FailoverOutcome, type SwitchOutcome, type SwitchRequest } from '../ownership/index.ts';
import type { RecordedSuccession } from '../postgres/index.ts';
import type { Log } from './options.ts';

export const successionsPath = '/v1/successions';
const longestWaitMs = 25_000;
const waitSchema = { type: 'integer', minimum: 0, maximum: 60_000 } as const;

export type HandoverBackend = {
  readonly dataCenters: readonly DataCenterName[];
  /** Any agent's: as this data center's database has them, as soon as there is one beyond `after`. */
  successions(after: number, waitMs: number): Promise<readonly RecordedSuccession[]>;
  takeOver(from: DataCenterName, forced: boolean): Promise<FailoverOutcome | null>;
  switchOver(request: SwitchRequest): Promise<SwitchOutcome | null>;
  /** Goes on with coming back, where that waits for a person. */
  rejoin(): void;
};

export type FailoverAnswer =
  | { readonly kind: 'taken'; readonly term: number }
  | { readonly kind: 'pending'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string };

export type SwitchAnswer =
  | { readonly kind: 'switched'; readonly term: number; readonly pauseMs: number }
  | { readonly kind: 'pending'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string };

export function handoverRoutes(guarded: FastifyInstance, backend: HandoverBackend, log: Log): void {
  const dataCenterSchema = { type: 'string', enum: [...backend.dataCenters] };
  guarded.get<{ Querystring: { after?: number; waitMs?: number } }>(
    successionsPath,
    {
      schema: {
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            after: { type: 'string', pattern: '^[0-9]{1,15}$' },
            waitMs: { type: 'string', pattern: '^[0-9]{1,6}$' },
          },
        },
      },
    },
    async ({ query }) => {
      const waitMs = Math.min(Number(query.waitMs ?? 0), longestWaitMs);
      const successions = await backend.successions(Number(query.after ?? 0), waitMs);
      return { term: successions.at(-1)?.term ?? 1, successions };
    },
  );
  guarded.post<{ Body: { from: DataCenterName; force?: boolean } }>(
    '/v1/failovers',
    {
      schema: {
        body: {
          type: 'object',
          required: ['from'],
          additionalProperties: false,
          properties: { from: dataCenterSchema, force: { type: 'boolean' }, waitMs: waitSchema },
        },
      },
    },
    async ({ body, caller }): Promise<FailoverAnswer> => {
      const { from, force = false } = body;
      log('warn', 'failover asked for', { caller, from, force });
      const answer = sayFailover(await backend.takeOver(from, force));
      log('warn', 'failover', { caller, from, force, ...answer });
      return answer;
    },
  );
  guarded.post<{ Body: { to: DataCenterName; undoes?: number | null } }>(
    '/v1/switchovers',
    {
      schema: {
        body: {
          type: 'object',
          required: ['to'],
          additionalProperties: false,
          properties: { to: dataCenterSchema, undoes: { type: ['integer', 'null'], minimum: 2 }, waitMs: waitSchema },
        },
      },
    },
    async ({ body, caller }): Promise<SwitchAnswer> => {
      const { to, undoes = null } = body;
      log('warn', 'switchover asked for', { caller, to, undoes });
      const answer = saySwitch(await backend.switchOver({ to, undoes }));
      log('warn', 'switchover', { caller, to, undoes, ...answer });
      return answer;
    },
  );
  guarded.post('/v1/rejoin', async ({ caller }) => {
    log('warn', 'rejoin asked for', { caller });
    backend.rejoin();
    return { kind: 'asked' };
  });
}

const unanswered = { kind: 'pending', reason: 'the agent stopped leading before there was an answer' } as const;
const storeSilent = 'the lease store has not said whether it was done: see `lanekeeper status`';

function sayFailover(outcome: FailoverOutcome | null): FailoverAnswer {
  if (outcome === null) return unanswered;
  if (outcome.kind === 'refused') return { kind: 'refused', reason: outcome.reasons.map(explain).join('; ') };
  return outcome.kind === 'pending' ? { kind: 'pending', reason: storeSilent } : outcome;
}

function saySwitch(outcome: SwitchOutcome | null): SwitchAnswer {
  if (outcome === null) return unanswered;
  if (outcome.kind === 'refused') return { kind: 'refused', reason: outcome.reasons.map(explain).join('; ') };
  return outcome.kind === 'pending' ? { kind: 'pending', reason: storeSilent } : outcome;
}
