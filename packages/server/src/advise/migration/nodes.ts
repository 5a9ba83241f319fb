/** Reading the parse tree of PostgreSQL's own parser, which is plain JSON, without believing that anything is there. */
import type { TableName } from 'lanekeeper/config';

export type Node = Readonly<Record<string, unknown>>;

/** `{"AlterTableStmt": {…}}` → its one kind and what is in it. */
export function unwrap(value: unknown): readonly [string, Node] | null {
  if (typeof value !== 'object' || value === null) return null;
  const [entry] = Object.entries(value);
  return entry === undefined || typeof entry[1] !== 'object' || entry[1] === null ? null : [entry[0], entry[1] as Node];
}

export function nodesOf(value: unknown): readonly (readonly [string, Node])[] {
  return (Array.isArray(value) ? value : []).map(unwrap).filter((one) => one !== null);
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** A RangeVar; what names no schema is in `public`. */
export function tableOf(relation: unknown): TableName | null {
  if (typeof relation !== 'object' || relation === null) return null;
  const { schemaname, relname } = relation as Node;
  return typeof relname === 'string' ? `${textOf(schemaname) || 'public'}.${relname}` : null;
}

/** A list of names, e.g. of a DROP. */
export function nameOf(list: unknown): TableName | null {
  const parts = (unwrap(list)?.[0] === 'List' ? nodesOf((list as { List: Node }).List.items) : nodesOf(list)).map(
    ([, { sval }]) => textOf(sval),
  );
  const [first, second] = parts;
  if (first === undefined) return null;
  return second === undefined ? `public.${first}` : `${first}.${second}`;
}

/** Whether a node of one of these kinds is anywhere in it. */
export function contains(value: unknown, kinds: readonly string[]): boolean {
  if (Array.isArray(value)) return value.some((one) => contains(one, kinds));
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, inner]) => kinds.includes(key) || contains(inner, kinds));
}
