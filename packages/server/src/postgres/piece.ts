/**
 * One thing that `apply` keeps in a database: a function, a trigger, a publication. It is compared by the text that
 * creates it, so that `plan` can say what is new, what has changed and what is there that nobody declares any more.
 */
import type { TableName } from 'lanekeeper/config';

export type Piece = {
  readonly kind: 'function' | 'trigger' | 'view' | 'publication' | 'grant';
  /** Unique among pieces, and stable from run to run, e.g. `trigger lanekeeper_insert on public.orders`. */
  readonly id: string;
  /** The user's table it sits on or is about, if any. */
  readonly table: TableName | null;
  /** What it is for, in words for `plan`. */
  readonly title: string;
  /** Creates or replaces it. */
  readonly create: string;
  /** Removes it; safe when it is not there. */
  readonly drop: string;
};
