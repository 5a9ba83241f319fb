/**
 * Conflicts of shared rows as they are logged here, for an application that makes good what was lost. The database announces
 * each when it has committed; a handler is called with each at most once in a process. Nothing waits for it, and what is
 * announced while nobody listens is in the log only (`lanekeeper conflicts`); the webhook is told of that as well.
 */
import type { Policy } from '../model/index.ts';
import type { Conflict, ConflictHandler, ConflictVersion } from './api.ts';
import type { RunSql } from './deeds.ts';

/** Ids that were handled, so that none is twice. */
const rememberedMax = 10_000;

export class Conflicts {
  readonly #run: RunSql;
  readonly #handlers = new Set<ConflictHandler>();
  readonly #handled = new Set<number>();

  constructor(run: RunSql) {
    this.#run = run;
  }

  /** Returns what ends it. */
  on(handler: ConflictHandler): () => void {
    // One function may be given twice, and each ends for itself.
    const own: ConflictHandler = (conflict) => handler(conflict);
    this.#handlers.add(own);
    return () => void this.#handlers.delete(own);
  }

  async hear(id: number): Promise<void> {
    if (this.#handlers.size === 0 || this.#handled.has(id)) return;
    this.#handled.add(id);
    if (this.#handled.size > rememberedMax)
      for (const oldest of this.#handled) {
        this.#handled.delete(oldest);
        break;
      }
    try {
      const [row] = await this.#run('SELECT * FROM lanekeeper.conflict_of($1)', [id]);
      if (row === undefined) return;
      const conflict = conflictOf(row as Row);
      await Promise.all([...this.#handlers].map((handler) => handle(handler, conflict)));
    } catch (error) {
      report(`Conflict ${id} could not be read.`, error);
    }
  }
}

async function handle(handler: ConflictHandler, conflict: Conflict): Promise<void> {
  try {
    await handler(conflict);
  } catch (error) {
    report(`A handler of conflicts failed on conflict ${conflict.id} of ${conflict.table}.`, error);
  }
}

function report(what: string, error: unknown): void {
  process.emitWarning(what, {
    code: 'LK_CONFLICT',
    detail: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
}

type Side = 'winner' | 'loser';
type Row = {
  readonly id: string;
  readonly at_ms: number;
  readonly relation: string;
  readonly key_columns: readonly string[];
  readonly key: readonly string[];
  readonly policy: Policy;
  readonly seen_in: string;
} & Readonly<Record<`${Side}_dc`, string>> &
  Readonly<Record<`${Side}_application`, string | null>> &
  Readonly<Record<`${Side}_at_ms`, number>> &
  Readonly<Record<`${Side}_columns` | Side, readonly (string | null)[] | null>>;

function conflictOf(row: Row): Conflict {
  return {
    id: Number(row.id),
    at: new Date(row.at_ms),
    dataCenter: row.seen_in,
    table: row.relation,
    key: named(row.key_columns, row.key) as Record<string, string>,
    policy: row.policy,
    winner: versionOf(row, 'winner'),
    loser: versionOf(row, 'loser'),
  };
}

function versionOf(row: Row, side: Side): ConflictVersion {
  const columns = row[`${side}_columns`];
  const values = row[side];
  return {
    dataCenter: row[`${side}_dc`],
    application: row[`${side}_application`],
    at: new Date(row[`${side}_at_ms`]),
    row: columns === null || values === null ? null : named(columns as readonly string[], values),
  };
}

function named(columns: readonly string[], values: readonly (string | null)[]): Record<string, string | null> {
  return Object.fromEntries(columns.map((column, i) => [column, values[i] ?? null]));
}
