/**
 * What a proof needs of a database that is not on its first timeline: where the earlier ones ended, and who reads from here.
 * It was promoted, now or long ago; only the lease store knows whether that is news. Until it has granted a lease, nothing of
 * others is applied there (`sql/000021.sql`).
 */
import type { DataCenterName, Incarnation } from 'lanekeeper/model';
import type { Proof } from '../ownership/index.ts';
import {
  acceptTimeline,
  type Connect,
  type EndedTimelines,
  notePromotion,
  notePutBack,
  type Queryable,
  readEndedTimelines,
  readReaders,
} from '../postgres/index.ts';
import type { Log } from './options.ts';

export type PromotionOptions = {
  readonly peers: readonly DataCenterName[];
  /** To the database of this data center, as the replication role. */
  readonly connect: Connect;
  /** Looks at what keeps gates shut: it has changed. */
  readonly look: () => Promise<void>;
  readonly log: Log;
};

type Place = Pick<Incarnation, 'systemIdentifier' | 'timeline'>;

export class Promotion {
  readonly #options: PromotionOptions;
  #unread: string | null = null;
  #known: { readonly of: string; readonly ended: EndedTimelines } | null = null;
  /** Of the database that was proved last. */
  #proved: Place | null = null;
  #accepted = false;

  constructor(options: PromotionOptions) {
    this.#options = options;
  }

  /** `client`: to the same database, as the agent. */
  async complete(client: Queryable, incarnation: Incarnation): Promise<Pick<Proof, 'incarnation' | 'readers'>> {
    await this.#see(client, incarnation);
    const { timeline, systemIdentifier } = incarnation;
    if (timeline === 1) return { incarnation };
    const { peers, connect, log } = this.#options;
    const of = `${systemIdentifier} ${timeline}`;
    if (this.#known?.of !== of) {
      const ended = await readEndedTimelines(connect, incarnation);
      if (ended !== null) this.#known = { of, ended };
      else if (this.#unread !== of) log('warn', 'the history of timelines cannot be read', { timeline });
      this.#unread = of;
    }
    const readers = await readReaders(client, peers);
    return {
      incarnation: this.#known?.of === of ? { ...incarnation, ended: this.#known.ended } : incarnation,
      readers,
    };
  }

  /** The database that was proved last has been granted a lease. `client`: to that one, as the agent. */
  async accepted(client: Queryable): Promise<void> {
    if (this.#accepted || this.#proved === null) return;
    await acceptTimeline(client, this.#proved.timeline);
    this.#accepted = true;
  }

  async #see(client: Queryable, { systemIdentifier, timeline }: Incarnation): Promise<void> {
    const before = this.#proved;
    const same = before?.systemIdentifier === systemIdentifier;
    if (same && before.timeline === timeline) return;
    const { look, log } = this.#options;
    if (timeline > 1 && (await notePromotion(client, timeline)))
      log('warn', 'this database was promoted', { timeline });
    // A promoted one that is held back still confirms changes of rows that it does not have.
    if (same && before.timeline > timeline) {
      await notePutBack(client, before.timeline);
      log('warn', 'this database was put back in the place of a promoted one', { timeline, since: before.timeline });
      await look();
    }
    this.#proved = { systemIdentifier, timeline };
    this.#accepted = false;
  }
}
