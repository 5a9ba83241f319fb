/**
 * What a proof needs of a database that is not on its first timeline: where the earlier ones ended, and who reads from here.
 * It was promoted, now or long ago; only the lease store knows whether that is news.
 */
import type { DataCenterName, Incarnation } from 'lanekeeper/model';
import type { Proof } from '../ownership/index.ts';
import {
  type Connect,
  type EndedTimelines,
  notePromotion,
  type Queryable,
  readEndedTimelines,
  readReaders,
} from '../postgres/index.ts';
import type { Log } from './options.ts';

export type PromotionOptions = {
  readonly peers: readonly DataCenterName[];
  /** To the database of this data center, as the replication role. */
  readonly connect: Connect;
  readonly log: Log;
};

export class Promotion {
  readonly #options: PromotionOptions;
  #unread: string | null = null;
  #known: { readonly of: string; readonly ended: EndedTimelines } | null = null;

  constructor(options: PromotionOptions) {
    this.#options = options;
  }

  /** `client`: to the same database, as the agent. */
  async complete(client: Queryable, incarnation: Incarnation): Promise<Pick<Proof, 'incarnation' | 'readers'>> {
    const { timeline, systemIdentifier } = incarnation;
    if (timeline === 1) return { incarnation };
    const { peers, connect, log } = this.#options;
    const of = `${systemIdentifier} ${timeline}`;
    if (this.#known?.of !== of) {
      const ended = await readEndedTimelines(connect, incarnation);
      if (ended !== null) this.#known = { of, ended };
      else if (this.#unread !== of) log('warn', 'the history of timelines cannot be read', { timeline });
      this.#unread = of;
      if (await notePromotion(client, timeline)) log('warn', 'this database was promoted', { timeline });
    }
    const readers = await readReaders(client, peers);
    return {
      incarnation: this.#known?.of === of ? { ...incarnation, ended: this.#known.ended } : incarnation,
      readers,
    };
  }
}
