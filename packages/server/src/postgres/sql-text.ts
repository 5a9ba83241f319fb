/** Names on their way into SQL text: always quoted, never pasted. One name or value: `fence/names.ts`. */
import { escapeIdentifier } from 'pg';

/** `"a", "b"` */
export function quoteList(names: readonly string[]): string {
  return names.map((name) => escapeIdentifier(name)).join(', ');
}

/**
 * Splits `schema.relation` at the first dot: the schema of a `TableName` is what stands before it. A schema whose own
 * name contains a dot cannot be named in a configuration, so this is never ambiguous for a declared table.
 */
export function splitName(name: string): { readonly schema: string; readonly relation: string } {
  const dot = name.indexOf('.');
  if (dot < 1) throw new TypeError(`not a qualified table name: ${name}`);
  return { schema: name.slice(0, dot), relation: name.slice(dot + 1) };
}
