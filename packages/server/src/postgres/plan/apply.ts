/**
 * Does what `plan` shows. Repeatable: whatever ends it, the next one goes on from what is there.
 *
 * 1. One at a time (`apply-lock.ts`), and the plan is made again under that lock.
 * 2. A step is a transaction together with the record of it. All triggers of one table are one transaction: a table is
 *    fenced altogether or not at all.
 * 3. A lock on a table in use is waited for briefly and asked for again, so that the application never queues behind us.
 */
import type { Configuration } from 'lanekeeper/config';
import type { Client } from 'pg';
import { type LockHolder, releaseApplyLock, takeApplyLock } from '../apply-lock.ts';
import type { Connect, Unavailable } from '../connect.ts';
import { quoteTable } from '../fence/names.ts';
import { applyMigration, type Migration, readMigrations } from '../migrate/index.ts';
import { splitName } from '../sql-text.ts';
import { type DatabaseProblem, databaseProblem, inTransaction, type LockPatience } from '../transaction.ts';
import { runFill } from './fill-chunks.ts';
import { readFingerprints } from './fingerprint.ts';
import { ownDeeds } from './own-deeds.ts';
import { pieceHash, planSteps } from './plan.ts';
import { restride } from './restride.ts';
import { readPresentState } from './state.ts';
import type { Plan, PlanProblem, Step } from './step.ts';

export type ApplyEvent =
  | { readonly kind: 'waiting-for-lock'; readonly holder: LockHolder | null }
  /** The plan that is now carried out. */
  | { readonly kind: 'planned'; readonly plan: Plan }
  | { readonly kind: 'started'; readonly step: Step }
  | { readonly kind: 'retrying'; readonly step: Step; readonly attempt: number; readonly waitMs: number }
  | { readonly kind: 'progress'; readonly step: Step; readonly rows: number }
  | { readonly kind: 'done'; readonly step: Step }
  /** Left out for now: see `step.waitsFor`. */
  | { readonly kind: 'postponed'; readonly step: Step };

export type ApplyResult =
  | {
      readonly kind: 'applied';
      readonly done: readonly Step[];
      readonly postponed: readonly Step[];
      readonly plan: Plan;
    }
  | Unavailable
  | Unreadable
  /** Another apply runs and did not end within `waitMs`. */
  | { readonly kind: 'busy'; readonly holder: LockHolder | null }
  | { readonly kind: 'refused'; readonly problems: readonly PlanProblem[] }
  /** Somebody holds a lock on `step.lock.table` for too long. What was done before stays done. */
  | {
      readonly kind: 'blocked';
      readonly step: Step;
      readonly blockers: readonly Blocker[];
      readonly done: readonly Step[];
    }
  | { readonly kind: 'failed'; readonly step: Step; readonly error: DatabaseProblem; readonly done: readonly Step[] };

/** A session that holds a lock on the table, longest transaction first. */
export type Blocker = {
  readonly pid: number;
  readonly applicationName: string;
  readonly role: string;
  readonly mode: string;
  readonly transactionMs: number;
};

export type ApplyOptions = {
  readonly onProgress?: (event: ApplyEvent) => void;
  /** How long to wait for another apply. Default 60000; 0 asks once. */
  readonly waitMs?: number;
  readonly patience?: Pick<LockPatience, 'lockTimeoutMs' | 'totalMs'>;
  /** Default: the package's own. */
  readonly migrations?: readonly Migration[];
};

/** PostgreSQL refused to show what the plan is made from: the role lacks rights. */
export type Unreadable = { readonly kind: 'unreadable'; readonly error: DatabaseProblem };

export type PlanResult = { readonly kind: 'planned'; readonly plan: Plan } | Unavailable | Unreadable;

/** What `applyChanges` would do. `connect` connects as the owner. */
export async function planChanges(
  connect: Connect,
  configuration: Configuration,
  options: Pick<ApplyOptions, 'migrations'> = {},
): Promise<PlanResult> {
  const connected = await connect('lanekeeper plan');
  if (connected.kind === 'unavailable') return connected;
  try {
    return await makePlan(connected.client, configuration, options.migrations);
  } finally {
    await connected.client.end();
  }
}

async function makePlan(
  client: Client,
  configuration: Configuration,
  given?: readonly Migration[],
): Promise<{ readonly kind: 'planned'; readonly plan: Plan } | Unreadable> {
  const migrations = given ?? (await readMigrations());
  const accounts = ownDeeds(configuration).map((deed) => deed.account);
  try {
    const present = await readPresentState(client, configuration, accounts);
    return { kind: 'planned', plan: planSteps(configuration, present, migrations) };
  } catch (thrown) {
    const error = databaseProblem(thrown);
    if (!error) throw thrown;
    return { kind: 'unreadable', error };
  }
}

/** Brings the database to the declared state. `connect` connects as the owner. */
export async function applyChanges(
  connect: Connect,
  configuration: Configuration,
  options: ApplyOptions = {},
): Promise<ApplyResult> {
  const connected = await connect('lanekeeper apply');
  if (connected.kind === 'unavailable') return connected;
  const { client } = connected;
  const onProgress = options.onProgress ?? (() => {});
  try {
    const lock = await takeApplyLock(client, options.waitMs ?? 60_000, (holder) =>
      onProgress({ kind: 'waiting-for-lock', holder }),
    );
    if (lock.kind === 'held') return { kind: 'busy', holder: lock.by };
    const made = await makePlan(client, configuration, options.migrations);
    if (made.kind === 'unreadable') return made;
    const { plan } = made;
    if (plan.problems.length > 0) return { kind: 'refused', problems: plan.problems };
    onProgress({ kind: 'planned', plan });
    const result = await carryOut(client, configuration, plan, options, onProgress);
    await releaseApplyLock(client);
    return result;
  } finally {
    await client.end();
  }
}

async function carryOut(
  client: Client,
  configuration: Configuration,
  plan: Plan,
  options: ApplyOptions,
  onProgress: (event: ApplyEvent) => void,
): Promise<ApplyResult> {
  const done: Step[] = [];
  const postponed: Step[] = [];
  for (const group of groupByTable(plan.steps)) {
    if (group.first.waitsFor !== null) {
      postponed.push(group.first);
      onProgress({ kind: 'postponed', step: group.first });
      continue;
    }
    let current = group.first;
    const patience: LockPatience = {
      ...options.patience,
      onRetry: ({ attempt, waitMs }) => onProgress({ kind: 'retrying', step: current, attempt, waitMs }),
    };
    for (const step of group.steps) onProgress({ kind: 'started', step });
    const { action } = group.first;
    const outcome =
      action.do === 'fill'
        ? await runFill(client, action.fill, patience, (rows) => onProgress({ kind: 'progress', step: current, rows }))
        : await inTransaction(
            client,
            async () => {
              for (const step of group.steps) {
                current = step;
                await runStep(client, configuration, step);
              }
            },
            patience,
          );
    if (outcome.kind === 'failed') return { kind: 'failed', step: current, error: outcome.error, done };
    if (outcome.kind === 'blocked') {
      return { kind: 'blocked', step: current, blockers: await readBlockers(client, current), done };
    }
    for (const step of group.steps) {
      done.push(step);
      onProgress({ kind: 'done', step });
    }
  }
  return { kind: 'applied', done, postponed, plan };
}

type Group = { readonly first: Step; readonly steps: Step[] };

/** Neighbouring pieces of one table belong together; everything else stands alone. */
function groupByTable(steps: readonly Step[]): Group[] {
  const groups: Group[] = [];
  const tableOf = (step: Step) => (step.action.do === 'install-piece' ? step.action.piece.table : null);
  for (const step of steps) {
    const last = groups.at(-1);
    if (last && tableOf(step) !== null && tableOf(last.first) === tableOf(step)) last.steps.push(step);
    else groups.push({ first: step, steps: [step] });
  }
  return groups;
}

async function runStep(client: Client, configuration: Configuration, step: Step): Promise<void> {
  const { action } = step;
  switch (action.do) {
    case 'migrate':
      return applyMigration(client, action.migration);
    case 'install-piece': {
      const { piece } = action;
      await client.query(piece.create);
      const fingerprint = (await readFingerprints(client, [piece.id])).get(piece.id) ?? null;
      await client.query(
        `INSERT INTO lanekeeper.piece (id, kind, relation, hash, removal, fingerprint) VALUES ($1, $2, $3, $4, $5, $6)
          ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, relation = excluded.relation, hash = excluded.hash,
            removal = excluded.removal, fingerprint = excluded.fingerprint, applied_at = excluded.applied_at`,
        [piece.id, piece.kind, piece.table, pieceHash(piece), piece.drop, fingerprint],
      );
      return;
    }
    case 'remove-piece':
      await client.query(step.sql);
      await client.query('DELETE FROM lanekeeper.piece WHERE id = $1', [action.id]);
      return;
    case 'stride-sequence':
      return restride(client, configuration, action.sequence);
    case 'run':
      await client.query(step.sql);
      return;
    case 'fill':
      throw new TypeError('a fill is many transactions');
  }
}

async function readBlockers(client: Client, step: Step): Promise<readonly Blocker[]> {
  if (step.lock === null) return [];
  const { rows } = await client.query<Blocker>(
    `SELECT a.pid, coalesce(a.application_name, '') AS "applicationName", coalesce(a.usename, '') AS role, l.mode,
        coalesce(extract(epoch FROM clock_timestamp() - a.xact_start) * 1000, 0)::float8 AS "transactionMs"
      FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
      WHERE l.relation = to_regclass($1) AND l.granted AND l.pid <> pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      ORDER BY 5 DESC LIMIT 10`,
    [quoteTable(splitName(step.lock.table))],
  );
  return rows;
}
