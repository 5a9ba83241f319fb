/**
 * Deeds that arrive here and name another data center: that one accepts what was given to it only when everybody who holds a
 * lease has its deed (R3). It is told at once; what is lost on the way, or was not heard, it asks for.
 */

import type { FastifyInstance } from 'fastify';
import { type AccountId, compareEpochs, type DataCenterName, type Epoch } from 'lanekeeper/model';
import type { Action, OwnershipEvent } from '../ownership/index.ts';
import type { Peers } from './peers.ts';

export type SeenDeed = { readonly account: AccountId; readonly epoch: Epoch };

export type SeenOptions = {
  readonly peers: Peers;
  /** Null: this agent does not lead. */
  readonly reign: () => { handle(event: OwnershipEvent): void } | null;
};

/** A message holds as many as fit with the longest names. */
const atOnce = 24;
const answerWithinMs = 2_000;

export class Seen {
  readonly #options: SeenOptions;
  readonly #waiting = new Map<DataCenterName, SeenDeed[]>();

  constructor(options: SeenOptions) {
    this.#options = options;
  }

  /** A deed has arrived that names `home`. Those of one moment go together. */
  tell(home: DataCenterName, deed: SeenDeed): void {
    if (this.#options.reign() === null) return;
    const waiting = this.#waiting.get(home);
    if (waiting !== undefined) return void waiting.push(deed);
    this.#waiting.set(home, [deed]);
    setImmediate(() => this.#send(home));
  }

  /** Asks each of them; an answer is heard as `deed-seen`. */
  async ask({ account, epoch, peers }: Extract<Action, { kind: 'ask-seen' }>): Promise<void> {
    const path = `/v1/accounts/${encodeURIComponent(account)}`;
    await Promise.all(
      peers.map(async (peer) => {
        const answer = await this.#options.peers.call(peer, { method: 'GET', path, timeoutMs: answerWithinMs });
        if (answer.kind !== 'answered' || answer.body.kind !== 'account') return;
        const theirs = answer.body.epoch as Partial<Epoch> | undefined;
        if (!Number.isSafeInteger(theirs?.term) || !Number.isSafeInteger(theirs?.counter)) return;
        if (compareEpochs(theirs as Epoch, epoch) >= 0)
          this.#options.reign()?.handle({ kind: 'deed-seen', account, peer, epoch });
      }),
    );
  }

  #send(home: DataCenterName): void {
    const deeds = this.#waiting.get(home) ?? [];
    this.#waiting.delete(home);
    for (let first = 0; first < deeds.length; first += atOnce) {
      const body = { deeds: deeds.slice(first, first + atOnce) };
      void this.#options.peers.call(home, { method: 'POST', path: '/v1/seen', body, timeoutMs: answerWithinMs });
    }
  }
}

/** `POST /v1/seen`: between agents. */
export function seenRoute(api: FastifyInstance, heard: (peer: DataCenterName, deed: SeenDeed) => void): void {
  const whole = { type: 'integer', minimum: 0 } as const;
  const epoch = {
    type: 'object',
    required: ['term', 'counter'],
    additionalProperties: false,
    properties: { term: whole, counter: whole },
  } as const;
  const account = { type: 'string', minLength: 1, maxLength: 512 } as const;
  const deed = {
    type: 'object',
    required: ['account', 'epoch'],
    additionalProperties: false,
    properties: { account, epoch },
  } as const;
  api.post<{ Body: { deeds: readonly SeenDeed[] } }>(
    '/v1/seen',
    {
      schema: {
        body: {
          type: 'object',
          required: ['deeds'],
          additionalProperties: false,
          properties: { deeds: { type: 'array', maxItems: atOnce, items: deed } },
        },
      },
    },
    async ({ body, caller }) => {
      for (const one of body.deeds) heard(caller, one);
      return {};
    },
  );
}
