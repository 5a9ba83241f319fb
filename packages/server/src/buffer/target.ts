/** One data center as somebody who takes writes. */
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Write } from './log.ts';
import { messageOf } from './sqlstate.ts';

/** One connection as the agent's role, or why there is none: what `connect` of the PostgreSQL room makes. */
export type ConnectTarget = (
  applicationName: string,
) => Promise<
  { readonly kind: 'connected'; readonly client: Client } | { readonly kind: 'unavailable'; readonly message: string }
>;

export type Outcome =
  /** `known`: it had this write, or a later one of the same key. */
  | { readonly kind: 'written' | 'known' }
  | { readonly kind: 'refused'; readonly state: string; readonly message: string };

export type Taken =
  /** One outcome for each write, in their order; all of it is committed. */
  | { readonly kind: 'taken'; readonly outcomes: readonly Outcome[] }
  /** Nobody knows how much of it was committed; doing all of it again is right. */
  | { readonly kind: 'failed'; readonly reason: string };

const applyTimeoutMs = 30_000;

export class Target {
  readonly name: DataCenterName;
  readonly #connect: ConnectTarget;
  #client: Client | null = null;
  #closed = false;

  constructor(name: DataCenterName, connect: ConnectTarget) {
    this.name = name;
    this.#connect = connect;
  }

  /** In one transaction. */
  async take(writes: readonly Write[]): Promise<Taken> {
    if (this.#closed) return { kind: 'failed', reason: 'the agent stops' };
    let client = this.#client;
    if (client === null) {
      const connected = await this.#connect('lanekeeper buffer');
      if (connected.kind === 'unavailable') return { kind: 'failed', reason: connected.message };
      client = connected.client;
      this.#client = client;
    }
    try {
      const { rows } = await client.query<{ outcome: string; state: string; message: string }>({
        text: 'SELECT outcome, state, message FROM lanekeeper.spread_apply_all($1) ORDER BY place',
        values: [
          JSON.stringify(
            writes.map(({ relation, key, image, stamp, dc, number }) => ({ relation, key, image, stamp, dc, number })),
          ),
        ],
        // Whoever has gone away half-way must not hold the others up.
        query_timeout: applyTimeoutMs,
      } as { text: string; values: string[] });
      return {
        kind: 'taken',
        outcomes: rows.map(
          ({ outcome, state, message }): Outcome =>
            outcome === 'refused'
              ? { kind: 'refused', state, message }
              : { kind: outcome === 'known' ? 'known' : 'written' },
        ),
      };
    } catch (error) {
      this.#client = null;
      client.end().catch(() => {});
      return { kind: 'failed', reason: messageOf(error) };
    }
  }

  /** Also ends what is under way: nobody needs to wait for a data center that does not answer. */
  async close(): Promise<void> {
    this.#closed = true;
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }
}
