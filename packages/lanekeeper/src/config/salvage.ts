/**
 * A misspelt key should not hide that two data centers share a database. When the shape is wrong somewhere, what is right is
 * still checked for its meaning: the wrong parts are taken out, stand-ins are put where something is required, and what the
 * later checks then say about a damaged part, or because of a stand-in, is dropped.
 */
import type { Path, Problem } from './problem.ts';
import { type FilledConfiguration, schema } from './schema.ts';

export type Salvaged = {
  readonly value: FilledConfiguration;
  /** Whether a later finding is about what was written, and not about what was taken out or stood in. */
  readonly trusts: (problem: Problem) => boolean;
};

type Tree = { [key: string]: unknown };

/** Null when too little is left: the data centers are what almost everything else refers to. */
export function salvage(value: unknown, mistakes: readonly Problem[]): Salvaged | null {
  if (!isTree(value) || !isTree(value.dataCenters)) return null;
  const copy = clone(value) as Tree;
  for (const { path } of mistakes) remove(copy, path);
  if (!isTree(copy.dataCenters) || Object.keys(copy.dataCenters).length === 0) return null;
  standIn(copy);
  const result = schema.safeParse(copy);
  if (!result.success) return null;
  const damaged = new Set(mistakes.map(({ path }) => partOf(path)));
  return { value: result.data, trusts: (problem) => problem.severity === 'error' && isTrusted(problem.path, damaged) };
}

const judgedByName: ReadonlySet<unknown> = new Set([
  'dataCenters',
  'tables',
  'claims',
  'classes',
  'moves',
  'sessions',
  'failover',
]);
const placeOfStore: ReadonlySet<unknown> = new Set(['store', 'url', 'endpoints', 'user', 'tls', 'faultDomain']);
const safety: ReadonlySet<unknown> = new Set(['durability', 'whenAlone', 'stranded']);

/** What is judged as one: a data center, a table, a field that stands alone, or a whole section. */
function partOf(path: Path): string {
  const [section, name] = path;
  if (name === undefined) return String(section);
  // The durations of a lease are compared with each other; so is what says where the store is.
  if (section === 'leases') return placeOfStore.has(name) ? 'leases\nstore' : 'leases\ntimes';
  return judgedByName.has(section) ? `${section}\n${name}` : String(section);
}

function isTrusted(path: Path, damaged: ReadonlySet<string>): boolean {
  const section = String(path[0]);
  if (damaged.has(section) || damaged.has(partOf(path))) return false;
  // A home for each account or one for all: what a table has to say depends on it.
  if ((damaged.has('approach') || damaged.has('homes')) && (section === 'tables' || section === 'claims')) return false;
  const someOf = (name: string) => [...damaged].some((part) => part === name || part.startsWith(`${name}\n`));
  if (path.at(-1) === 'number' || (section === 'dataCenters' && path.length === 2))
    return !someOf('dataCenters') && !damaged.has('stride');
  // A table refers to the name of its fixed home.
  if (section === 'tables' && path.at(-1) === 'home' && damaged.has('fixed')) return false;
  // What a table does not say, its class does.
  if (section === 'tables' && safety.has(path.at(-1)) && someOf('classes')) return false;
  // Whether a failover may be automatic: where the store is, and where the data centers are.
  if (section === 'leases' && placeOfStore.has(path[1]) && (someOf('failover') || someOf('dataCenters'))) return false;
  // Which tables there are, and which of them is the root, is known only when all of them are.
  if ((section === 'tables' && (path.length === 1 || path.at(-1) === 'root')) || section === 'claims')
    return !someOf('tables');
  return true;
}

function standIn(copy: Tree): void {
  if (copy.cluster === undefined) copy.cluster = 'unknown';
  if (copy.approach === undefined) copy.approach = 'full-active-active';
  copy.leases ??= { url: 'postgres://witness.invalid/witness' };
  for (const [name, dc] of Object.entries(copy.dataCenters as Tree)) {
    // Different for each, so that nothing looks shared.
    if (isTree(dc)) {
      dc.place ??= name;
      dc.faultDomain ??= name;
      dc.database ??= `postgres://${name}.invalid/${name}`;
      dc.url ??= `https://${name}.invalid`;
    }
  }
  copy.tables ??= {};
  if (isTree(copy.tables))
    for (const table of Object.values(copy.tables)) if (isTree(table)) table.class ??= 'system-of-record';
}

/** Takes out what is at `path`; an element takes its list along, so that no position shifts. */
function remove(root: Tree, path: Path): void {
  let parent: unknown = root;
  for (const [depth, step] of path.entries()) {
    if (!isTree(parent) || !Object.hasOwn(parent, step)) return;
    const child: unknown = parent[step];
    if (depth === path.length - 1 || Array.isArray(child)) {
      delete parent[step];
      return;
    }
    parent = child;
  }
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function clone(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clone);
  if (!isTree(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, clone(child)]));
}
