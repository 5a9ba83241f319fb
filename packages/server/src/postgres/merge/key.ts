/**
 * A key as text. Equal keys must give equal text, or two data centers would take one row for two: a type whose equality is
 * coarser than how it prints is brought into one form, or refused.
 */
import type { ColumnInfo } from '../catalog.ts';
import { quoteName } from '../fence/names.ts';

export type KeyForm =
  | { readonly kind: 'printed' }
  /** 1.0 and 1.00 are equal. */
  | { readonly kind: 'trimmed' }
  /** 0 and −0 are equal. */
  | { readonly kind: 'unsigned-zero'; readonly type: 'real' | 'double precision' }
  | { readonly kind: 'refused'; readonly why: string };

/** By the type below every domain. What is not here has an equality that nobody has looked at. */
const printed = new Set([
  'boolean',
  'smallint',
  'integer',
  'bigint',
  'oid',
  'uuid',
  'text',
  'character varying',
  'character',
  'name',
  'bytea',
  'date',
  'time without time zone',
  'time with time zone',
  'timestamp without time zone',
  'timestamp with time zone',
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'enum',
]);

export function keyForm(column: ColumnInfo): KeyForm {
  const base = column.base ?? column.type.replace(/\([-\d,]+\)/, '');
  if (column.nondeterministic)
    return { kind: 'refused', why: 'compared by a nondeterministic collation: different text would be one key' };
  if (printed.has(base)) return { kind: 'printed' };
  if (base === 'numeric') return { kind: 'trimmed' };
  if (base === 'real' || base === 'double precision') return { kind: 'unsigned-zero', type: base };
  if (/(^|\.)citext$/.test(base))
    return {
      kind: 'refused',
      why: 'citext: different text would be one key; use text, and lower() in the application',
    };
  return { kind: 'refused', why: `of type ${base}, whose equal values may print differently` };
}

/** The key column of row `alias` (`OLD`, `NEW`, `t`) as text. */
export function keyText(column: ColumnInfo, alias: string): string {
  const value = `${alias}.${quoteName(column.name)}`;
  const form = keyForm(column);
  if (form.kind === 'trimmed') return `format('%s', trim_scale(${value}))`;
  if (form.kind === 'unsigned-zero') return `format('%s', ${value} + 0::${form.type})`;
  return `format('%s', ${value})`;
}
