/**
 * What `remove` takes out of a database, in the order in which it is safe: nobody is fed any more, nobody feeds us, the
 * fence comes down table by table, and last of all the schema. Pure.
 */
import type { Configuration, RoleName, TableName } from 'lanekeeper/config';
import type { Catalog } from '../catalog.ts';
import { quoteName, quoteText } from '../fence/names.ts';
import type { InstalledPiece } from '../plan/state.ts';
import type { StepLock } from '../plan/step.ts';

export type RemovalState = {
  readonly catalog: Catalog;
  /** The schema `lanekeeper` is there. */
  readonly installed: boolean;
  readonly pieces: readonly InstalledPiece[];
  readonly subscriptions: readonly string[];
  /** Slots of this database that other data centers read; `active`: at this moment. */
  readonly slots: readonly { readonly name: string; readonly active: boolean }[];
  readonly publications: readonly string[];
  /** `synchronous_standby_names` is a list of ours. */
  readonly waitsForUs: boolean;
  /** How many accounts have a deed. */
  readonly deeds: number;
};

export type RemovalStep = {
  readonly id: string;
  readonly title: string;
  readonly why: string;
  /** What is run, as a person can read it. */
  readonly sql: string;
  readonly as: RoleName;
  readonly lock: StepLock | null;
  readonly action:
    | { readonly do: 'drop-subscription'; readonly name: string }
    | { readonly do: 'drop-slot'; readonly name: string }
    | { readonly do: 'reset-standbys' }
    | { readonly do: 'run' };
};

export type Removal = {
  readonly steps: readonly RemovalStep[];
  /** Stays, and what that means. */
  readonly remains: readonly string[];
};

export function planRemoval(configuration: Configuration, state: RemovalState): Removal {
  const steps: RemovalStep[] = [
    ...(state.waitsForUs ? [standbysStep] : []),
    ...state.subscriptions.map(subscriptionStep),
    ...state.slots.map(slotStep),
    ...state.publications.map(publicationStep),
    ...triggerSteps(state),
  ];
  if (state.installed) {
    steps.push({
      id: 'schema lanekeeper',
      title: `drop the schema lanekeeper, with the deeds of ${state.deeds} accounts`,
      why: 'everything else of Lanekeeper is in it',
      sql: 'DROP SCHEMA lanekeeper CASCADE',
      as: 'owner',
      lock: null,
      action: { do: 'run' },
    });
  }
  const strided = [...state.catalog.sequences.values()]
    .filter((sequence) => sequence.increment === BigInt(configuration.stride))
    .map((sequence) => sequence.name);
  return { steps, remains: strided.length === 0 ? [] : [strideRemains(strided, configuration.stride)] };
}

function strideRemains(sequences: readonly TableName[], stride: number): string {
  return `${sequences.join(', ')} go on counting in steps of ${stride}: the numbers between were drawn elsewhere, and may come back.`;
}

const standbysStep: RemovalStep = {
  id: 'synchronous_standby_names',
  title: 'take back whom commits wait for',
  why: 'a session that asks for a synchronous commit would wait for ever',
  sql: 'ALTER SYSTEM RESET synchronous_standby_names',
  as: 'agent',
  lock: null,
  action: { do: 'reset-standbys' },
};

function subscriptionStep(name: string): RemovalStep {
  return {
    id: `subscription ${name}`,
    title: `stop reading ${name}`,
    why: 'and drop its slot over there, when that data center can be reached',
    sql: `DROP SUBSCRIPTION ${quoteName(name)}`,
    as: 'agent',
    lock: null,
    action: { do: 'drop-subscription', name },
  };
}

function slotStep({ name, active }: RemovalState['slots'][number]): RemovalStep {
  return {
    id: `slot ${name}`,
    title: `drop the slot ${name}`,
    why: active
      ? 'another data center reads it at this moment, and will miss what is written here from now on'
      : 'it would keep WAL for ever',
    sql: `SELECT pg_drop_replication_slot(${quoteText(name)})`,
    as: 'replication',
    lock: null,
    action: { do: 'drop-slot', name },
  };
}

function publicationStep(name: string): RemovalStep {
  return {
    id: `publication ${name}`,
    title: `drop the publication ${name}`,
    why: 'nobody reads it any more',
    sql: `DROP PUBLICATION IF EXISTS ${quoteName(name)}`,
    as: 'owner',
    lock: null,
    action: { do: 'run' },
  };
}

/** All triggers of a table in one transaction: it is fenced altogether or not at all. */
function triggerSteps(state: RemovalState): RemovalStep[] {
  const byTable = new Map<TableName, InstalledPiece[]>();
  for (const piece of state.pieces) {
    if (piece.kind !== 'trigger' || piece.relation === null || !state.catalog.tables.has(piece.relation)) continue;
    byTable.set(piece.relation, [...(byTable.get(piece.relation) ?? []), piece]);
  }
  return [...byTable].map(([table, pieces]): RemovalStep => {
    return {
      id: `fence of ${table}`,
      title: `take the fence of ${table} down`,
      why: 'from here on every data center may write every row of it',
      sql: pieces.map((piece) => piece.removal).join(';\n'),
      as: 'owner',
      lock: { table, mode: 'ACCESS EXCLUSIVE', blocks: 'readers and writers wait for a moment' },
      action: { do: 'run' },
    };
  });
}
