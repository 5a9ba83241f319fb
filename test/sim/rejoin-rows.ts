/** Which transactions of a data center that comes back are stranded: its own beyond the cut, and what it applied of others beyond theirs. */
import type { DataCenter } from './data-center.ts';
import { textOf } from './handover.ts';
import type { ModelPostgres } from './postgres.ts';
import type { Change, CutRow, Deed, Stranded, Transaction } from './rows.ts';

type Entry = { readonly key: string; readonly value: Stranded };
type Key = Pick<Change, 'table' | 'key'>;
/** Who had an account, and in which term, before its first move that never was. */
export type Bases = ReadonlyMap<string, { readonly home: string; readonly term: number }>;

/** Up to where the log of that generation counts: a successor that was taken over itself may have had more than the next one. */
export function lastCut(home: ModelPostgres, dc: string, generation: number): CutRow | null {
  let last: CutRow | null = null;
  for (const { cuts } of home.successions) {
    const cut = cuts?.[dc];
    if (cut?.generation === generation) last = cut;
  }
  return last;
}

/** Where the log of one that comes back ends: an earlier attempt may have raised its generation already. */
export function ownCut(home: ModelPostgres, dc: string, takenOver: number): CutRow | null {
  return (
    home.successions.findLast(({ term, cuts }) => term >= takenOver && cuts?.[dc] !== undefined)?.cuts?.[dc] ?? null
  );
}

/** The end of the last generation before the present one: what was applied of it has to be whole, and no more than that. */
export function endOfEarlier(home: ModelPostgres, dc: string, generation: number): CutRow | null {
  let last: CutRow | null = null;
  for (const { cuts } of home.successions) {
    const cut = cuts?.[dc];
    if (cut !== undefined && cut.generation < generation) last = cut;
  }
  return last;
}

export function strandedRows(
  dc: DataCenter,
  home: ModelPostgres,
  own: CutRow,
  broken: (hole: string) => boolean,
): { readonly entries: readonly Entry[]; readonly keys: readonly Key[]; readonly bases: Bases } | string {
  const { pg, name } = dc;
  const entries: Entry[] = [];
  const keys = new Map<string, Key>();
  const gone: Transaction[] = [];
  const add = (of: string, generation: number, transactions: readonly (Transaction & { readonly at: number })[]) => {
    gone.push(...transactions);
    for (const { at, changes } of transactions)
      for (const change of changes) {
        const { table, key } = change;
        keys.set(`${table} ${key}`, { table, key });
        // What is stranded of a ledger is its entries.
        if (table === 'stranded' && change.value !== undefined) entries.push({ key, value: change.value as Stranded });
        else entries.push({ key: `${of}/${generation}/${textOf(at)}/${table} ${key}`, value: { dc: of, change } });
      }
  };
  const { slot } = dc.to(home.here);
  const from = broken('stranded by slot position') ? (slot?.writtenLsn ?? 0) : own.homed;
  const written = pg.wal.filter(({ lsn, origin }) => origin === null && lsn > from);
  add(
    name,
    own.generation,
    written.map((one) => ({ ...one, at: one.lsn })),
  );
  // What an earlier attempt has written down is not in a slot that was made anew since.
  const begins = slot?.writtenLsn ?? Number.POSITIVE_INFINITY;
  const lost = entries.slice(0, written.filter(({ lsn }) => lsn <= begins).flatMap(({ changes }) => changes).length);
  if (lost.some(({ key }) => !home.tables.stranded.has(key))) return 'the slot begins beyond the cut';
  for (const peer of broken('only the own lineage') ? [] : dc.peers) {
    const generation = pg.generations.get(peer.name) ?? 1;
    const cut = lastCut(home, peer.name, generation);
    if (cut === null) continue;
    const applied = pg.wal.flatMap((one) =>
      one.origin === peer.name &&
      (one.originLsn as number) > cut.homed &&
      (one.originLsn as number) <= (pg.progress.get(peer.name) ?? 0)
        ? [{ ...one, at: one.originLsn as number }]
        : [],
    );
    add(peer.name, generation, applied);
  }
  return { entries, keys: [...keys.values()], bases: basesOf(gone.toSorted((a, b) => a.lsn - b.lsn)) };
}

function basesOf(transactions: readonly Transaction[]): Bases {
  const bases = new Map<string, { home: string; term: number }>();
  for (const { changes } of transactions)
    for (const { table, key, value } of changes) {
      if (table !== 'deed' || bases.has(key) || value === undefined) continue;
      const { giver, epoch } = value as Deed;
      if (giver !== null) bases.set(key, { home: giver, term: epoch.term });
    }
  return bases;
}
